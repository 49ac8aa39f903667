"""C text of a program's sweeps: GNU vector extensions, one kernel per set of stretched axes, so that the interior pays nothing for them.

The text is a fragment: `cpu/kernels/stencil.h` defines its types and macros before it, `cpu/kernels/timeloop.c` calls `sweep` after it.
Sizes are arguments; rank, stencils and the equation are constants. Zeros beyond the region replace bounds: halos, padding and slab ends
hold zeros and coefficients are zero in the padding, so whole vectors run without masks and every transposed gather is exact.
"""
import re
from collections.abc import Callable, Iterable
from itertools import product

from .program import Assign, Program, Stencil, Term, sweeps

History = tuple[int, tuple[Term, ...]]                 # (sweep, terms): what a gradient keeps, evaluated in that sweep
AXES = ("z", "y", "x")                                 # loop variables of the last `ndim` axes


def c_text(program: Program, histories: Iterable[History], rows: int | None = None) -> str:
    """Return the C text of all sweeps of a program.

    histories: the cofactors to write to history arrays, in order. rows: planes of axis 0 computed together in a kernel (they share
    reads); default: what measured best, 3 in two dimensions and 2 in three.
    """
    rows = rows or (3 if program.ndim == 2 else 2)
    index = {name: i for i, name in enumerate(array_names(program))}
    profiles = list(program.profiles)
    kernels: list[str] = []
    body: list[str] = []
    stages = sweeps(program)
    written: list[list[int]] = []
    histories = list(histories)
    masks = [frozenset(i for i in range(program.ndim) if bits[i]) for bits in product((0, 1), repeat=program.ndim)]
    for s, (before, main) in enumerate(stages):
        written.append([index[a.target] for a in main if a.target not in program.memory])
        body.append(f"  if (stage == {s}) {{")
        for k, group in enumerate(before):
            for axis in sorted({a.axis for a in group if a.axis is not None}):
                name = f"before{s}_{k}_{axis}"
                kernels.append(_Kernel(program, name, group, frozenset((axis,)), index, profiles, (), rows).text())
                body.append(f"    slabs(c, {name}, {axis}, t, first, last);")
        mine = [(i, terms) for i, (stage, terms) in enumerate(histories) if stage == s]
        for keep in (False, True):
            names: list[str] = []
            for mask in masks:
                name = f"main{s}_{''.join(map(str, sorted(mask)))}{'k' if keep and mine else ''}"
                names.append(name)
                if not keep or mine:
                    kernels.append(_Kernel(program, name, main, mask, index, profiles, mine if keep else (), rows).text())
            body.append(f"    static const Kernel k{int(keep)}[] = {{{', '.join(names)}}};")
        body.append("    boxes(c, history ? k1 : k0, t, history, first, last);\n  }")
    most = max(len(w) for w in written)
    table = ", ".join("{" + ", ".join(map(str, [*w, *[-1] * (most - len(w))])) + "}" for w in written)
    return (f"#define SWEEPS {len(stages)}\n#define REACH {program.reach()}\n#define WRITTEN {most}\n"
            f"static const int written[SWEEPS][WRITTEN] = {{{table}}};\n" + "\n".join(kernels)
            + "\nstatic void sweep(const Context *c, int stage, long m, long first, long last, Stored *history) {\n"
            + "  const Array *t = c->table[m & 1];\n" + "\n".join(body) + "\n}\n")


def array_names(program: Program) -> list[str]:
    """Return the names of all arrays and parameters in the order of the C array table (two entries each: low and high slab)."""
    return [*program.arrays(), *program.parameters]


class _Kernel:
    """One sweep over a box, specialised for the axes that are stretched there (`mask`)."""

    def __init__(self, program: Program, name: str, assigns: list[Assign], mask: frozenset[int], index: dict[str, int], profiles: list[str],
                 histories: Iterable[tuple[int, tuple[Term, ...]]], rows: int):
        self.program, self.name, self.mask, self.index, self.profiles, self.rows = program, name, mask, index, profiles, rows
        self.ndim = program.ndim
        present = [(a.target, self._alive(a.terms)) for a in assigns if a.axis is None or a.axis in mask]
        kept = [(i, self._alive(terms)) for i, terms in histories]
        uses: dict[tuple[str, Stencil], int] = {}
        for _, terms in present:
            for t in terms:
                uses[t.array, t.stencil] = uses.get((t.array, t.stencil), 0) + 1
        self.body = [(target, _stars(terms, uses)) for target, terms in present]
        self.kept = [(i, _stars(terms, uses)) for i, terms in kept]
        self.names: dict[str, int] = {}
        self.multiples: dict[str, tuple[str, int, int]] = {}             # names of multiples of strides: (an array, axis, multiple)
        for target, terms in [*self.body, *(("", terms) for _, terms in self.kept)]:
            for x in [target, *(t.array for t in terms), *(c for t in terms for c in t.coefficients if c in program.parameters)]:
                if x:
                    self.names.setdefault(x, len(self.names))

    def _alive(self, terms: Iterable[Term]) -> list[Term]:
        """Drop sources (injected apart) and what is zero outside the slabs of this kernel's stretched axes."""
        p = self.program
        return [t for t in terms if t.array not in p.sources and p.memory.get(t.array, -1) in self.mask | {-1}
                and all(p.profiles[c] in self.mask for c in t.coefficients if c in p.profiles)]

    def _stride(self, x: str, axis: int) -> str:
        """Name of the stride of an array along an axis; only slabs of a later axis differ from full arrays."""
        memory = self.program.memory.get(x, -1)
        return f"S{axis}" if memory <= axis else f"S{axis}_{memory}"

    def _side(self, x: str) -> str:
        axis = self.program.memory.get(x)
        return "0" if axis is None else f"side[{axis}]"

    def _offset(self, x: str, shift: tuple[int, ...], row: int) -> str:
        """C text of the distance in bytes from the walking pointer of `x` to the point `shift` away, `row` planes of axis 0 further.

        A multiple of a stride is a power of two (which an address scales for nothing) times an odd multiple held in a register of its own.
        """
        out = ""
        for k in range(self.ndim - 1):
            n = shift[k] + (row if k == 0 else 0)
            if n:
                power = min(abs(n) & -abs(n), 8)
                name = f"{self._stride(x, k)}{'p' if n > 0 else 'm'}{abs(n) // power}"
                self.multiples[name] = (x, k, n // power)
                out += f" + {power} * {name}"
        return out + (f" + {shift[-1]} * (long)sizeof(real)" if shift[-1] else "")

    def text(self) -> str:
        first = AXES[3 - self.ndim]
        loops = self._loops()
        out = f"static void {self.name}(const Context *c, const Array *t, Stored *history, const long *box, const int *side) {{\n"
        strides: dict[str, tuple[str, int]] = {}
        for x, i in self.names.items():
            out += f"  real *restrict A{i} = t[2 * {self.index[x]} + {self._side(x)}].p;\n"
            for k in range(self.ndim - 1):
                strides.setdefault(self._stride(x, k), (x, k))
        for name, (x, k) in strides.items():
            out += f"  const long {name} = t[2 * {self.index[x]} + {self._side(x)}].stride[{k}];\n"
        for name, (x, k, n) in self.multiples.items():
            # In bytes; the empty asm keeps the compiler from making other multiples of it, which would not fit the registers.
            out += f'  long {name} = {n} * (long)sizeof(real) * {self._stride(x, k)}; __asm__("" : "+r"({name}));\n'
        used = {c for terms in [ts for _, ts in self.body] + [ts for _, ts in self.kept] for t in terms for c in t.coefficients
                if c in self.profiles}
        for c in sorted(used):
            out += f"  const real *restrict q{self.profiles.index(c)} = c->profile[{self.profiles.index(c)}];\n"
        return out + loops + "}\n"

    def _loops(self) -> str:
        """C text of the loops over a box."""
        first, out = AXES[3 - self.ndim], ""
        start = "".join(f"char *c{i} = (char *)(A{i}" + "".join(f" + {AXES[3 - self.ndim + k]} * {self._stride(x, k)}" for k in range(self.ndim - 1))
                        + " + x); " for x, i in self.names.items())
        narrow = self.ndim - 1 in self.mask

        def walk(by: Callable[[str], str]) -> str:
            # A pointer per array walks along; the empty asm keeps the compiler from folding it back into many spilled offsets.
            return "".join(f'c{i} += {by(x)}; __asm__("" : "+r"(c{i})); ' for x, i in self.names.items())

        x = 2 * (self.ndim - 1)

        def nest(rows: int) -> str:
            """Loops over a box, `rows` planes of axis 0 at a time, rows inside."""
            block, along = self._block(rows), walk(lambda x: "VL * (long)sizeof(real)")
            slide = "".join(f"V b{self.names[x]}_{row} = LD(c{self.names[x]}{at} - sizeof(V)), s{self.names[x]}_{row} = LD(c{self.names[x]}{at}); "
                            for x in self._sliding() for row in range(rows) for at in [self._offset(x, (0,) * self.ndim, row)])
            outer = f"for (; {first} + {rows} <= box[1]; {first} += {rows}) {{\n"
            if self.ndim == 2:
                return f"  {outer}  long x = box[2]; {start}{slide}\n  for (; x < box[3]; x += VL) {{\n{block}\n{along}}}\n  }}\n"
            return (f"  {outer}  for (long left = box[4]; left < box[5]; left += COLUMNS) {{\n  const long right = left + COLUMNS < box[5] ? left + COLUMNS : box[5];\n"
                    f"  for (long y = block; y < last; y++) {{\n  long x = left; {start}{slide}\n  for (; x < right; x += VL) {{\n{block}\n{along}}} }} }}\n  }}\n")

        def columns(rows: int, half: bool) -> str:
            """Loops over a narrow box, columns inside: they amortise more. Whole vectors first, then half vectors for what is left."""
            block, down = self._block(rows), walk(lambda x: f"{rows if self.ndim == 2 else 1} * {self._stride(x, self.ndim - 2)} * (long)sizeof(real)")
            # What is left lies where the box meets the edge of the grid, so that whole vectors are aligned as the interior is.
            cut = f"(side[{self.ndim - 1}] ? box[{x + 1}] - (box[{x + 1}] - box[{x}]) % VL : box[{x}] + (box[{x + 1}] - box[{x}]) % VL)"
            begin, end = (f"side[{self.ndim - 1}] ? {cut} : box[{x}]", f"(side[{self.ndim - 1}] ? box[{x + 1}] : {cut})")
            if not half:
                begin, end = (f"side[{self.ndim - 1}] ? box[{x}] : {cut}", f"(side[{self.ndim - 1}] ? {cut} : box[{x + 1}])")
            across = f"for (long x = {begin}, end = {end}; x < end; x += {'VLh' if half else 'VL'}) {{"
            if half:
                block = re.sub(r"\b(V|VL|LD|ST|STORE|SHIFTUP|SHIFTDOWN)\b", r"\1h", block)
            if self.ndim == 2:
                planes = "box[0]" if rows == self.rows else f"box[0] + (box[1] - box[0]) / {self.rows} * {self.rows}"
                return f"  {across}\n  long {first} = {planes}; {start}\n  for (; {first} + {rows} <= box[1]; {first} += {rows}) {{\n{block}\n{down}}}\n  }}\n"
            return f"  {across}\n  long y = block; {start}\n  for (; y < last; y++) {{\n{block}\n{down}}} }}\n"

        def slab(rows: int) -> str:
            both = columns(rows, False) + columns(rows, True)
            return both if self.ndim == 2 else f"  for (; {first} + {rows} <= box[1]; {first} += {rows}) {{\n{both}  }}\n"
        if self.ndim == 3:                             # blocks of rows, so that the planes a point reads stay in the cache while z advances
            out += "  for (long block = box[2]; block < box[3]; block += ROWS) {\n  const long last = box[3] < block + ROWS ? box[3] : block + ROWS;\n"
        if self.ndim == 3 or not narrow:
            out += f"  long {first} = box[0];\n"
        loops = slab if narrow else nest
        out += loops(self.rows) + (loops(1) if self.rows > 1 else "")
        out += "  }\n" if self.ndim == 3 else ""
        return out

    def _block(self, rows: int) -> str:
        """C text that computes one vector in each of `rows` planes of axis 0."""
        first = AXES[3 - self.ndim]
        lines: list[str] = []
        loaded: dict[tuple[str, tuple[int, ...]], str] = {}

        sliding = self._sliding()
        zero = (0,) * self.ndim
        narrow = self.ndim - 1 in self.mask
        for x in sliding:                              # a row's vectors slide: before, now, next; columns load all three
            for row in range(rows):
                i, at = self.names[x], self._offset(x, zero, row)
                loaded[x, (row, *zero[1:])] = f"s{i}_{row}"
                lines.append(f"V n{i}_{row} = LD(c{i}{at} + sizeof(V));")
                lines += [f"V s{i}_{row} = LD(c{i}{at}), b{i}_{row} = LD(c{i}{at} - sizeof(V));"] if narrow else []

        def load(x: str, shift: tuple[int, ...], row: int) -> str:
            at = (shift[0] + row, *shift[1:])
            if (x, at) not in loaded and x in sliding and shift[-1] and not any(shift[:-1]):
                i, n = self.names[x], shift[-1]
                loaded[x, at] = name = f"l{len(loaded)}"
                pair = f"s{i}_{row}, n{i}_{row}, {n}" if n > 0 else f"b{i}_{row}, s{i}_{row}, {n}"
                lines.append(f"V {name} = SHIFT{'UP' if n > 0 else 'DOWN'}(c{i}{self._offset(x, shift, row)}, {pair});")
            if (x, at) not in loaded:
                loaded[x, at] = name = f"l{len(loaded)}"
                lines.append(f"V {name} = LD(c{self.names[x]}{self._offset(x, shift, row)});")
            return loaded[x, at]
        stores: list[str] = []
        for row in range(rows):
            fresh: dict[str, str] = {}
            atoms: dict[tuple[str, Stencil], str] = {}

            def atom(t: Term, row: int = row, fresh: dict[str, str] = fresh, atoms: dict[tuple[str, Stencil], str] = atoms) -> str:
                if t.stencil.is_here:
                    return fresh.get(t.array) or load(t.array, zero, row)
                key = (t.array, t.stencil)
                if key not in atoms:
                    text = _weighted_sum([(w, load(t.array, shift, row)) for shift, w in t.stencil.taps])
                    atoms[key] = name = f"a{len(atoms)}_{row}"
                    lines.append(f"V {name} = {text};")
                return atoms[key]

            def coefficient(c: str, row: int = row) -> str:
                if c in self.program.parameters:
                    return load(c, zero, row)
                axis, q = self.program.profiles[c], self.profiles.index(c)
                if axis == self.ndim - 1:
                    return f"LD(q{q} + x)"
                return f"q{q}[{AXES[3 - self.ndim + axis]}{f' + {row}' if axis == 0 else ''}]"

            def value(terms: list[Term]) -> str:
                by: dict[tuple[str, ...], list[str]] = {}
                for t in terms:
                    e = atom(t)  # noqa: B023  (used within this row only)
                    by.setdefault(t.coefficients, []).append(e if t.weight == 1 else f"-{e}" if t.weight == -1 else f"{_number(t.weight)} * {e}")
                sums = (" * ".join([*map(coefficient, c), f"({' + '.join(es)})"]) if c else " + ".join(es) for c, es in by.items())  # noqa: B023
                return " + ".join(sums) or "(V){0}"
            for k, (target, terms) in enumerate(self.body):
                lines.append(f"V o{k}_{row} = {value(terms)};")
                fresh[target] = f"o{k}_{row}"
                stores.append(f"ST(c{self.names[target]}{self._offset(target, zero, row)}, o{k}_{row});")
            place = f"({first} + {row}) * c->history_stride[0]" + (" + y * c->history_stride[1]" if self.ndim == 3 else "")
            for i, terms in self.kept:
                stores.append(f"STORE(history + {i} * c->history_size + {place} + x, {value(terms)});")
        for x in () if narrow else sliding:
            stores += [f"b{self.names[x]}_{row} = s{self.names[x]}_{row}; s{self.names[x]}_{row} = n{self.names[x]}_{row};" for row in range(rows)]
        return "\n        ".join(lines + stores)

    def _sliding(self) -> list[str]:
        """Arrays whose row is read at many shifts along x: their shifted vectors are cut from neighbours in registers."""
        reads: dict[str, set[tuple[int, ...]]] = {}
        for _, terms in [*self.body, *self.kept]:
            for t in terms:
                reads.setdefault(t.array, set()).update(shift for shift, _ in t.stencil.taps if shift[-1] and not any(shift[:-1]))
        return [x for x, shifts in reads.items() if len(shifts) > 2]


def _stars(terms: list[Term], uses: dict[tuple[str, Stencil], int]) -> list[Term]:
    """Add the stencils of one array that serve one target only: equal weights of different axes then share a multiplication."""
    out: list[Term] = []
    star: dict[tuple[tuple[str, ...], str], list[tuple[tuple[int, ...], float]]] = {}
    for t in terms:
        if not t.stencil.is_here and uses.get((t.array, t.stencil)) == 1:
            star.setdefault((t.coefficients, t.array), []).extend((shift, t.weight * w) for shift, w in t.stencil.taps)
        else:
            out.append(t)
    return out + [Term(1.0, c, x, Stencil.of(taps)) for (c, x), taps in star.items()]


def _weighted_sum(reads: list[tuple[float, str]]) -> str:
    """C text of a sum of weighted values; values whose weights agree up to sign share one multiplication."""
    by: dict[float, list[tuple[bool, str]]] = {}
    for w, value in reads:
        same = next((k for k in by if abs(k - abs(w)) < 1e-12 * k), abs(w))   # grouped by tolerance, written in full
        by.setdefault(same, []).append((w > 0, value))
    parts: list[str] = []
    for w, values in by.items():
        plus, minus = (_tree([v for sign, v in values if sign is wanted]) for wanted in (True, False))
        both = f"({plus} - {minus})" if plus and minus else plus or minus
        parts.append(f"{_number(w if plus else -w)} * {both}")
    return " + ".join(parts)


def _tree(values: list[str]) -> str:
    """C text of a sum as a balanced tree: short dependency chains."""
    while len(values) > 1:
        values = [f"({values[i]} + {values[i + 1]})" if i + 1 < len(values) else values[i] for i in range(0, len(values), 2)]
    return values[0] if values else ""


def _number(w: float) -> str:
    return f"(real){float(w)!r}"
