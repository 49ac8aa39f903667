"""C text of fused loops: elementwise formulas over arrays of any strides, whose results are stored, or summed over some axes.

A kernel is a function of addresses, a table of numbers, and a range of units of work:

    void name(char *const *at, const long *a, long first, long last, long chunk)

The numbers are, in this order: for each array its place in `at` and an offset [bytes]; the lengths of the axes; for each array but the
sums' results its strides [elements]; for each sum what it is divided by; and the place of the partial sums. Ranks, dtypes and whether the
last axis is contiguous are constants of the text, everything else is an argument: a new size compiles nothing.

kinds   map       stores only; a unit is a block of the last axis
        all       sums over everything; partial sums of each chunk of units, added up by `name_end`
        rows      sums over the last axes; a unit is one sum
        columns   sums over axes before the last, which is kept; a unit is a block of the last axis
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .elementwise import Symbol, Writer

__all__ = ["BLOCK", "COLUMNS", "TYPES", "Loop", "LoopWriter", "Operand"]

BLOCK = 4096            # elements of the last axis in a unit: sums within one are of the arrays' dtype, beyond in double
COLUMNS = 128           # the same where sums are kept for each element of the last axis

# C types of dtypes that loops read and write.
TYPES = {
    "float32": "float", "float64": "double", "bool": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t",
}


class LoopWriter(Writer):
    """The namespace of formulas in loops: truth is 1 or 0, and a few functions more than its base has."""

    def isfinite(self, x: Symbol) -> Symbol:
        return self.let(f"{x.text} - {x.text} == 0 ? (real)1 : (real)0")

    def isinf(self, x: Symbol) -> Symbol:
        return self.let(f"ABS({x.text}) == (real)INFINITY ? (real)1 : (real)0")

    def floor(self, x: Symbol) -> Symbol:
        return self.let(f"FLOOR({x.text})")

    def ceil(self, x: Symbol) -> Symbol:
        return self.let(f"CEIL({x.text})")

    def trunc(self, x: Symbol) -> Symbol:
        return self.let(f"TRUNC({x.text})")

    def logical_xor(self, x: "Symbol | float", y: "Symbol | float") -> Symbol:
        return self.test(x, "!=", y)


@dataclass(frozen=True)
class Operand:
    """An array of a loop. dtype: of TYPES.  inner: stride of the last axis if it is 0 or 1, else None.  text: for an array that is stored
    the C expression of its values; for one that is read an empty text: it is `p0`, `p1`... in the formula."""

    dtype: str
    inner: int | None
    text: str = ""


@dataclass(frozen=True)
class Loop:
    """A kernel. rank: axes.  lead: axes before those that are summed; rank of a map.  lines: C lines of the formula.
    operands: arrays read, then arrays stored.  sums: C expressions of what is summed."""

    kind: str
    rank: int
    lead: int
    lines: tuple[str, ...]
    operands: tuple[Operand, ...]
    sums: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """Return the C function of that name, and `name_end` if there are partial sums."""
        body = {"map": self._map, "all": self._all, "rows": self._rows, "columns": self._columns}[self.kind]()
        head = f"void {name}(char *const *at, const long *a, long first, long last, long chunk) {{\n"
        text = head + "\n".join(["  (void)chunk;", *self._numbers(), *body]) + "\n}\n"
        if self.kind == "all":
            text += f"\nvoid {name}_end(char *const *at, const long *a, long chunks) {{\n" + "\n".join(self._end()) + "\n}\n"
        return text

    def units(self, lengths: Sequence[int]) -> int:
        """Return the units of work for lengths of the axes."""
        size = {"map": BLOCK, "all": BLOCK, "rows": 0, "columns": COLUMNS}[self.kind]
        first = lengths[:self.lead if self.kind in ("rows", "columns") else self.rank - 1]
        return math.prod(first) * (-(-lengths[-1] // size) if size else 1)

    # The table of numbers

    @property
    def _places(self) -> int:
        return len(self.operands) + len(self.sums)

    def _length(self, axis: int) -> int:
        return 2 * self._places + axis

    def _stride(self, operand: int, axis: int) -> int:
        return 2 * self._places + self.rank + operand * self.rank + axis

    def _divisor(self, k: int) -> int:
        return 2 * self._places + self.rank * (1 + len(self.operands)) + k

    def _numbers(self) -> list[str]:
        lines = [f"  const long n{i} = a[{self._length(i)}];" for i in range(self.rank)]
        for k, one in enumerate(self.operands):
            kind = "" if one.text else "const "
            lines.append(f"  {kind}{TYPES[one.dtype]} *const b{k} = ({kind}{TYPES[one.dtype]} *)(at[a[{2 * k}]] + a[{2 * k + 1}]);")
            last = self.rank - 1
            lines += [f"  const long s{k}_{i} = a[{self._stride(k, i)}];" for i in range(self.rank) if i != last or one.inner is None]
        for k in range(len(self.sums)):
            place = 2 * (len(self.operands) + k)
            if self.kind != "all":
                lines.append(f"  real *const r{k} = (real *)(at[a[{place}]] + a[{place + 1}]);")
                lines.append(f"  const double d{k} = (double)a[{self._divisor(k)}];")
        return lines

    # Parts of loops

    def _pointers(self, indent: str) -> list[str]:
        """Return the lines that find each array's row, and read what does not change along it."""
        lines: list[str] = []
        for k, one in enumerate(self.operands):
            offset = "".join(f" + i{i} * s{k}_{i}" for i in range(self.rank - 1))
            kind = "" if one.text else "const "
            lines.append(f"{indent}{kind}{TYPES[one.dtype]} *const x{k} = b{k}{offset};")
            if not one.text and one.inner == 0:
                lines.append(f"{indent}const real p{k} = (real)x{k}[0];")
        return lines

    def _formula(self, indent: str) -> list[str]:
        """Return the lines for element j of the last axis, stores included."""
        lines: list[str] = []
        for k, one in enumerate(self.operands):
            if not one.text and one.inner != 0:
                lines.append(f"{indent}const real p{k} = (real)x{k}[{'j' if one.inner == 1 else f'j * s{k}_{self.rank - 1}'}];")
        lines += [f"{indent}{line}" for line in self.lines]
        for k, one in enumerate(self.operands):
            if one.text:
                value = f"({one.text}) != 0" if one.dtype == "bool" else one.text
                lines.append(f"{indent}x{k}[{'j' if one.inner == 1 else f'j * s{k}_{self.rank - 1}'}] = {value};")
        return lines

    def _units(self, axes: int, blocked: int, inside: list[str]) -> list[str]:
        """Return the loop over units: indices of the first axes, and a block of the last one if `blocked` elements make one."""
        lines = ["  long unit = first;"]
        if blocked:
            lines += [f"  const long blocks = (n{self.rank - 1} + {blocked - 1}) / {blocked};",
                      "  long block = unit % blocks;", "  unit /= blocks;"]
        for i in reversed(range(axes)):
            lines.append(f"  long i{i} = unit % n{i};" if i else "  long i0 = unit;")
            if i:
                lines.append(f"  unit /= n{i};")
        lines.append("  for (long u = first; u < last; u++) {")
        if blocked:
            n = f"n{self.rank - 1}"
            lines.append(f"    const long begin = block * {blocked}, end = begin + {blocked} < {n} ? begin + {blocked} : {n};")
        lines += inside
        step = ""
        for i in range(axes):
            step = f"if (++i{i} == n{i}) {{ i{i} = 0; {step} }}" if i else "i0++;"
        if blocked:
            step = f"if (++block == blocks) {{ block = 0; {step} }}"
        return [*lines, f"    {step}", "  }"]

    # Kinds

    def _map(self) -> list[str]:
        loop = ["#pragma omp simd", "    for (long j = begin; j < end; j++) {", *self._formula("      "), "    }"]
        return self._units(self.rank - 1, BLOCK, [*self._pointers("    "), *loop])

    def _summed(self, indent: str) -> list[str]:
        """Return the loop that adds elements begin to end to the totals."""
        names = ", ".join(f"part{k}" for k in range(len(self.sums)))
        return [
            f"{indent}real {', '.join(f'part{k} = 0' for k in range(len(self.sums)))};", f"#pragma omp simd reduction(+ : {names})",
            f"{indent}for (long j = begin; j < end; j++) {{", *self._formula(indent + "  "),
            *(f"{indent}  part{k} += {text};" for k, text in enumerate(self.sums)), f"{indent}}}",
            *(f"{indent}total{k} += part{k};" for k in range(len(self.sums))),
        ]

    def _all(self) -> list[str]:
        totals = ", ".join(f"total{k} = 0" for k in range(len(self.sums)))
        loop = self._units(self.rank - 1, BLOCK, [*self._pointers("    "), *self._summed("    ")])
        partial = f"  double *const partial = (double *)at[a[{self._divisor(len(self.sums))}]] + chunk * {len(self.sums)};"
        return [f"  double {totals};", *loop, partial, *(f"  partial[{k}] = total{k};" for k in range(len(self.sums)))]

    def _end(self) -> list[str]:
        lines = [f"  const double *const partial = (const double *)at[a[{self._divisor(len(self.sums))}]];"]
        for k in range(len(self.sums)):
            place = 2 * (len(self.operands) + k)
            lines += [
                f"  double total{k} = 0;", f"  for (long c = 0; c < chunks; c++) total{k} += partial[c * {len(self.sums)} + {k}];",
                f"  *(real *)(at[a[{place}]] + a[{place + 1}]) = (real)(total{k} / (double)a[{self._divisor(k)}]);",
            ]
        return lines

    def _nested(self, inside: list[str]) -> list[str]:
        """Return loops over the axes between those of the units and the last one."""
        axes = range(self.lead, self.rank - 1)
        return [*(f"    for (long i{i} = 0; i{i} < n{i}; i{i}++) {{" for i in axes), *inside, *("    }" for _ in axes)]

    def _rows(self) -> list[str]:
        n = f"n{self.rank - 1}"
        block = [
            *self._pointers("      "), f"      for (long begin = 0; begin < {n}; begin += {BLOCK}) {{",
            f"        const long end = begin + {BLOCK} < {n} ? begin + {BLOCK} : {n};", *self._summed("        "), "      }",
        ]
        totals = ", ".join(f"total{k} = 0" for k in range(len(self.sums)))
        stores = [f"    r{k}[u] = (real)(total{k} / d{k});" for k in range(len(self.sums))]
        return self._units(self.lead, 0, [f"    double {totals};", *self._nested(block), *stores])

    def _columns(self) -> list[str]:
        sums = [f"        sum{k}[j - begin] += {text};" for k, text in enumerate(self.sums)]
        block = [*self._pointers("      "), "#pragma omp simd", "      for (long j = begin; j < end; j++) {", *self._formula("        "),
                 *sums, "      }"]
        zeros = [f"    real sum{k}[{COLUMNS}];\n    for (long j = 0; j < end - begin; j++) sum{k}[j] = 0;" for k in range(len(self.sums))]
        row = "".join(f" * n{i} + i{i}" if i else "i0" for i in range(self.lead)) or "0"
        row = "(" * max(self.lead - 1, 0) + row.replace(" * n", ") * n") if self.lead > 1 else row
        stores = [
            f"    for (long j = begin; j < end; j++) r{k}[({row}) * n{self.rank - 1} + j] = (real)(sum{k}[j - begin] / d{k});"
            for k in range(len(self.sums))
        ]
        return self._units(self.lead, COLUMNS, [*zeros, *self._nested(block), *stores])
