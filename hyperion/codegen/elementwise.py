"""C text of one elementwise formula: the Python function that NumPy runs on arrays is run on symbols instead, which write its lines.

    def formula(xp, x, y): return x + y * xp.sqrt(x)      # runs on arrays with xp = numpy, and becomes C with xp = the writer

So an elementwise kernel needs no second definition. The text is a fragment: the types and the loop around it come from `cpu/kernels/`.
"""

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Symbol", "Writer", "elementwise_lines"]


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

    def __bool__(self) -> bool:
        raise TypeError("an elementwise formula cannot branch on the values of arrays; use xp.maximum or xp.minimum")


class Writer:
    """The array namespace that a formula sees while its text is written: the functions of NumPy that C has too."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def let(self, expression: str) -> Symbol:
        """Write a line that names an expression."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"const real {name} = {expression};")
        return Symbol(self, name)

    def line(self, left: "Symbol | float", sign: str, right: "Symbol | float") -> Symbol:
        return self.let(f"{_text(left)} {sign} {_text(right)}")

    def sqrt(self, x: Symbol) -> Symbol:
        return self.let(f"SQRT({x.text})")

    def maximum(self, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self._choose(">", x, y)

    def minimum(self, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self._choose("<", x, y)

    def _choose(self, sign: str, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        """Write the choice such that a NaN in either is kept, as NumPy does."""
        a, b = _text(x), _text(y)
        return self.let(f"({a} {sign} {b} || {a} != {a}) ? {a} : {b}")


def _text(value: "Symbol | float") -> str:
    return value.text if isinstance(value, Symbol) else f"(real)({float(value)!r})"


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
    return "\n".join([*writer.lines, *(f"{name} = {_text(value)};" for name, value in zip(outputs, values, strict=True))])
