"""Networks made for physics-informed training: gated layers, gated residual blocks, and a last layer fitted by least squares."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor, no_grad
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, NonFiniteError, ShapeError
from hyperion.gpu import device
from hyperion.nn.arguments import as_activation, as_count
from hyperion.nn.factorised import FactorisedLinear
from hyperion.nn.fourier_features import FourierFeatures
from hyperion.nn.linear import Linear
from hyperion.nn.module import Module, parameter

__all__ = ["ModifiedMLP", "PirateNet", "PirateNetBlock", "fit_last_layer"]


class ModifiedMLP(Module):
    """Return x passed through layers gated by two encoders of x: h -> z u + (1 - z) v with z = activation(W h + b).

    sizes: [inputs, hidden..., outputs], three or more; all hidden sizes are equal.  activation: any function of a Tensor.
    u and v are activations of two linear maps of x; every hidden layer chooses between them, so products of coordinates and steep
    parts come easier than to an MLP.
    linear: makes the layers, `nn.Linear` or `nn.FactorisedLinear`; called with (inputs, outputs, dtype=, generator=).
    Raises: InputError for fewer than three sizes, or hidden sizes that differ.
    Source: Wang, Teng and Perdikaris 2021, SIAM J. Sci. Comput. 43, A3055 (arXiv:2001.04536), eqs. 41-46; the first hidden layer
    is gated like the others.

    >>> ModifiedMLP([2, 20, 20, 1])(hp.ones((5, 2))).shape
    (5, 1)
    """

    def __init__(
        self, sizes: Sequence[int], activation: Callable[..., Any] = hp.tanh, linear: Callable[..., Any] = Linear, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(sizes, list | tuple) or len(sizes) < 3 or len(set(sizes[1:-1])) != 1:
            raise InputError(f"ModifiedMLP(sizes): sizes={sizes!r} must be [inputs, hidden..., outputs] with one hidden size or more, all "
                             "equal: they share two encoders")
        counts = [as_count(n, "ModifiedMLP(sizes)") for n in sizes]
        options = {"dtype": dtype, "generator": generator}
        self.first, self.second = (linear(counts[0], counts[1], **options) for _ in range(2))
        self.layers = [linear(a, b, **options) for a, b in itertools.pairwise(counts)]
        self.activation = as_activation(activation, "ModifiedMLP")

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), mapped to (..., outputs)."""
        u, v = self.activation(self.first(x)), self.activation(self.second(x))
        h = x
        for layer in self.layers[:-1]:
            h = gated(self.activation(layer(h)), u, v)
        return self.layers[-1](h)


def gated(z: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return z u + (1 - z) v.

    >>> gated(as_tensor(0.25), as_tensor(4.0), as_tensor(8.0))
    Tensor () float32, cpu: 7.
    """
    return v + z * (u - v)


class PirateNetBlock(Module):
    """Return alpha h + (1 - alpha) x, where h is x after three layers with two gates between: a block that begins as the identity.

    alpha: one trained number, 0 to begin with: depth comes in as training needs it.
    Source: Wang, Li, Chen and Perdikaris 2024, "PirateNets", arXiv:2402.00326, eqs. 4.2-4.7.

    >>> block, x = PirateNetBlock(4), hp.ones((3, 4))
    >>> bool((block(x, 0.5 * x, -x).data == x.data).all())
    True
    """

    def __init__(
        self, width: int, activation: Callable[..., Any] = hp.tanh, linear: Callable[..., Any] = FactorisedLinear, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        as_count(width, "PirateNetBlock(width)")
        self.layers = [linear(width, width, dtype=dtype, generator=generator) for _ in range(3)]
        self.alpha = parameter(hp.zeros((), dtype=dtype))
        self.activation = as_activation(activation, "PirateNetBlock")

    def forward(self, x: Any, u: Any, v: Any) -> Tensor:
        """Return x, (..., width), changed; u, v: the two encodings of the coordinates, of the same shape."""
        h = x
        for layer in self.layers[:-1]:
            h = gated(self.activation(layer(h)), u, v)
        h = self.activation(self.layers[-1](h))
        return x + self.alpha * (h - x)


class PirateNet(Module):
    """Return a linear map of coordinates that were embedded and passed through gated residual blocks, all identities to begin with.

    inputs, outputs: numbers at the last axis of x and of the result.  width: of the embedding and of the blocks, even.
    blocks: how many; each is three layers deep.  activation: any function of a Tensor.
    embedding: a Module from (..., inputs) to (..., width); None: FourierFeatures of scale 1. For periodic coordinates:
        nn.Sequential(nn.Periodic(2, {0: 1.0}), nn.FourierFeatures(3, width)).
    linear: makes the layers of the blocks and of the two encoders, `nn.FactorisedLinear` or `nn.Linear`.
    At the beginning the network is linear in its embedding: `fit_last_layer(model, x, targets)` starts it from known data, such as
    the initial condition, by least squares.
    Raises: InputError for a width that is odd (with the embedding made here); ShapeError if the embedding gives another width.
    Source: Wang, Li, Chen and Perdikaris 2024, "PirateNets", arXiv:2402.00326, section 4.

    >>> PirateNet(2, 1, width=16, blocks=2)(hp.ones((5, 2))).shape
    (5, 1)
    """

    def __init__(
        self, inputs: int, outputs: int, width: int = 128, blocks: int = 3, activation: Callable[..., Any] = hp.tanh,
        embedding: Callable[..., Any] | None = None, linear: Callable[..., Any] = FactorisedLinear, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self.width = as_count(width, "PirateNet(width)")
        as_count(blocks, "PirateNet(blocks)")
        self.embedding = FourierFeatures(inputs, width, dtype=dtype, generator=generator) if embedding is None else embedding
        options = {"dtype": dtype, "generator": generator}
        self.first, self.second = (linear(width, width, **options) for _ in range(2))
        self.blocks = [PirateNetBlock(width, activation, linear, **options) for _ in range(blocks)]
        self.head = Linear(width, outputs, **options)
        self.activation = as_activation(activation, "PirateNet")

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), mapped to (..., outputs)."""
        h = self.embedding(x)
        if h.shape[-1:] != (self.width,):
            raise ShapeError(f"PirateNet(width={self.width}): the embedding gives shape {h.shape}; its last axis must have length "
                             f"{self.width}")
        u, v = self.activation(self.first(h)), self.activation(self.second(h))
        for block in self.blocks:
            h = block(h, u, v)
        return self.head(h)


def fit_last_layer(model: Module, x: Any, targets: Any, ridge: float = 0.0) -> float:
    """Set the last layer of a network, in place, so that model(x) is as near to targets as that layer allows; return the relative misfit.

    model: a Module whose output is that of a Linear or FactorisedLinear layer.  x: (points, inputs).  targets: (points, outputs).
    ridge: adds ridge * points * |weight|^2 to the squared misfit; above 0 where features are nearly dependent and weights would be huge.
    Returns: ||model(x) - targets|| / ||targets|| after the fit (without division if the targets are zero).
    Raises: InputError if the last layer is another; ShapeError if targets do not fit; NonFiniteError for data that are not finite.
    Source: Wang, Li, Chen and Perdikaris 2024, arXiv:2402.00326, section 4 (physics-informed initialisation).

    >>> x = hp.asarray(np.linspace(-1.0, 1.0, 50)[:, None])
    >>> fit_last_layer(PirateNet(1, 1, width=32, blocks=1, dtype="float64"), x, hp.sin(3.0 * x)) < 1e-3
    True
    """
    if not 0.0 <= ridge < float("inf"):
        raise InputError(f"fit_last_layer(ridge)={ridge!r} must be a number, 0 or more")
    layer, features = _last_layer(model, x)
    wanted = as_tensor(targets).detach()
    if features.ndim != 2 or wanted.shape != (features.shape[0], layer.outputs):
        raise ShapeError(f"fit_last_layer(model, x, targets): targets have shape {wanted.shape}, the last layer works on {features.shape} "
                         f"and gives {layer.outputs} numbers; x must be (points, inputs) and targets (points, outputs)")
    a, b = (np.asarray(device.to_numpy(t.data), np.float64) for t in (features, wanted))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise NonFiniteError("fit_last_layer(model, x, targets): features or targets hold NaN or infinite values")
    full = np.concatenate([a, np.ones((len(a), 1))], 1) if layer.bias is not None else a
    damped = np.concatenate([full, np.sqrt(ridge * len(a)) * np.eye(full.shape[1])]) if ridge else full
    solution = np.linalg.lstsq(damped, np.concatenate([b, np.zeros((len(damped) - len(b), b.shape[1]))]))[0]
    weight = solution[:a.shape[1]].T
    if isinstance(layer, FactorisedLinear):
        weight = weight * np.exp(-np.asarray(device.to_numpy(layer.s.data), np.float64))[:, None]
    into = layer.v if isinstance(layer, FactorisedLinear) else layer.weight
    into.assign(device.to_device(weight.astype(into.dtype), into.device))
    if layer.bias is not None:
        layer.bias.assign(device.to_device(solution[a.shape[1]].astype(into.dtype), into.device))
    size = float(np.linalg.norm(b))
    return float(np.linalg.norm(full @ solution - b)) / (size or 1.0)


def _last_layer(model: Module, x: Any) -> tuple[Any, Tensor]:
    """Return the linear layer whose output is the model's, and its input."""
    seen: list[tuple[Any, Tensor, Any]] = []

    def keep(module: Module, args: tuple[Any, ...], out: Any) -> None:
        seen.append((module, args[0], out))

    linears = [module for _, module in model.named_modules() if isinstance(module, Linear | FactorisedLinear)]
    undo = [module.register_forward_hook(keep) for module in linears]
    try:
        with no_grad():
            out = model(x)
    finally:
        for one in undo:
            one()
    if not seen or seen[-1][2] is not out:
        raise InputError(f"fit_last_layer(model): the output of {type(model).__name__} is not that of a Linear or FactorisedLinear layer")
    return seen[-1][0], as_tensor(seen[-1][1])
