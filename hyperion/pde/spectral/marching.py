"""Time loops in Tensor operations: saved states, memory bounded by checkpoints, and the step at which a field stops being finite."""
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, checkpoint, no_grad
from hyperion.autograd.batching import Batched
from hyperion.errors import DtypeError, InputError, NonFiniteError, ShapeError
from hyperion.gpu import device as devices

from ..checks import is_positive, is_whole

Step = Callable[[Tensor], Tensor]


def march(name: str, step: Step, state: Tensor, saves: int, count: int, duration: float, check: Callable[[Tensor, int], None] | None = None,
          ) -> list[Tensor]:
    """Return the states after count, 2 count, ... saves * count steps.

    Where a derivative is wanted, stretches of about the square root of `count` steps are run again for it and keep nothing else. Every
    stretch ends with a look at the values, also by `check(state, step)`.
    Raises: NonFiniteError that names the first step with a value that is not finite.
    """
    stretch = max(1, math.isqrt(count))
    seconds = duration / (saves * count)
    states: list[Tensor] = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):       # looked at here, with a better message
        for save in range(saves):
            done = 0
            while done < count:
                now = min(stretch, count - done)
                before = state
                state = _several(step, state, now)
                _look(name, step, before, state, save * count + done, now, seconds)
                done += now
                if check is not None:
                    check(state, save * count + done)
            states.append(state)
    return states


def _several(step: Step, state: Tensor, count: int) -> Tensor:
    def run(x: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            x = step(x)
        return x

    first = step(state)
    # The first step shows whether anything in it is differentiated: the state, a parameter, a forcing.
    if count == 1 or not first.tracked:
        return run(first, count - 1)
    return checkpoint(lambda x: run(x, count - 1))(first)


def _look(name: str, step: Step, before: Tensor, after: Tensor, start: int, count: int, seconds: float) -> None:
    if _finite(after):
        return
    with no_grad():
        x = before
        for k in range(count):
            x = step(x)
            if not _finite(x):
                raise NonFiniteError(
                    f"{name}: the solution became NaN or infinite in step {start + k + 1} (time {(start + k + 1) * seconds:.4g}, steps of "
                    f"{seconds:.4g}); use a shorter step, and look at the initial state and the parameters")
    raise NonFiniteError(f"{name}: the solution became NaN or infinite in steps {start + 1} to {start + count}; use a shorter step")


def raw(x: Tensor) -> Any:
    """Return the array of a Tensor; inside vmap, that of all examples."""
    while isinstance(x, Batched):
        x = x.base
    return x.data


def _finite(x: Tensor) -> bool:
    values = raw(x)
    return bool(devices.namespace(values).isfinite(values).all())


def initial_state(name: str, argument: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    """Return an initial state as a Tensor. Raises: ShapeError, DtypeError, InputError (naming the sample with NaN) unless it fits."""
    x = as_tensor(value)
    if x.shape[max(0, x.ndim - len(shape)):] != shape:
        raise ShapeError(f"{name}.solve({argument} of shape {x.shape}): the last axes must be {shape}")
    if x.dtype not in (np.float32, np.float64):
        raise DtypeError(f"{name}.solve({argument} of dtype {x.dtype}): use float32 or float64")
    if not _finite(x):
        values = devices.to_numpy(raw(x))
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise InputError(f"{name}.solve({argument}): {values[at]} at {at}; every value must be finite")
    return x


def check_times(name: str, duration: Any, saves: Any) -> tuple[float, int]:
    """Return duration and saves. Raises: InputError unless the one is positive, the other a whole number from 1."""
    if not is_positive(duration):
        raise InputError(f"{name}.solve(duration={duration!r}): give a positive time")
    if not is_whole(saves, 1):
        raise InputError(f"{name}.solve(saves={saves!r}): give a whole number of at least 1: how many states are returned, equally spaced "
                         "in time, the last at the end")
    return float(duration), int(saves)


def coefficient(name: str, argument: str, value: Any, axes: int, device: str, *, zero: bool = False) -> Tensor:
    """Return a parameter as a float64 Tensor (..., 1, 1): a number, or one for each sample, with `axes` axes of length 1 appended.

    zero: whether 0 is allowed. Raises: InputError for a value that is not finite and positive.
    """
    x = as_tensor(np.float64(value) if isinstance(value, int | float) else value)
    values = devices.to_numpy(raw(x))
    if not np.isfinite(values).all() or (values < 0).any() or (not zero and (values == 0).any()):
        raise InputError(f"{name}.solve({argument}={value!r}): must be finite and {'not negative' if zero else 'positive'}")
    x = x.astype("float64")
    if device != x.device:
        x = x.to(device)
    return x.reshape((*x.shape, *(1,) * axes))
