"""Comparisons and logic, which have no derivative, and selection, which has."""

from typing import Any

from hyperion.autograd.table import elementwise
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError

__all__ = [
    "allclose", "array_equal", "equal", "greater", "greater_equal", "isclose", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "less",
    "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor", "not_equal", "where",
]

equal = elementwise("equal", lambda xp, x, y: x == y, None, None, doc="Return whether x == y for each element.")
not_equal = elementwise("not_equal", lambda xp, x, y: x != y, None, None, doc="Return whether x != y for each element.")
less = elementwise("less", lambda xp, x, y: x < y, None, None, doc="Return whether x < y for each element.")
less_equal = elementwise("less_equal", lambda xp, x, y: x <= y, None, None, doc="Return whether x <= y for each element.")
greater = elementwise("greater", lambda xp, x, y: x > y, None, None, doc="Return whether x > y for each element.")
greater_equal = elementwise("greater_equal", lambda xp, x, y: x >= y, None, None, doc="Return whether x >= y for each element.")
logical_and = elementwise(
    "logical_and", lambda xp, x, y: xp.logical_and(x, y), None, None, doc="Return whether both are true, for each element."
)
logical_or = elementwise(
    "logical_or", lambda xp, x, y: xp.logical_or(x, y), None, None, doc="Return whether either is true, for each element."
)
logical_xor = elementwise(
    "logical_xor", lambda xp, x, y: xp.logical_xor(x, y), None, None, doc="Return whether exactly one is true, for each element."
)
logical_not = elementwise("logical_not", lambda xp, x: xp.logical_not(x), None, doc="Return whether each element is false.")
isfinite = elementwise("isfinite", lambda xp, x: xp.isfinite(x), None, doc="Return whether each element is neither NaN nor infinite.")
isinf = elementwise("isinf", lambda xp, x: xp.isinf(x), None, doc="Return whether each element is infinite.")
isnan = elementwise("isnan", lambda xp, x: xp.isnan(x), None, doc="Return whether each element is NaN.")
isposinf = elementwise("isposinf", lambda xp, x: x == float("inf"), None, doc="Return whether each element is +infinity.")
isneginf = elementwise("isneginf", lambda xp, x: x == -float("inf"), None, doc="Return whether each element is -infinity.")
_isclose = elementwise(
    "isclose", lambda xp, x, y, rtol, atol, equal_nan: xp.isclose(x, y, rtol, atol, equal_nan), None, None
)
_where = elementwise(
    "where", lambda xp, condition, x, y: xp.where(condition, x, y), None,
    lambda out, condition, x, y: condition, lambda out, condition, x, y: logical_not(condition),
    degree=1,
)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """Return x where the condition is true and y elsewhere; the three broadcast.

    condition: bool Tensor or array.
    Raises: DtypeError if the condition is not bool; ShapeError if the shapes do not combine.

    >>> where([True, False], 1.0, [2.0, 3.0])
    Tensor (2,) float32, cpu: [1. 3.]
    """
    condition = as_tensor(condition)
    if condition.dtype.kind != "b":
        raise DtypeError(f"where(condition, x, y): condition is {condition.dtype}; it must be bool: compare it, for example condition != 0")
    return _where(condition, x, y)


def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Return whether |x1 - x2| <= atol + rtol |x2| for each element; infinities are close to themselves only.

    equal_nan: whether NaN is close to NaN.

    >>> isclose([1.0, 2.0], [1.000001, 2.1])
    Tensor (2,) bool, cpu: [ True False]
    """
    return _isclose(x1, x2, rtol=float(rtol), atol=float(atol), equal_nan=bool(equal_nan))


def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Return whether all elements are close, as `isclose` says.

    >>> allclose([1.0, 2.0], [1.000001, 2.0])
    True
    """
    return bool(isclose(x1, x2, rtol, atol, equal_nan).data.all())


def array_equal(x1: Any, x2: Any) -> bool:
    """Return whether two arrays have the same shape and equal elements.

    >>> array_equal([1.0, 2.0], [1, 2]), array_equal([1.0], [1.0, 1.0])
    (True, False)
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    return x1.shape == x2.shape and bool(equal(x1, x2).data.all())
