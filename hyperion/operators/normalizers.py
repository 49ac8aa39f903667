"""Normalisers: fields brought to mean 0 and variance 1 by the statistics of the training data, and back; networks between them."""

import math
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device
from hyperion.nn.arguments import as_count
from hyperion.nn.module import Module

__all__ = ["Normalized", "UnitGaussian", "predict"]


class UnitGaussian(Module):
    """Return (x - mean) / std, and back by `inverse`: statistics of training data, kept as buffers and saved with the state.

    shape: of the statistics: (channels,), one mean and deviation for each channel, good for any grid (the default); or
        (channels, *space), one for each point of one grid.
    eps: added to deviations, so that a constant channel becomes 0.
    Before `fit` mean is 0 and std is 1. Both are constants: gradients pass through, and optimisers leave them alone.

    >>> normal = UnitGaussian((1,))
    >>> normal.fit([[[1.0, 3.0]]])
    UnitGaussian, 0 parameters
    >>> normal([[[1.0, 3.0]]])[0, 0]
    Tensor (2,) float32, cpu: [-0.99999  0.99999]
    """

    def __init__(self, shape: Any = (1,), eps: float = 1e-5, dtype: Any = None) -> None:
        sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        self.shape = tuple(as_count(n, "UnitGaussian(shape)") for n in sizes)
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0.0 <= eps < math.inf:
            raise InputError(f"UnitGaussian(eps): eps={eps!r} must be a number, 0 or more")
        self.eps = float(eps)
        self.mean, self.std = hp.zeros(self.shape, dtype=dtype), hp.ones(self.shape, dtype=dtype)

    def fit(self, data: Any) -> "UnitGaussian":
        """Take the statistics of data, (examples, channels, *space), and return itself.

        Raises: ShapeError for other channels, or fewer than two values for each; InputError if the data is not finite: it names an example.
        """
        x = as_tensor(data).detach()
        self._place(x)
        axes = (0, *range(1 + len(self.shape), x.ndim))
        if math.prod(x.shape[i] for i in axes) < 2:
            raise ShapeError(f"UnitGaussian.fit(data): data has shape {x.shape}; give more than one value for each of {self.shape}")
        finite = hp.all(hp.isfinite(x), axis=tuple(range(1, x.ndim)))
        if not bool(hp.all(finite)):
            first = int(hp.argmin(finite.astype("int32")))
            raise InputError(f"UnitGaussian.fit(data): example {first} has values that are NaN or infinite; leave it out or mend it")
        self.mean = hp.mean(x, axis=axes).astype(self.mean.dtype)
        self.std = hp.std(x, axis=axes).astype(self.std.dtype)
        return self

    def _place(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape in which the statistics stand beside x."""
        if x.ndim < 1 + len(self.shape) or x.shape[1:1 + len(self.shape)] != self.shape:
            raise ShapeError(f"UnitGaussian({self.shape}): x has shape {x.shape}; after the batch it must begin with {self.shape}")
        return (*self.shape, *(1,) * (x.ndim - 1 - len(self.shape)))

    def forward(self, x: Any) -> Tensor:
        """Return (x - mean) / (std + eps); x: (batch, channels, *space)."""
        x = as_tensor(x)
        place = self._place(x)
        return (x - self.mean.detach().reshape(place)) / (self.std.detach().reshape(place) + self.eps)

    def inverse(self, x: Any) -> Tensor:
        """Return x (std + eps) + mean."""
        x = as_tensor(x)
        place = self._place(x)
        return x * (self.std.detach().reshape(place) + self.eps) + self.mean.detach().reshape(place)


class Normalized(Module):
    """A network between normalisers: it sees inputs, and gives outputs, of mean 0 and variance 1; losses see outputs as they are.

    inputs, outputs: examples, (examples, channels, *space), whose statistics are taken, one mean and deviation for each channel.

    >>> from hyperion import nn
    >>> model = Normalized(nn.Identity(), [[[1.0, 3.0]]], [[[10.0, 30.0]]])
    >>> model([[[2.0, 3.0]]])[0, 0].numpy().round(3)
    array([20., 30.], dtype=float32)
    """

    def __init__(self, network: Module, inputs: Any, outputs: Any) -> None:
        x, y = as_tensor(inputs), as_tensor(outputs)
        for name, given in (("inputs", x), ("outputs", y)):
            if given.ndim < 3:
                raise ShapeError(f"Normalized({name}): got shape {given.shape}; give examples, (examples, channels, *space)")
        if len(x) != len(y):
            raise ShapeError(f"Normalized: inputs have {len(x)} examples, outputs {len(y)}; give the same ones")
        self.network = network
        self.before, self.after = UnitGaussian((x.shape[1],)).fit(x), UnitGaussian((y.shape[1],)).fit(y)

    def forward(self, x: Any) -> Tensor:
        """Return the network's image of x, (batch, channels, *space), in the units of the outputs."""
        return self.after.inverse(self.network(self.before(x)))


def predict(model: Module, inputs: Any, batch: int = 20) -> np.ndarray:
    """Return a model's images of examples as a NumPy array, a batch at a time, in evaluation behaviour and without recording.

    inputs: array, (examples, ...), that goes to the model's device batch by batch. The model's behaviour stays as it was.
    Raises: ShapeError without examples; InputError that names the first example with NaN or infinity, and for a batch below 1, or a
    model that is no Module or returns anything but one array; what the model raises.

    >>> from hyperion import nn
    >>> predict(nn.Identity(), np.arange(5.0), batch=2)
    array([0., 1., 2., 3., 4.])
    """
    if not isinstance(model, Module):
        raise InputError(f"predict(model): got a {type(model).__name__}; give a Module, or call a function of arrays itself")
    given = inputs.numpy() if isinstance(inputs, Tensor) else np.asarray(inputs)
    size = as_count(batch, "predict(batch)")
    if not given.ndim or not len(given):
        raise ShapeError(f"predict(inputs): got shape {given.shape}; give at least one example")
    for i in range(0, len(given), size) if given.dtype.kind in "fc" else ():
        finite = np.isfinite(given[i:i + size]).reshape(len(given[i:i + size]), -1).all(axis=1)
        if not finite.all():
            raise InputError(f"predict(inputs): example {i + int(finite.argmin())} has values that are NaN or infinite; leave it out "
                             "or mend it")
    place = next((p.device for p in model.parameters()), "cpu")
    training = [module.training for _, module in model.named_modules()]
    model.eval()
    try:
        with hp.no_grad():
            parts = [_one(model(hp.asarray(device.to_device(given[i:i + size], place))), model) for i in range(0, len(given), size)]
    finally:
        for (_, module), mode in zip(model.named_modules(), training, strict=True):
            object.__setattr__(module, "training", mode)
    return np.concatenate([device.to_numpy(part) for part in parts])


def _one(out: Any, model: Module) -> Any:
    """Return the array of what a model gave."""
    if not isinstance(out, Tensor):
        names = f"{len(out)} outputs" if isinstance(out, tuple | list | dict) else f"a {type(out).__name__}"
        raise InputError(f"predict(model): {type(model).__name__} returns {names}; give a model that returns one Tensor, such as a Module "
                         "whose forward picks it")
    return out.data
