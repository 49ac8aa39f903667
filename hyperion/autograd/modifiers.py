"""Score modifiers as values: functions that attention applies to each score before bias, mask and softmax.

A modifier is one elementwise formula. It runs on NumPy and CuPy arrays and on Tensors, and its text in C and CUDA goes into the kernels.
Its derivative is not written by hand: the formula is run on pairs (value, slope) instead, so the two cannot disagree.
"""

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from hyperion.autograd.ops import arithmetic, comparison, elementary
from hyperion.codegen.elementwise import elementwise_lines
from hyperion.errors import InputError

__all__ = ["TENSORS", "ScoreModifier", "SoftCap", "check", "text_of"]

# The namespace in which a formula runs on Tensors: for derivatives of derivatives.
TENSORS = SimpleNamespace(
    **{name: getattr(arithmetic, name) for name in ("abs", "cos", "exp", "log", "maximum", "minimum", "sin", "sqrt", "square", "tanh")},
    expm1=elementary.expm1, log1p=elementary.log1p, where=comparison.where,
)


class ScoreModifier:
    """Base of score modifiers. A modifier is a value: two with the same settings are equal.

    Subclasses define `value`, of numbers that are set in __init__ (hashable: they are part of the compiled text).

    >>> class Nearer(ScoreModifier):
    ...     def value(self, xp, score, head, query, key):
    ...         return score - 0.1 * xp.abs(query - key)
    >>> Nearer() == Nearer()
    True
    """

    def value(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
        """Return what takes the place of a score, which is scale q k^T.

        xp: where functions come from: abs, cos, exp, expm1, log, log1p, maximum, minimum, sin, sqrt, square, tanh, where.
        head, query, key: numbers of the score's place, as floats; a query counts as the key at whose place it stands: the last query
        stands at the last key.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what becomes of a score: value(self, xp, score, head, query, key)")

    def slope(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
        """Return the derivative of `value` with respect to the score.

        >>> import numpy as np
        >>> float(SoftCap(2.0).slope(np, np.array(0.0), 0, 0, 0))
        1.0
        """
        found = self.value(_Pairs(xp), _Pair(xp, score, 1.0), head, query, key)
        return found.slope if isinstance(found, _Pair) else 0.0

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(self.__dict__.items()))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value}' for key, value in self.__dict__.items())})"


class SoftCap(ScoreModifier):
    """limit tanh(score / limit): scores stay between -limit and limit. Source: Gemma Team 2024, arXiv:2408.00118, section 2.

    >>> import numpy as np
    >>> SoftCap(50.0).value(np, np.array([1.0, 1e6]), 0, 0, 0).round(3)
    array([ 1., 50.])
    """

    def __init__(self, limit: float) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0.0 < limit < math.inf:     # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"SoftCap(limit): limit={limit!r} must be a number above 0")
        self.limit = float(limit)

    def value(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
        """Return limit tanh(score / limit)."""
        return self.limit * xp.tanh(score / self.limit)


@functools.cache
def check(modifier: ScoreModifier) -> None:
    """Try a modifier on a score. Raises InputError if it asks for a function that there is not.

    >>> check(SoftCap(2.0))
    """
    modifier.slope(np, np.full(1, 0.5), *np.zeros((3, 1)))


@functools.cache
def text_of(modifier: ScoreModifier) -> str | None:
    """Return the functions `modified` and `modified_slope` of (score, head, query, key) in C and CUDA; None if a formula has no such text.

    FUNCTION, before each, is a macro for kernels to define; `real` is their type.

    >>> print(text_of(SoftCap(2.0)).splitlines()[0])
    FUNCTION real modified(real score, real head, real query, real key) {
    """
    lines: list[str] = []
    for name, formula in (("modified", modifier.value), ("modified_slope", modifier.slope)):
        try:
            body = elementwise_lines(formula, ("score", "head", "query", "key"), ("const real found",))
        except AttributeError:
            return None
        lines += [f"FUNCTION real {name}(real score, real head, real query, real key) {{", body, "return found;", "}", ""]
    return "\n".join(lines)


class _Pair:
    """A value and its derivative with respect to the score, which are arrays, Tensors or symbols; the derivative may be a number."""

    __slots__ = ("slope", "value", "xp")
    __array_ufunc__ = None      # array * pair calls _Pair.__rmul__

    def __init__(self, xp: Any, value: Any, slope: Any) -> None:
        self.xp, self.value, self.slope = xp, value, slope

    def made(self, value: Any, slope: Any) -> "_Pair":
        return _Pair(self.xp, value, slope)

    def __add__(self, other: Any) -> "_Pair":
        return self.made(self.value + _value(other), _sum(self.slope, _slope(other)))

    __radd__ = __add__

    def __sub__(self, other: Any) -> "_Pair":
        return self + -other

    def __rsub__(self, other: Any) -> "_Pair":
        return -self + other

    def __neg__(self) -> "_Pair":
        return self.made(-self.value, -self.slope)

    def __mul__(self, other: Any) -> "_Pair":
        first, second = _times(self.slope, _value(other)), _times(_slope(other), self.value)
        return self.made(self.value * _value(other), _sum(first, second))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "_Pair":
        ratio = self.value / _value(other)
        return self.made(ratio, _sum(self.slope, -_times(_slope(other), ratio)) / _value(other))

    def __rtruediv__(self, other: Any) -> "_Pair":
        ratio = other / self.value
        return self.made(ratio, -_times(self.slope, ratio) / self.value)

    def __pow__(self, exponent: Any) -> "_Pair":
        if not isinstance(exponent, int | float):
            raise TypeError(f"ScoreModifier.value: a power of a score takes a number as its exponent, not {type(exponent).__name__}")
        return self.made(self.value**exponent, _times(self.slope, exponent * self.value ** (exponent - 1)) if exponent else 0.0)

    # Comparisons have no slope.

    def __gt__(self, other: Any) -> Any:
        return self.value > _value(other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= _value(other)

    def __lt__(self, other: Any) -> Any:
        return self.value < _value(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= _value(other)


def _value(x: Any) -> Any:
    return x.value if isinstance(x, _Pair) else x


def _slope(x: Any) -> Any:
    return x.slope if isinstance(x, _Pair) else 0.0


def _is(x: Any, number: float) -> bool:
    return isinstance(x, float) and x == number


def _sum(x: Any, y: Any) -> Any:
    return y if _is(x, 0.0) else x if _is(y, 0.0) else x + y


def _times(x: Any, y: Any) -> Any:
    """Return a slope times a value."""
    return 0.0 if _is(x, 0.0) else y if _is(x, 1.0) else x * y


# The derivative of each function, of (xp, result, argument).
SLOPES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "abs": lambda xp, y, x: xp.where(x < 0.0, -1.0, xp.where(x > 0.0, 1.0, 0.0)), "cos": lambda xp, y, x: -xp.sin(x),
    "exp": lambda xp, y, x: y, "expm1": lambda xp, y, x: y + 1.0, "log": lambda xp, y, x: 1.0 / x,
    "log1p": lambda xp, y, x: 1.0 / (x + 1.0),
    "sin": lambda xp, y, x: xp.cos(x), "sqrt": lambda xp, y, x: 0.5 / y, "square": lambda xp, y, x: 2.0 * x,
    "tanh": lambda xp, y, x: 1.0 - y * y,
}


class _Pairs:
    """The namespace in which a formula runs on pairs."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        if name not in SLOPES:
            raise InputError(f"ScoreModifier.value: xp.{name} is not among its functions: {', '.join(SLOPES)}, maximum, minimum, where")

        def function(x: Any) -> Any:
            y = self._plain(name, _value(x))
            return _Pair(self.xp, y, _times(x.slope, SLOPES[name](self.xp, y, x.value))) if isinstance(x, _Pair) else y

        return function

    def _plain(self, name: str, x: Any) -> Any:
        return x * x if name == "square" else getattr(self.xp, name)(x)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """Choose value and slope."""
        return _Pair(self.xp, self.xp.where(condition, _value(x), _value(y)), self.xp.where(condition, _slope(x), _slope(y)))

    def maximum(self, x: Any, y: Any) -> Any:
        """Choose the larger one's slope, the second's where they are equal."""
        return self.where(_value(x) > _value(y), x, y)

    def minimum(self, x: Any, y: Any) -> Any:
        """Choose the smaller one's slope, the second's where they are equal."""
        return self.where(_value(x) < _value(y), x, y)
