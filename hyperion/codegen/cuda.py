"""CUDA C++ text of a program's sweeps: the same assignments as the C kernels, one thread for a few neighbours along the last axis.

The text is a fragment: `gpu/kernels/stencils.cu` defines its types before it. A sweep is one kernel over tiles of all boxes, or two: first
the memory variables that are read shifted, where a tile has the whole depth of their slab, then the rest, then what sources send to its
cells. Sizes are arguments; rank, stencils and the equation are constants.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from .kernel import AXES
from .program import Assign, Program, Term, sweeps
from .render import History
from .sums import Body, Kept, Statements, simplified

Mine = tuple[int, str, tuple[Term, ...]]                # a history of a sweep: (number, target, terms)
WINDOW = 40                                            # numbers that planes of axis 0 may hold in registers as a thread marches
JOINED = 2                                             # axes up to which interior and slabs of a linear step are one kernel: in three the
                                                       # interior holds planes in registers, and what is nonlinear fills them as it is


@dataclass(frozen=True)
class CudaKernel:
    """A kernel: its name, the arrays its table of pointers holds (two entries each: low and high slab), the sets of stretched axes of the
    boxes that it runs in, and the axes along which a tile takes a slab in its whole depth."""

    name: str
    arrays: tuple[str, ...]
    masks: tuple[frozenset[int], ...]
    whole: frozenset[int] = frozenset()


@dataclass(frozen=True)
class CudaSweep:
    """The kernels of one sweep, which may run beside each other; `keeping` instead of `main` where histories are to be kept.
    written: the arrays that are not memory variables."""

    main: tuple[CudaKernel, ...]
    keeping: tuple[CudaKernel, ...]
    written: tuple[str, ...]


@dataclass(frozen=True)
class CudaProgram:
    """The text of the kernels, and apart of those that keep histories; and what they are."""

    texts: tuple[str, str]
    sweeps: tuple[CudaSweep, ...]


def cuda_text(program: Program, histories: Iterable[History], vector: int, recorded: Mapping[str, int] | None = None) -> CudaProgram:
    """Return the CUDA text of all sweeps of a program.

    histories: what to write to history arrays, in order. vector: numbers in 16 bytes. recorded: {coefficient read from a history: its
    number}.
    """
    histories, texts, out = list(histories), (list[str](), list[str]()), list[CudaSweep]()
    masks = [frozenset(i for i in range(program.ndim) if bits[i]) for bits in product((0, 1), repeat=program.ndim)]
    masks.sort(key=len, reverse=True)                  # corners and slabs first: their tiles take longest
    joined = program.ndim <= JOINED and not program.nonlinear and not program.recorded

    def kernel(name: str, before: list[list[Assign]], main: list[Assign], boxes: list[frozenset[int]],
               kept: list[Mine]) -> list[CudaKernel]:
        """Write a kernel for boxes; return it, or nothing where there is nothing to do."""
        phases = {m: [simplified(program, group, m, []) for group in before] + [simplified(program, main, m, kept)] for m in boxes}
        whole = frozenset(a.axis for group in before for a in group if a.axis is not None)
        some = {m: there for m, each in phases.items() if (there := [both for both in each if both[0]])}
        made = _Kernel(program, name, some, whole, vector, recorded or {})
        if not made.phases:
            return []
        texts[bool(kept)].append(made.text())
        return [CudaKernel(name, tuple(made.index), tuple(made.phases), whole)]

    for s, (before, main) in enumerate(sweeps(program)):
        mine = [(i, target, terms) for i, (stage, target, terms) in enumerate(histories) if stage == s]
        groups = {f"sweep{s}": masks} if joined else {f"slabs{s}": masks[:-1], f"interior{s}": masks[-1:]}
        plain = tuple(k for name, boxes in groups.items() for k in kernel(name, before, main, boxes, []))
        keeping = tuple(k for name, boxes in groups.items() for k in kernel(f"{name}k", before, main, boxes, mine)) if mine else plain
        out.append(CudaSweep(plain, keeping, tuple(a.target for a in main if a.target not in program.memory)))
    return CudaProgram(("\n".join(texts[0]), "\n".join(texts[1])), tuple(out))


class _Kernel:
    """A kernel over tiles of several boxes: what it does there, one phase after the other, a tile says."""

    def __init__(self, program: Program, name: str, phases: dict[frozenset[int], list[tuple[Body, Kept]]], whole: frozenset[int],
                 vector: int, recorded: Mapping[str, int]):
        self.program, self.name, self.phases, self.vector, self.recorded = program, name, phases, vector, recorded
        self.whole = whole
        self.index: dict[str, int] = {}                # place of each array's pointers
        self.reads_recorded = False

    def text(self) -> str:
        """Return the kernel, after a function for each phase of each kind of box."""
        functions: list[str] = []
        calls: list[str] = []
        for mask, phases in self.phases.items():
            bits = sum(1 << axis for axis in mask)
            names = [f"{self.name}_{bits}_{k}" for k in range(len(phases))]
            functions += [_Box(self, name, body, kept, self._room(mask), bool(mask & self.whole)).text()
                          for name, (body, kept) in zip(names, phases, strict=True)]
            test = f"if (t.mask == {bits}) " if len(self.phases) > 1 else ""
            calls.append(f"  {test}{{ {' __syncthreads(); '.join(f'{name}(s, p, t, shot, history, moving);' for name in names)} }}")
        keeps = any(kept for phases in self.phases.values() for _, kept in phases)
        history = "kept_at(kept, clock, step_at(clock, k, turn), shot)" if self.reads_recorded or keeps else "0"
        count = 2 * len(self.index)
        return "\n".join([
            f"struct Places_{self.name} {{ real *at[{count}]; }};", *functions,
            f'extern "C" __global__ void __launch_bounds__(THREADS) {self.name}(',
            f"    const Sizes s, const Places_{self.name} p, const Tile *tiles, const Kept kept, const Sent sent, const Rest rest,",
            "    const Clock *clock, long long turn, long long k) {",
            # Shots are next to each other: what they read of the model then comes from the cache.
            "  const unsigned shots = (unsigned)s.shots;", "  const Tile t = tiles[blockIdx.x / shots];",
            "  const long long shot = blockIdx.x % shots;",
            "  if (at_rest(rest, t, shot)) return;", "  int moving = 0;",
            f"  real *const history = {history};", *calls,
            "  if (sent.tile) send_to_tile(sent, clock, turn, k);", "  set_moving(rest, t, shot, moving);", "}"])

    def _room(self, mask: frozenset[int]) -> int:
        """Return how many numbers of planes of axis 0 threads hold in registers as they march."""
        return 0 if mask or self.program.ndim < 3 else WINDOW


class _Box(Statements):
    """The function of one kind of box: a thread marches along axis 0, in the interior with planes that it reads again in registers.

    deep: whether tiles have a slab's whole depth, so that there may be more of them than threads: each then goes on to others.
    """

    zero_text = "zeros()"

    def __init__(self, kernel: _Kernel, name: str, body: Body, kept: Kept, room: int, deep: bool):
        super().__init__(kernel.program.ndim)
        self.deep = deep
        self.kernel, self.program, self.name, self.body, self.kept = kernel, kernel.program, name, body, kept
        self.ndim, self.vector = self.program.ndim, kernel.vector
        self.axes = AXES[3 - self.ndim:]
        self.used: dict[str, None] = {}                # arrays with walking pointers
        self.profiles: dict[str, None] = {}
        self.history = bool(kept)
        self.loaded: dict[tuple[str, tuple[int, ...]], str] = {}
        self.windows = self._windows(room)

    def _windows(self, room: int) -> dict[str, tuple[int, int]]:
        """Return {array: (first, last) shift along axis 0} of what is read at three planes or more; those with the most reads first."""
        reads: dict[str, set[int]] = {}
        terms = [t for ts in (*(ts for _, ts in self.body), *(ts for _, _, ts in self.kept)) for t in ts]
        for x, stencil in (read for t in terms for read in t.reads):
            reads.setdefault(x, set()).update(shift[0] for shift, _ in stencil.taps if not any(shift[1:]))
        out: dict[str, tuple[int, int]] = {}
        for x, shifts in sorted(reads.items(), key=lambda item: -len(item[1])):
            size = (max(shifts) - min(shifts) + 1) * self.vector if shifts else 0
            if len(shifts) > 2 and size <= room:
                out[x] = (min(shifts), max(shifts))
                room -= size
        return out

    def _number(self, x: str) -> int:
        self.used[x] = None
        return self.kernel.index.setdefault(x, len(self.kernel.index))

    def _at(self, x: str, shift: tuple[int, ...]) -> str:
        """Text of an address."""
        i, memory = self._number(x), self.program.memory.get(x, -1)
        out = f"c{i}"
        for k, n in enumerate(shift[:-1]):
            out += f" + {n} * S{k}{f'_{memory}' if memory > k else ''}" if n else ""
        return out + (f" + {shift[-1]}" if shift[-1] else "")

    def load(self, x: str, shift: tuple[int, ...], row: int) -> str:
        """Return the name of a vector, cut from two where it is not aligned."""
        if (x, shift) not in self.loaded:
            first, rest = divmod(shift[-1], self.vector)
            if rest:
                low, high = (self.load(x, (*shift[:-1], (first + k) * self.vector), row) for k in (0, 1))
                text = f"CUT<{rest}>({low}, {high})"
            elif x in self.windows and not any(shift[1:]) and self.windows[x][0] <= shift[0] <= self.windows[x][1]:
                self.loaded[x, shift] = f"w{self._number(x)}_{shift[0] - self.windows[x][0]}"
                return self.loaded[x, shift]
            else:
                text = f"LD({self._at(x, shift)})"
            self.loaded[x, shift] = name = f"l{len(self.loaded)}"
            self.lines.append(f"const V {name} = {text};")
        return self.loaded[x, shift]

    def coefficient(self, c: str, row: int) -> str:
        """Text of a coefficient: a parameter, a profile, or what the forward run recorded."""
        if c in self.kernel.recorded:
            self.history = self.kernel.reads_recorded = True
            return f"LD(h + {self.kernel.recorded[c]} * s.history_size)"
        if c not in self.program.profiles:
            return self.load(c, self.zero, row)
        axis, i = self.program.profiles[c], self.kernel.index.setdefault(c, len(self.kernel.index))
        self.profiles[c] = None
        return f"p.at[{2 * i}][{self.axes[0]}]" if axis == 0 else f"q{i}"

    def target(self, array: str, row: int) -> str:
        return self._at(array, self.zero)

    def store(self, to: str, value: str) -> str:
        return f"moving |= ST({to}, {value});"

    def kept_in(self, i: int, row: int) -> str:
        return f"h + {i} * s.history_size"

    def _pointers(self) -> list[str]:
        """Text of the walking pointers, and of the strides."""
        out: list[str] = []
        strides: dict[str, str] = {}
        for x in self.used:
            i, memory = self.kernel.index[x], self.program.memory.get(x, -1)
            at = f"p.at[{2 * i}]" if memory < 0 else f"(t.sides >> {memory} & 1 ? p.at[{2 * i + 1}] : p.at[{2 * i}])"
            text = at if x in self.program.parameters else f"{at} + shot * s.shot"
            for k in range(self.ndim - 1):
                slab = memory > k
                name = f"S{k}{f'_{memory}' if slab else ''}"
                two = f"s.slab[{memory}][1][{k}] : s.slab[{memory}][0][{k}]"
                strides[name] = f"(t.sides >> {memory} & 1 ? {two})" if slab else f"s.stride[{k}]"
                text += f" + {self.axes[k]} * {name}"
            # What an earlier phase has written must not come from the cache of what is only read, as it may where pointers are apart.
            apart = "" if self.deep else "__restrict__ "
            out.append(f"  {'const ' if x in self.program.parameters else ''}real *{apart}c{i} = {text} + x;")
        for c in self.profiles:
            axis, i = self.program.profiles[c], self.kernel.index[c]
            if axis == self.ndim - 1:
                out.append(f"  const V q{i} = LD(p.at[{2 * i}] + x);")
            elif axis > 0:
                out.append(f"  const real q{i} = p.at[{2 * i}][{self.axes[axis]}];")
        if self.history:
            place = "".join(f" + {self.axes[k]} * s.history_stride[{k}]" for k in range(self.ndim - 1))
            out.append(f"  real *{'' if self.deep else '__restrict__ '}h = history{place} + x;")
        return [f"  const long long {name} = {text};" for name, text in strides.items()] + out

    def text(self) -> str:
        """Return the function, after one of what a thread does with a row of planes or, in two axes, with `planes` of them."""
        takes = f"(const Sizes &s, const Places_{self.kernel.name} &p, const Tile &t, long long shot, real *history, int &moving"
        row, axis, planes, last = ("y", 1, "", 2) if self.ndim == 3 else ("begin", 0, " * t.planes", 1)
        low, lane = f"t.begin[{axis}] + group{planes}", f"t.begin[{last}] + (threadIdx.x & ((1 << t.lanes) - 1)) * VL"
        call = f"{self.name}_row(s, p, t, shot, history, moving, x, {row});"
        lines = [f"  for (int x = {lane}; x < t.end[{last}]; x += VL << t.lanes)",
                 f"    for (int {row} = {low}; {row} < t.end[{axis}]; {row} += (THREADS >> t.lanes){planes}) {call}"] if self.deep else [
                 f"  const int x = {lane}, {row} = {low};", f"  if (x < t.end[{last}] && {row} < t.end[{axis}]) {call}"]
        return "\n".join([f"INLINE void {self.name}_row{takes}, int x, int {row}) {{", *self._row(), "}",
                          f"INLINE void {self.name}{takes}) {{", "  const int group = threadIdx.x >> t.lanes;", *lines, "}"])

    def _row(self) -> list[str]:
        """Return the lines of a march, in a function: only of what a function begins with the compiler believes that it lies apart."""
        self.compute(self.body, self.kept, 0)
        first = self.axes[0]
        start = ["  int z = t.begin[0];", "  const int last = t.end[0];"] if self.ndim == 3 else [
            f"  int {first} = begin;", "  const int last = begin + t.planes < t.end[0] ? begin + t.planes : t.end[0];"]
        ahead: list[str] = []
        newest: list[str] = []
        move: list[str] = []
        for x, (low, high) in self.windows.items():
            i = self._number(x)
            at = [self._at(x, (k, *self.zero[1:])) for k in range(low, high + 1)]
            ahead += [f"  V w{i}_{k} = LD({at[k]});" for k in range(high - low)]
            newest.append(f"const V w{i}_{high - low} = LD({at[-1]});")
            move += [f"w{i}_{k} = w{i}_{k + 1};" for k in range(high - low)]
        walk = [f"c{self.kernel.index[x]} += S0{f'_{m}' if (m := self.program.memory.get(x, -1)) > 0 else ''};" for x in self.used]
        walk += ["h += s.history_stride[0];"] if self.history else []
        return [*start, *self._pointers(), *ahead, f"  for (; {first} < last; {first}++) {{",
                *(f"    {line}" for line in [*newest, *self.lines, *self.stores, *move, " ".join(walk)]), "  }"]
