"""C text of one sweep over a box of cells, specialised for the axes that are stretched there."""
from collections.abc import Iterable
from dataclasses import dataclass

from .program import Assign, Program, Term
from .sums import Statements, simplified

AXES = ("z", "y", "x")                                 # loop variables of the last `ndim` axes


@dataclass(frozen=True)
class Names:
    """How kernels of one program name things: index of each array in the table, position of each profile, number of each history read."""

    array: dict[str, int]
    profile: dict[str, int]
    history: dict[str, int]


class Kernel:
    """One sweep over a box.

    mask: the axes stretched there. histories: (number, target, terms) to keep, evaluated as the target's assignment reads them. rows:
    planes of axis 0 computed together.
    """

    def __init__(self, program: Program, name: str, assigns: list[Assign], mask: frozenset[int], names: Names,
                 histories: Iterable[tuple[int, str, tuple[Term, ...]]], rows: int):
        self.program, self.name, self.mask, self.names, self.rows = program, name, mask, names, rows
        self.ndim = program.ndim
        self.axes = AXES[3 - self.ndim:]
        self.narrow = self.ndim - 1 in mask            # a side slab: few columns
        self.body, self.kept = simplified(program, assigns, mask, histories)
        self.terms = [t for terms in (*(ts for _, ts in self.body), *(ts for _, _, ts in self.kept)) for t in terms]
        self.pointer: dict[str, int] = {}              # arrays read or written, by number of their walking pointer
        for x in [*(target for target, _ in self.body), *(x for t in self.terms for x in (*(x for x, _ in t.reads), *t.coefficients))]:
            if x not in names.profile and x not in names.history:
                self.pointer.setdefault(x, len(self.pointer))
        self.multiples: dict[str, tuple[str, int, int]] = {}             # names of multiples of strides: (an array, axis, multiple)
        self.sliding = self._sliding()

    def _sliding(self) -> list[str]:
        """Arrays whose row is read at many shifts along x: their shifted vectors are cut from neighbours in registers."""
        reads: dict[str, set[tuple[int, ...]]] = {}
        for x, stencil in (read for t in self.terms for read in t.reads):
            reads.setdefault(x, set()).update(shift for shift, _ in stencil.taps if shift[-1] and not any(shift[:-1]))
        return [x for x, shifts in reads.items() if len(shifts) > 2]

    def _entry(self, x: str) -> str:
        """C text of an array's entry in the table: the low or the high slab of its axis."""
        axis = self.program.memory.get(x)
        return f"t[{2 * self.names.array[x]}{'' if axis is None else f' + side[{axis}]'}]"

    def _stride(self, x: str, axis: int) -> str:
        """Name of the stride of an array along an axis; only slabs of a later axis differ from full arrays."""
        memory = self.program.memory.get(x, -1)
        return f"S{axis}" if memory <= axis else f"S{axis}_{memory}"

    def _multiple(self, x: str, axis: int, n: int) -> str:
        """C text of n strides of an array along an axis, in bytes.

        A power of two (which an address scales for nothing) times an odd multiple held in a register of its own.
        """
        power = min(abs(n) & -abs(n), 8)
        name = f"{self._stride(x, axis)}{'p' if n > 0 else 'm'}{abs(n) // power}"
        self.multiples[name] = (x, axis, n // power)
        return f"{power} * {name}"

    def at(self, x: str, shift: tuple[int, ...], row: int = 0) -> str:
        """C text of the address of `x` at a shift from the walking pointer, `row` planes of axis 0 further."""
        out = f"c{self.pointer[x]}"
        for k in range(self.ndim - 1):
            n = shift[k] + (row if k == 0 else 0)
            out += f" + {self._multiple(x, k, n)}" if n else ""
        return out + (f" + {shift[-1]} * (long)sizeof(real)" if shift[-1] else "")

    def kept_at(self, i: int, row: int) -> str:
        """C text of the address of history i at the walking pointer, `row` planes of axis 0 further."""
        place = f"({self.axes[0]} + {row}) * c->history_stride[0]" + (" + y * c->history_stride[1]" if self.ndim == 3 else "")
        return f"history + {i} * c->history_size + {place} + x"

    def text(self) -> str:
        """Return the C function."""
        loops = self._columns() if self.narrow else self._rows()
        out = [f"static void {self.name}(const Context *c, const Array *t, real *history, const long *box, const int *side) {{"]
        strides = {self._stride(x, k): (x, k) for x in self.pointer for k in range(self.ndim - 1)}
        out += [f"  real *restrict A{i} = {self._entry(x)}.p;" for x, i in self.pointer.items()]
        out += [f"  const long {name} = {self._entry(x)}.stride[{k}];" for name, (x, k) in strides.items()]
        # In bytes; the empty asm keeps the compiler from making other multiples of it, which would not fit the registers.
        out += [f'  long {name} = {n} * (long)sizeof(real) * {self._stride(x, k)}; __asm__("" : "+r"({name}));'
                for name, (x, k, n) in self.multiples.items()]
        used = sorted({self.names.profile[c] for t in self.terms for c in t.coefficients if c in self.names.profile})
        out += [f"  const real *restrict q{q} = c->profile[{q}];" for q in used]
        if self.ndim == 3:                             # blocks of rows, so that the planes a point reads stay in the cache while z advances
            out += ["  for (long block = box[2]; block < box[3]; block += ROWS) {", "  const long last = MIN(block + ROWS, box[3]);"]
        if self.ndim == 3 or not self.narrow:
            out += [f"  long {self.axes[0]} = box[0];"]
        return "\n".join([*out, *loops, *(["  }"] if self.ndim == 3 else []), "}"])

    def _counts(self) -> tuple[int, ...]:
        """Planes computed together: as many as asked for, then what is left one by one."""
        return (self.rows, 1) if self.rows > 1 else (1,)

    def _start(self) -> str:
        """C text that sets the walking pointers at the loops' variables."""
        place = {x: "".join(f" + {v} * {self._stride(x, k)}" for k, v in enumerate(self.axes[:-1])) for x in self.pointer}
        return " ".join(f"char *c{i} = (char *)(A{i}{place[x]} + x);" for x, i in self.pointer.items())

    def _walk(self, step: dict[str, str]) -> str:
        """C text that moves the walking pointers; the empty asm keeps the compiler from folding them back into many spilled offsets."""
        return " ".join(f'c{i} += {step[x]}; __asm__("" : "+r"(c{i}));' for x, i in self.pointer.items())

    def _rows(self) -> list[str]:
        """C text of the loops of a wide box: along rows, neighbours sliding through registers."""
        out: list[str] = []
        first, walk, zero = self.axes[0], self._walk(dict.fromkeys(self.pointer, "(long)sizeof(V)")), (0,) * self.ndim
        for rows in self._counts():
            slide = [f"V b{i}_{row} = LD({at} - sizeof(V)), s{i}_{row} = LD({at});" for x in self.sliding for i in [self.pointer[x]]
                     for row in range(rows) for at in [self.at(x, zero, row)]]
            row_of = [f"long x = {'left' if self.ndim == 3 else 'box[2]'}; {self._start()}", *slide,
                      f"for (; x < {'right' if self.ndim == 3 else 'box[3]'}; x += VL) {{", *self._block(rows), walk, "}"]
            if self.ndim == 3:
                row_of = ["for (long left = box[4]; left < box[5]; left += COLUMNS) {", "const long right = MIN(left + COLUMNS, box[5]);",
                          "for (long y = block; y < last; y++) {", *row_of, "} }"]
            out += [f"  for (; {first} + {rows} <= box[1]; {first} += {rows}) {{", *row_of, "  }"]
        return out

    def _columns(self) -> list[str]:
        """C text of the loops of a narrow box: down columns, which amortise more."""
        a, first, out = 2 * (self.ndim - 1), self.axes[0], list[str]()
        for rows in self._counts():
            planes = "box[0]" if rows == self.rows else f"box[0] + (box[1] - box[0]) / {self.rows} * {self.rows}"
            walk = self._walk({x: self._multiple(x, self.ndim - 2, rows if self.ndim == 2 else 1) for x in self.pointer})
            columns = [f"  for (long x = box[{a}]; x < box[{a + 1}]; x += VL) {{"]
            if self.ndim == 2:
                columns += [f"  long {first} = {planes}; {self._start()}", f"  for (; {first} + {rows} <= box[1]; {first} += {rows}) {{"]
            else:
                columns += [f"  long y = block; {self._start()}", "  for (; y < last; y++) {"]
            columns += [*self._block(rows), walk, "  } }"]
            out += columns if self.ndim == 2 else [f"  for (; {first} + {rows} <= box[1]; {first} += {rows}) {{", *columns, "  }"]
        return out

    def _block(self, rows: int) -> list[str]:
        """C text that computes one vector in each of `rows` planes of axis 0."""
        block = _Block(self)
        for x in self.sliding:                         # a row's vectors slide: before, now, next; columns load all three
            for row in range(rows):
                block.slide(x, row)
        for row in range(rows):
            block.compute(self.body, self.kept, row)
        for x in () if self.narrow else self.sliding:
            i = self.pointer[x]
            block.stores += [f"b{i}_{row} = s{i}_{row}; s{i}_{row} = n{i}_{row};" for row in range(rows)]
        return self._ahead(rows) + block.lines + block.stores

    def _ahead(self, rows: int) -> list[str]:
        """C text that asks for what the next planes of a block of rows are first to touch; rows of COLUMNS are too short for the processor
        to see them coming. In two dimensions rows are long."""
        if self.ndim == 2:
            return []
        far: dict[str, int] = dict.fromkeys(self.pointer, 0)
        for x, stencil in (read for t in self.terms for read in t.reads if read[0] in far):
            far[x] = max(far[x], *(shift[0] for shift, _ in stencil.taps))
        return [f"__builtin_prefetch({self.at(x, (n + rows, 0, 0), row)}, 0, 2);" for x, n in far.items() for row in range(rows)]


class _Block(Statements):
    """The statements for one vector in a few planes: loads and values, each made once, then stores."""

    def __init__(self, kernel: Kernel):
        super().__init__(kernel.ndim)
        self.kernel = kernel
        self.loaded: dict[tuple[str, tuple[int, ...]], str] = {}

    def slide(self, x: str, row: int) -> None:
        """Make the vectors around a row's current one available."""
        i, at = self.kernel.pointer[x], self.kernel.at(x, self.zero, row)
        self.loaded[x, (row, *self.zero[1:])] = f"s{i}_{row}"
        self.lines.append(f"V n{i}_{row} = LD({at} + sizeof(V));")
        if self.kernel.narrow:
            self.lines.append(f"V s{i}_{row} = LD({at}), b{i}_{row} = LD({at} - sizeof(V));")

    def load(self, x: str, shift: tuple[int, ...], row: int) -> str:
        """Return the name of a vector of `x` at a shift, loaded or cut from its neighbours."""
        at = (shift[0] + row, *shift[1:])
        if (x, at) not in self.loaded:
            address, n = self.kernel.at(x, shift, row), shift[-1]
            text = f"LD({address})"
            if x in self.kernel.sliding and n and not any(shift[:-1]):
                i = self.kernel.pointer[x]
                text = f"SHIFTUP({address}, s{i}_{row}, n{i}_{row}, {n})" if n > 0 else f"SHIFTDOWN({address}, b{i}_{row}, s{i}_{row}, {n})"
            self.loaded[x, at] = name = f"l{len(self.loaded)}"
            self.lines.append(f"V {name} = {text};")
        return self.loaded[x, at]

    def target(self, array: str, row: int) -> str:
        return self.kernel.at(array, self.zero, row)

    def kept_in(self, i: int, row: int) -> str:
        return self.kernel.kept_at(i, row)

    def coefficient(self, c: str, row: int) -> str:
        """C text of a coefficient at the vector at hand."""
        kernel = self.kernel
        if c in kernel.names.history:
            return f"LD({kernel.kept_at(kernel.names.history[c], row)})"
        if c not in kernel.names.profile:
            return self.load(c, self.zero, row)
        axis, q = kernel.program.profiles[c], kernel.names.profile[c]
        if axis == kernel.ndim - 1:
            return f"LD(q{q} + x)"
        return f"q{q}[{kernel.axes[axis]}{f' + {row}' if axis == 0 else ''}]"
