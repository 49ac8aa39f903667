"""Running averages of parameters, to evaluate and to save in their place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.optim.optimizer import read_parameters
from hyperion.optim.rule import is_half

__all__ = ["EMA"]


class EMA:
    """The exponential moving average of parameters: average = decay * average + (1 - decay) * parameter at each `update()`.

    parameters: tracked Tensors, see Optimizer. decay: in [0, 1). warmup: use the smaller of decay and (1 + n) / (10 + n) in update n from
    0, so that the start is forgotten soon.
    Averages of half precision are kept in float32. `average` is the tree of them, as untracked Tensors of the parameters' dtypes.
    Raises: InputError for a decay outside its range, or parameters that are not tracked.
    Source: Polyak and Juditsky (1992) in the form of Tarvainen and Valpola, Mean teachers (2017); the warmup is TensorFlow's.

    >>> import hyperion as hp
    >>> x = hp.asarray([1.0], requires_grad=True)
    >>> ema = EMA([x], decay=0.5)
    >>> x.assign(hp.asarray([3.0]))
    >>> ema.update()
    >>> with ema.applied():
    ...     x
    Tensor (1,) float32, cpu, tracked: [2.]
    >>> x
    Tensor (1,) float32, cpu, tracked: [3.]
    """

    def __init__(self, parameters: Any, decay: float, warmup: bool = False):
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0.0 <= decay < 1.0:
            raise InputError(f"decay={decay!r}: must be in [0, 1)")
        self._leaves, self._structure, self._names = read_parameters(parameters)
        loose = [name for name, leaf in zip(self._names, self._leaves, strict=True)
                 if not (isinstance(leaf, Tensor) and leaf.requires_grad)]
        if loose:
            raise InputError(f"parameters: {', '.join(loose)} are not Tensors with requires_grad=True, which the average could follow")
        self.decay, self.warmup, self.count = decay, warmup, 0
        self._averages = [_wide(leaf.data) for leaf in self._leaves]

    def update(self) -> None:
        """Move the average towards the parameters as they are now."""
        decay = min(self.decay, (1.0 + self.count) / (10.0 + self.count)) if self.warmup else self.decay
        for average, leaf in zip(self._averages, self._leaves, strict=True):
            average *= decay
            average += (1.0 - decay) * _wide(leaf.data)
        self.count += 1

    @property
    def average(self) -> Any:
        """The tree of the averages."""
        new = [Tensor(average.astype(leaf.dtype, copy=True)) for average, leaf in zip(self._averages, self._leaves, strict=True)]
        return trees.unflatten(self._structure, new)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Return a context in which the parameters are the averages."""
        kept = [leaf.data for leaf in self._leaves]
        for leaf, new in zip(self._leaves, trees.flatten(self.average)[0], strict=True):
            leaf.assign(new)
        try:
            yield
        finally:
            for leaf, array in zip(self._leaves, kept, strict=True):
                leaf.assign(Tensor(array))

    def state_dict(self) -> dict[str, Any]:
        """Return count and averages as a tree of NumPy arrays and numbers."""
        return {"count": self.count, "averages": [np.array(device.to_numpy(average)) for average in self._averages]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state of `state_dict`.

        Raises: InputError that lists everything that does not fit.
        """
        saved = [np.array(array) for array in state["averages"]]
        if len(saved) != len(self._averages):
            raise InputError(f"state: holds {len(saved)} averages for {len(self._averages)} parameters; load that of the same parameters")
        wrong = [f"{name} has shape {array.shape} and dtype {array.dtype}, it must be {own.shape} and {own.dtype}"
                 for name, own, array in zip(self._names, self._averages, saved, strict=True)
                 if (array.shape, array.dtype) != (own.shape, own.dtype)]
        if wrong:
            raise InputError(f"state: {'; '.join(wrong)}. Load the state of an EMA of the same parameters")
        self._averages = [device.to_device(array, device.device_of(own)) for array, own in zip(saved, self._averages, strict=True)]
        self.count = int(state["count"])


def _wide(array: Any) -> Any:
    """Return a copy of an array, in float32 if it is of half precision."""
    return array.astype(np.float32) if is_half(array) else array.copy()
