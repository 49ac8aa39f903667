"""CUDA text of fused loops: the counterpart of `loops`, for the same formulas, operands and kinds.

A kernel takes, in this order: the addresses of the arrays and of the sums' results; that of the partial sums; the lengths of the axes; of
each array but the results its strides [elements]; for each sum what it is divided by; then `parts`, `line` and `packed` of a Launch. All
are 64 bits wide. As on the CPU only ranks, dtypes and whether the last axis is contiguous are constants of the text.

Bound by memory: a thread moves 16 bytes of an array at a time where rows begin at multiples of that (`packed`), else one number.
Sums do not depend on the order in which threads run: each adds up its own in double, then those of a team, then those of the parts.

kinds   map             a thread for each pack of the last axis
        rows, all       a team of `line` threads for each sum, or for each of its `parts`, which `name_end` adds up
        columns         `line` threads along the last axis, and the rest of the block along the axes that are summed
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .loops import TYPES, Loop

__all__ = ["MOST_ARGUMENTS", "THREADS", "Launch", "arguments", "cuda_loop", "end_arguments", "launch_of", "packable"]

THREADS = 256                   # of a block
LINE = 32                       # threads along the last axis, where sums are kept for each of its elements
MANY = 1056                     # blocks that keep a large GPU busy: 8 for each of 132 multiprocessors
SHARE = 4                       # packs that a thread adds up at least, before sums are cut into parts
MOST_ARGUMENTS = 500            # of a kernel: 4,000 of the 4,096 bytes that every GPU takes


@dataclass(frozen=True)
class Launch:
    """How a kernel is launched: blocks, and what it is told of its work.

    parts: of each sum.  line: threads that work on one sum, or along the last axis.  packed: whether 16 bytes are moved at a time.
    sums: how many sums there are of each kind, 0 for a map.  end: (blocks, threads for each sum) of the kernel that adds up the parts.
    """

    blocks: int
    parts: int
    line: int
    packed: bool
    sums: int
    end: tuple[int, int]

    @property
    def partial(self) -> int:
        """Numbers of float64 in the partial sums of each kind."""
        return self.sums * self.parts if self.parts > 1 else 0


def _fitting(n: int, most: int) -> int:
    """Return the smallest power of two that is not below n, at most `most`.

    >>> _fitting(5, 32), _fitting(1, 32), _fitting(100, 32)
    (8, 1, 32)
    """
    return min(1 << max(n - 1, 0).bit_length(), most)


def launch_of(loop: Loop, lengths: Sequence[int], lanes: int, packed: bool) -> Launch:
    """Return how to launch a loop over axes of these lengths. lanes: numbers in a pack."""
    each = lanes if packed else 1
    packs = lengths[-1] // each
    size = math.prod(lengths[:-1]) * packs
    if loop.kind == "map":
        return Launch(-(-size // THREADS), 1, 1, packed, 0, (0, 0))
    sums = math.prod(lengths[:loop.lead])
    if loop.kind == "columns":
        line = _fitting(packs, LINE)
        beside, along = THREADS // line, math.prod(lengths[loop.lead:-1])
        blocks = sums * -(-packs // line)
        parts = max(min(-(-MANY // max(blocks, 1)), along // (beside * SHARE)), 1)
        blocks, sums = blocks * parts, sums * lengths[-1]
    else:
        along = size // max(sums, 1)
        line = _fitting(-(-along // SHARE), THREADS)
        teams = THREADS // line
        parts = max(min(-(-MANY * teams // max(sums, 1)), along // (line * SHARE)), 1) if line == THREADS else 1
        blocks = -(-sums * parts // teams)
    line_end = THREADS if sums < 64 else 32 if sums < 4096 else 1
    return Launch(blocks, parts, line, packed, sums, (-(-sums * line_end // THREADS), line_end) if parts > 1 else (0, 0))


def packable(loop: Loop, lengths: Sequence[int], strides: Sequence[Sequence[int]], addresses: Sequence[int], sizes: Sequence[int],
             lanes: int) -> bool:
    """Tell whether 16 bytes may be moved at a time: rows without gaps all begin at multiples of a pack.

    addresses, sizes: of the arrays' beginnings, and bytes of their numbers.
    """
    if lengths[-1] % lanes:
        return False
    for one, steps, address, size in zip(loop.operands, strides, addresses, sizes, strict=True):
        if one.inner == 1 and (address % min(16, lanes * size) or any(step % lanes for step in steps[:-1])):
            return False
    return True


def arguments(addresses: Sequence[int], partial: int, lengths: Sequence[int], strides: Sequence[Sequence[int]],
              divisors: Sequence[int], launch: Launch) -> tuple[int, ...]:
    """Return what the kernel takes, in its order. addresses: of the arrays, then of the sums' results."""
    steps = [s for own in strides for s in own]
    return (*addresses, partial, *lengths, *steps, *divisors, launch.parts, launch.line, int(launch.packed))


def end_arguments(addresses: Sequence[int], partial: int, divisors: Sequence[int], launch: Launch) -> tuple[int, ...]:
    """Return what `name_end` takes. addresses: of the sums' results."""
    return (*addresses, partial, *divisors, launch.parts, launch.sums, launch.end[1])


def cuda_loop(loop: Loop, name: str) -> str:
    """Return the CUDA text of the kernel of that name, and of `name_end` if it has sums; it follows kernels/loops.cuh.

    >>> from .loops import Operand
    >>> text = cuda_loop(Loop("map", 1, 1, ("const real t0 = p0 + p0;",), (Operand("float32", 1), Operand("float32", 1, "t0"))), "double")
    >>> "at0.at[v]" in text, "double_end" in text
    (True, False)
    """
    return _Text(loop, name).whole()


class _Text:
    """Writes one kernel."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.last = loop.rank - 1

    def whole(self) -> str:
        """Return the text."""
        loop = self.loop
        body = {"map": self._map, "all": self._rows, "rows": self._rows, "columns": self._columns}[loop.kind]()
        declared = [
            *(f"{'' if one.text else 'const '}{TYPES[one.dtype]} *__restrict__ b{k}" for k, one in enumerate(loop.operands)),
            *(f"real *__restrict__ r{k}" for k in range(len(loop.sums))), "double *__restrict__ partial",
            *(f"long long l{i}" for i in range(loop.rank)),
            *(f"long long s{k}_{i}" for k in range(len(loop.operands)) for i in range(loop.rank)),
            *(f"long long d{k}" for k in range(len(loop.sums))), "long long parts", "long long line",
        ]
        names = ", ".join(one.split()[-1].lstrip("*") for one in declared).replace("__restrict__ ", "")
        given = ", ".join(declared)
        lengths = " ".join(f"const Index n{i} = (Index)l{i};" for i in range(loop.rank))
        text = f"template <int V> __device__ void {self.name}_of({given}) {{\n  {lengths}\n" + "\n".join(body) + "\n}\n" \
            f'extern "C" __global__ void {self.name}({given}, long long packed) {{\n' \
            f"  if (packed) {self.name}_of<LANES>({names});\n  else {self.name}_of<1>({names});\n}}\n"
        return text + self._end() if loop.sums else text

    # Parts

    def _index(self, source: str, axes: Sequence[int], indent: str) -> list[str]:
        """Return the lines that take an index of some axes apart; `source` is used up."""
        lines: list[str] = []
        for axis in reversed(axes):
            if axis == axes[0]:
                lines.append(f"{indent}const Index i{axis} = {source};")
            else:
                lines += [f"{indent}const Index i{axis} = {source} % n{axis};", f"{indent}{source} /= n{axis};"]
        return lines

    def _element(self, indent: str, sums: Sequence[str]) -> list[str]:
        """Return the lines for one pack: read, compute, store, and add to what is summed (`sums`: lines)."""
        lines: list[str] = []
        for k, one in enumerate(self.loop.operands):
            kind = TYPES[one.dtype]
            offset = "".join(f" + (Index)(i{i} * (Index)s{k}_{i})" for i in range(self.last))
            lines.append(f"{indent}{'' if one.text else 'const '}{kind} *const x{k} = b{k}{offset};")
            if one.text and one.inner == 1:
                lines.append(f"{indent}Pack<{kind}, V> at{k};")
            elif one.text:
                continue
            elif one.inner == 1:
                lines.append(f"{indent}const Pack<{kind}, V> at{k} = *(const Pack<{kind}, V> *)(x{k} + j);")
            elif one.inner == 0:
                lines.append(f"{indent}const real p{k} = (real)x{k}[0];")
        lines += ["#pragma unroll", f"{indent}for (int v = 0; v < V; v++) {{"]
        for k, one in enumerate(self.loop.operands):
            if not one.text and one.inner != 0:
                value = f"at{k}.at[v]" if one.inner == 1 else f"x{k}[(j + v) * (Index)s{k}_{self.last}]"
                lines.append(f"{indent}  const real p{k} = (real){value};")
        lines += [f"{indent}  {line}" for line in self.loop.lines]
        for k, one in enumerate(self.loop.operands):
            if one.text:
                value = f"({one.text}) != 0" if one.dtype == "bool" else f"({TYPES[one.dtype]})({one.text})"
                to = f"at{k}.at[v]" if one.inner == 1 else f"x{k}[(j + v) * (Index)s{k}_{self.last}]"
                lines.append(f"{indent}  {to} = {value};")
        lines += [*(f"{indent}  {line}" for line in sums), f"{indent}}}"]
        lines += [f"{indent}*(Pack<{TYPES[one.dtype]}, V> *)(x{k} + j) = at{k};" for k, one in enumerate(self.loop.operands)
                  if one.text and one.inner == 1]
        return lines

    @staticmethod
    def _product(factors: Sequence[str]) -> str:
        return " * ".join(factors) or "(Index)1"

    # Kinds

    def _map(self) -> list[str]:
        n = self.last
        count = self._product([*(f"n{i}" for i in range(n)), "packs"])
        return [
            f"  const Index packs = n{n} / V;", "  Index t = (Index)blockIdx.x * THREADS + threadIdx.x;", f"  if (t >= {count}) return;",
            *(["  const Index j = t * V;"] if not n else ["  const Index j = t % packs * V;", "  t /= packs;"]),
            *self._index("t", range(n), "  "), *self._element("  ", ()),
        ]

    def _rows(self) -> list[str]:
        loop, n = self.loop, self.last
        inner = range(loop.lead, n)
        sums = [f"part{k} += {text};" for k, text in enumerate(loop.sums)]
        return [
            f"  const Index packs = n{n} / V, count = {self._product([*(f'n{i}' for i in inner), 'packs'])};",
            f"  const Index sums = {self._product([f'n{i}' for i in range(loop.lead)])};",
            "  const int lane = threadIdx.x % (int)line;",
            "  const Index team = (Index)blockIdx.x * (THREADS / (int)line) + threadIdx.x / (int)line;",
            "  const Index u = team / (Index)parts, part = team % (Index)parts;", "  const bool there = u < sums;",
            *(["  Index rest = u;", *self._index("rest", range(loop.lead), "  ")] if loop.lead else []),
            *(f"  double total{k} = 0;" for k in range(len(loop.sums))),
            "  if (there) for (Index e = part * (Index)line + lane; e < count; e += (Index)parts * (Index)line) {",
            *(["    const Index j = e % packs * V;", "    Index f = e / packs;", *self._index("f", inner, "    ")]
              if len(inner) else ["    const Index j = e * V;"]),
            *(f"    real part{k} = 0;" for k in range(len(loop.sums))), *self._element("    ", sums),
            *(f"    total{k} += part{k};" for k in range(len(loop.sums))), "  }",
            *(f"  total{k} = added_along(total{k}, (int)line);" for k in range(len(loop.sums))), "  if (!there || lane) return;",
            *(f"  if (parts == 1) r{k}[u] = (real)(total{k} / (double)d{k});\n"
              f"  else partial[({k} * (Index)parts + part) * sums + u] = total{k};" for k in range(len(loop.sums))),
        ]

    def _columns(self) -> list[str]:
        loop, n = self.loop, self.last
        inner = range(loop.lead, n)
        sums = [f"sum{k}[v] += {text};" for k, text in enumerate(loop.sums)]
        lines = [
            f"  const Index packs = n{n} / V, tiles = (packs + (Index)line - 1) / (Index)line;",
            f"  const Index count = {self._product([f'n{i}' for i in inner])};",
            f"  const Index sums = {self._product([f'n{i}' for i in (*range(loop.lead), n)])};",
            "  const int lane = threadIdx.x % (int)line, first = threadIdx.x / (int)line, beside = THREADS / (int)line;",
            "  Index block = blockIdx.x;", "  const Index pack = block % tiles * (Index)line + lane, j = pack * V;", "  block /= tiles;",
            "  const Index part = block % (Index)parts, u = block / (Index)parts;", "  const bool there = pack < packs;",
            *(["  Index rest = u;", *self._index("rest", range(loop.lead), "  ")] if loop.lead else []),
            *(f"  real sum{k}[V];\n#pragma unroll\n  for (int v = 0; v < V; v++) sum{k}[v] = 0;" for k in range(len(loop.sums))),
            "  if (there) for (Index e = part * beside + first; e < count; e += (Index)parts * beside) {",
            "    Index f = e;", *self._index("f", inner, "    "), *self._element("    ", sums), "  }",
            "#pragma unroll", "  for (int v = 0; v < V; v++) {",
        ]
        for k in range(len(loop.sums)):
            lines += [
                f"    const double total{k} = added_across((double)sum{k}[v], (int)line);", "    if (there && !first) {",
                f"      if (parts == 1) r{k}[u * n{n} + j + v] = (real)(total{k} / (double)d{k});",
                f"      else partial[({k} * (Index)parts + part) * sums + u * n{n} + j + v] = total{k};", "    }",
            ]
        return [*lines, "  }"]

    def _end(self) -> str:
        """Return the kernel that adds up the parts of each sum."""
        many = range(len(self.loop.sums))
        given = ", ".join([*(f"real *__restrict__ r{k}" for k in many), "const double *__restrict__ partial",
                           *(f"long long d{k}" for k in many), "long long parts", "long long sums", "long long line"])
        lines = [
            f'extern "C" __global__ void {self.name}_end({given}) {{',
            "  const int lane = threadIdx.x % (int)line;",
            "  const long long u = (long long)blockIdx.x * (THREADS / (int)line) + threadIdx.x / (int)line;",
        ]
        for k in many:
            lines += [
                f"  double total{k} = 0;",
                f"  if (u < sums) for (long long c = lane; c < parts; c += line) total{k} += partial[({k} * parts + c) * sums + u];",
                f"  total{k} = added_along(total{k}, (int)line);",
                f"  if (u < sums && !lane) r{k}[u] = (real)(total{k} / (double)d{k});",
            ]
        return "\n".join([*lines, "}", ""])
