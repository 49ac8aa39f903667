"""What is given at points: numbers, functions of the variables by name, arrays; and coefficients that are unknown and trained."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.errors import GraphError, HyperionError, InputError, ShapeError
from hyperion.nn.module import Module, parameter
from hyperion.operators.pinn.domains import Domain

__all__ = ["Coefficient", "Given", "Positive", "Unknown", "called", "called_on_tensors", "named_arguments", "traced_values", "values_at"]


NUMBER = int | float | np.integer | np.floating


class Given(ABC):
    """Base of what stands for a function of the variables in conditions without being one that a user wrote."""

    @abstractmethod
    def at(self, domain: Domain, points: np.ndarray) -> Tensor:
        """Return the values at points (n, d): (n,)."""

    @abstractmethod
    def along(self, at: dict[str, Tensor]) -> Tensor:
        """Return the values in columns of variables, (n, 1) each: (n, 1)."""


class Unknown(Module):
    """Base of coefficients that are trained with the network. A plain `nn.parameter(1.0)` is one too, without a constraint."""

    @abstractmethod
    def at(self, domain: Domain, points: Tensor) -> Tensor:
        """Return the coefficient at points, (n, d): shape () or (n, 1)."""


class Positive(Unknown):
    """A number above zero that is trained by its logarithm.

    start: the first guess.  dtype: of the logarithm; optimisers of one vector, such as L-BFGS, need that of the network.

    >>> round(float(Positive(0.01).value()), 12)
    0.01
    """

    def __init__(self, start: float, dtype: Any = "float64"):
        if not (isinstance(start, NUMBER) and 0.0 < start < np.inf):
            raise InputError(f"Positive(start={start!r}): give a positive number, the first guess")
        self.logarithm = parameter(np.log(float(start)), dtype)

    def value(self) -> Tensor:
        """Return the number as it stands."""
        return hp.exp(self.logarithm)

    def at(self, domain: Domain, points: Tensor) -> Tensor:
        """Return the number: the same everywhere."""
        return self.value()


class Coefficient(Unknown):
    """A coefficient that is a network of some of the variables, such as a speed of x and y.

    network: (n, len(variables)) -> (n, 1), in the variables' own units.  variables: their names.

    >>> from hyperion import nn
    >>> from hyperion.operators import Box
    >>> speed = Coefficient(nn.MLP([1, 8, 1]), ["x"])
    >>> speed.at(Box(x=(0, 1), t=(0, 1)), as_tensor(np.zeros((5, 2), np.float32))).shape
    (5, 1)
    """

    def __init__(self, network: Module, variables: Sequence[str]):
        self.network, self.variables = network, list(variables)

    def at(self, domain: Domain, points: Tensor) -> Tensor:
        """Return the network of the variables' columns."""
        columns = [domain.column(name, "Coefficient(variables): variable") for name in self.variables]
        out = self.network(hp.stack([points[..., k] for k in columns], axis=-1))
        if out.shape != (*points.shape[:-1], 1):
            raise ShapeError(f"Coefficient(network): gives shape {out.shape} for {points.shape[0]} points; it must be (points, 1)")
        return out


def named_arguments(function: Callable[..., Any], names: Sequence[str], what: str) -> list[str]:
    """Return which of some names a function takes as arguments, in its order. Raises: InputError if it takes others.

    >>> named_arguments(lambda t, x: t, ["x", "t"], "u")
    ['t', 'x']
    """
    try:
        wanted = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        raise InputError(f"{what}: the arguments of {function!r} are not known; wrap it: lambda {', '.join(names)}: ...") from None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY) for p in wanted):
        raise InputError(f"{what}: {function!r} takes its arguments without names; write lambda {', '.join(names)}: ...")
    others = [p.name for p in wanted if p.name not in names]
    if others:
        raise InputError(f"{what}: the function takes {', '.join(others)}; its arguments must be among {', '.join(names)}")
    return [p.name for p in wanted]


def called(function: Callable[..., Any], given: dict[str, Any], what: str) -> Any:
    """Return a function of the arguments that it names."""
    return function(**{name: given[name] for name in named_arguments(function, list(given), what)})


def called_on_tensors(function: Callable[..., Any], given: dict[str, Tensor], what: str) -> Any:
    """Return a function of the arguments that it names, so that it can be differentiated. Raises: InputError if it is written in NumPy."""
    try:
        found = called(function, given, what)
        return found if isinstance(found, Mapping) else as_tensor(found)
    except (GraphError, TypeError) as error:
        raise InputError(f"{what}: its function does not take Tensors ({error}); it is differentiated here, so write it with hyperion's "
                         "functions: hp.sin instead of np.sin") from error


def traced_values(value: Any, domain: Domain, points: Tensor, what: str) -> Tensor:
    """Return what `values_at` does, at points (n, d) with respect to which derivatives are taken: (n, 1), with its own derivative."""
    at = {name: points[..., k:k + 1] for k, name in enumerate(domain.names)}
    if isinstance(value, Given):
        found = value.along(at)
    else:
        found = called_on_tensors(value, at, what) if callable(value) else as_tensor(value)
    return hp.broadcast_to(found.astype(points.dtype), (points.shape[0], 1))


def values_at(value: Any, domain: Domain, points: np.ndarray, what: str) -> np.ndarray:
    """Return a number, a function of variables, or a Given, at points (n, d): (n,) float64.

    Raises: InputError for what is trained, or that names the first point where it is not finite; ShapeError for another number of values.
    """
    if isinstance(value, Unknown) or (isinstance(value, Tensor) and value.tracked):
        raise InputError(f"{what}: a {type(value).__name__} that is trained cannot be a value of a condition, only a parameter of the "
                         "equation; give a number, a function or an array")
    if isinstance(value, Given):
        with hp.no_grad():
            found = value.at(domain, points)
    elif callable(value):
        found = called(value, dict(zip(domain.names, points.T, strict=True)), what)
    else:
        found = value
    try:
        array = np.asarray(as_tensor(found).detach().to("cpu").numpy(), dtype=np.float64)
    except (TypeError, ValueError, HyperionError) as error:
        raise InputError(f"{what}: {found!r} is no number; give a number, or a function of {', '.join(domain.names)}") from error
    if array.size not in (1, len(points)):
        raise ShapeError(f"{what}: gives {array.size} values, shape {array.shape}, at {len(points)} points; give one for each, or a number")
    array = np.broadcast_to(array.reshape(-1), (len(points),))
    wrong = np.flatnonzero(~np.isfinite(array))
    if wrong.size:
        i = int(wrong[0])
        place = ", ".join(f"{name}={v:g}" for name, v in zip(domain.names, points[i], strict=True))
        raise InputError(f"{what}: is {array[i]} at {place} (point {i}); every value must be finite")
    return array
