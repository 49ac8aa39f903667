"""C text of one elementwise formula: the Python function that NumPy runs on arrays is run on symbols instead, which write its lines.

    def formula(xp, x, y): return x + y * xp.sqrt(x)      # runs on arrays with xp = numpy, and becomes C with xp = the writer

So an elementwise kernel needs no second definition. The text is a fragment: the types and the loop around it come from `cpu/kernels/`,
and so do functions that C's own library has only one number at a time (`tanh_of`: maths.h, `sin_of`: waves.h).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Symbol", "Writer", "elementwise_lines", "value_text"]


class Symbol:
    """A value inside the formula: the C expression of a variable or number. Operations on it write a line each."""

    __slots__ = ("text", "writer")

    def __init__(self, writer: "Writer", text: str) -> None:
        self.writer = writer
        self.text = text

    def __add__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.line(self, "+", other)

    def __radd__(self, other: float) -> "Symbol":
        return self.writer.line(other, "+", self)

    def __sub__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.line(self, "-", other)

    def __rsub__(self, other: float) -> "Symbol":
        return self.writer.line(other, "-", self)

    def __mul__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.line(self, "*", other)

    def __rmul__(self, other: float) -> "Symbol":
        return self.writer.line(other, "*", self)

    def __truediv__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.line(self, "/", other)

    def __rtruediv__(self, other: float) -> "Symbol":
        return self.writer.line(other, "/", self)

    def __neg__(self) -> "Symbol":
        return self.writer.let(f"-{self.text}")

    def __pow__(self, exponent: Any) -> "Symbol | float":
        return self.writer.power(self, exponent)

    # Truth is a number, too: 1 or 0.

    def __gt__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.test(self, ">", other)

    def __ge__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.test(self, ">=", other)

    def __lt__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.test(self, "<", other)

    def __le__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.test(self, "<=", other)

    def __eq__(self, other: "Symbol | float") -> "Symbol":      # pyright: ignore[reportIncompatibleMethodOverride]
        return self.writer.test(self, "==", other)

    def __ne__(self, other: "Symbol | float") -> "Symbol":      # pyright: ignore[reportIncompatibleMethodOverride]
        return self.writer.test(self, "!=", other)

    __hash__ = object.__hash__

    def __and__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.logical_and(self, other)

    def __or__(self, other: "Symbol | float") -> "Symbol":
        return self.writer.logical_or(self, other)

    def __invert__(self) -> "Symbol":
        return self.writer.logical_not(self)

    def astype(self, dtype: Any) -> "Symbol":
        """Return the value as it is: all are of one type."""
        return self

    def __bool__(self) -> bool:
        raise TypeError("an elementwise formula cannot branch on the values of arrays; use xp.maximum or xp.minimum")


# Functions of one number by their names in NumPy (ndtr: SciPy's), and as C calls them.
FUNCTIONS = {
    "sqrt": "SQRT", "tanh": "tanh_of", "exp": "exp_of", "expm1": "expm1_of", "log": "log_of", "log1p": "log1p_of", "sin": "sin_of",
    "cos": "cos_of", "ndtr": "phi_of",
}


class Writer:
    """The array namespace that a formula sees while its text is written: the functions of NumPy that C has too.

    Any other function is refused by an AttributeError, as of a module that lacks it.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._named: dict[str, Symbol] = {}

    def let(self, expression: str) -> Symbol:
        """Write a line that names an expression, unless one does already."""
        found = self._named.get(expression)
        if found is None:
            found = self._named[expression] = Symbol(self, f"t{len(self.lines)}")
            self.lines.append(f"const real {found.text} = {expression};")
        return found

    def __getattr__(self, name: str) -> Callable[["Symbol | float"], Symbol]:
        if name not in FUNCTIONS:
            raise AttributeError(f"no C text for the function {name!r}")
        return lambda x: self.let(f"{FUNCTIONS[name]}({value_text(x)})")

    def line(self, left: "Symbol | float", sign: str, right: "Symbol | float") -> Symbol:
        return self.let(f"{value_text(left)} {sign} {value_text(right)}")

    def test(self, left: "Symbol | float", sign: str, right: "Symbol | float") -> Symbol:
        """Write a comparison, as 1 or 0."""
        return self.let(f"({value_text(left)} {sign} {value_text(right)}) ? (real)1 : (real)0")

    def where(self, condition: "Symbol | float", x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self.let(f"{value_text(condition)} != 0 ? {value_text(x)} : {value_text(y)}")

    def logical_and(self, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self.let(f"{value_text(x)} * {value_text(y)}")

    def logical_or(self, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self.let(f"{value_text(x)} > {value_text(y)} ? {value_text(x)} : {value_text(y)}")

    def logical_not(self, x: "Symbol | float") -> Symbol:
        return self.let(f"1 - {value_text(x)}")

    def isnan(self, x: Symbol) -> Symbol:
        return x != x

    def abs(self, x: Symbol) -> Symbol:
        return self.let(f"{x.text} < 0 ? -{x.text} : {x.text} + 0")       # -0 becomes 0

    def sign(self, x: Symbol) -> Symbol:
        return self.let(f"{x.text} > 0 ? (real)1 : {x.text} < 0 ? (real)-1 : {x.text}")

    def positive(self, x: Symbol) -> Symbol:
        return x

    def reciprocal(self, x: "Symbol | float") -> Symbol:
        return self.line(1.0, "/", x)

    def power(self, x: Symbol, exponent: Any) -> "Symbol | float":
        """Write a whole power up to 16 as products.

        Raises: AttributeError for another exponent.
        """
        if isinstance(exponent, Symbol) or exponent != int(exponent) or not 0 <= abs(exponent) <= 16:
            raise AttributeError(f"no C text for the exponent {exponent!r}")
        product: Symbol | float = 1.0
        square, left = x, int(abs(exponent))
        while left:
            if left & 1:
                product = square if isinstance(product, float) else product * square
            square, left = (square * square, left >> 1) if left > 1 else (square, 0)
        return self.reciprocal(product) if exponent < 0 else product

    def maximum(self, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self._choose(">", x, y)

    def minimum(self, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self._choose("<", x, y)

    def _choose(self, sign: str, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        """Write the choice such that a NaN in either is kept, as NumPy does."""
        a, b = value_text(x), value_text(y)
        return self.let(f"({a} {sign} {b} || {a} != {a}) ? {a} : {b}")


def value_text(value: "Symbol | float") -> str:
    """Return the C expression of a symbol or a number."""
    if isinstance(value, Symbol):
        return value.text
    number = float(value)
    if math.isfinite(number):
        return f"(real)({number!r})"
    return "(real)NAN" if math.isnan(number) else "(real)INFINITY" if number > 0 else "-(real)INFINITY"


def elementwise_lines(formula: Callable[..., Any], inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """Return the C lines of a formula, without the loop.

    formula: (xp, *inputs) -> one value, or as many as there are outputs. inputs: C expressions. outputs: what is assigned to.

    >>> print(elementwise_lines(lambda xp, x, y: x + y * xp.sqrt(x), ["x", "y"], ["out[i]"]))
    const real t0 = SQRT(x);
    const real t1 = y * t0;
    const real t2 = x + t1;
    out[i] = t2;
    """
    writer = Writer()
    results = formula(writer, *(Symbol(writer, text) for text in inputs))
    values: tuple[Symbol | float, ...] = tuple(results) if isinstance(results, tuple | list) else (results,)     # pyright: ignore
    return "\n".join([*writer.lines, *(f"{name} = {value_text(value)};" for name, value in zip(outputs, values, strict=True))])
