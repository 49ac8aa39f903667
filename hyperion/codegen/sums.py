"""Text of sums of terms, for kernels in C and in CUDA C++ alike: both have a type V of a few numbers side by side, and its operators."""
from abc import ABC, abstractmethod
from collections.abc import Iterable, Set

from .program import Assign, Program, Stencil, Term


class Statements(ABC):
    """The statements that compute a sweep's assignments where a kernel stands: loads and values, each made once, then stores."""

    zero_text = "(V){0}"

    def __init__(self, ndim: int):
        self.zero = (0,) * ndim
        self.lines: list[str] = []
        self.stores: list[str] = []

    @abstractmethod
    def load(self, x: str, shift: tuple[int, ...], row: int) -> str:
        """Return the name of what `x` holds at a shift, `row` planes of axis 0 further."""

    @abstractmethod
    def coefficient(self, c: str, row: int) -> str:
        """Return the text of a coefficient."""

    @abstractmethod
    def target(self, array: str, row: int) -> str:
        """Return the text of where the new value of an array goes."""

    @abstractmethod
    def kept_in(self, i: int, row: int) -> str:
        """Return the text of where history number i keeps its value."""

    def store(self, to: str, value: str) -> str:
        """Return the statement that stores a value."""
        return f"ST({to}, {value});"

    def compute(self, body: list[tuple[str, list[Term]]], kept: list[tuple[int, str, list[Term]]], row: int) -> None:
        """Add the assignments of a sweep, (target, terms), and its histories, (number, the target they are kept before, terms)."""
        fresh: dict[str, str] = {}
        atoms: dict[tuple[str, Stencil], str] = {}
        for k, (target, terms) in enumerate(body):
            for i, of, what in kept:                   # before the assignment: a target advanced in place is still the old one
                if of == target:
                    self.stores.append(self.store(self.kept_in(i, row), self.value(what, row, fresh, atoms)))
            name, text = f"o{k}_{row}", self.value(terms, row, fresh, atoms)
            self.lines.append(f"const V {name} = {text};")
            fresh[target] = name
            self.stores.append(self.store(self.target(target, row), name))

    def value(self, terms: list[Term], row: int, fresh: dict[str, str], atoms: dict[tuple[str, Stencil], str]) -> str:
        """Return the text of a sum of terms, terms of equal coefficients bracketed.

        fresh: {array: name of what this sweep has just made of it}. atoms: names of stencils' values so far; more are added.
        """
        by: dict[tuple[str, ...], list[str]] = {}
        for t in terms:
            e = " * ".join(self._atom(x, stencil, row, fresh, atoms) for x, stencil in t.reads)
            by.setdefault(t.coefficients, []).append(e if t.weight == 1 else f"-{e}" if t.weight == -1 else f"{number(t.weight)} * {e}")
        sums: list[str] = []
        for coefficients, parts in by.items():
            factors = [self.coefficient(c, row) for c in coefficients]
            sums.append(" * ".join([*factors, f"({' + '.join(parts)})"]) if factors else " + ".join(parts))
        return " + ".join(sums) or self.zero_text

    def _atom(self, x: str, stencil: Stencil, row: int, fresh: dict[str, str], atoms: dict[tuple[str, Stencil], str]) -> str:
        """Return the name of a stencil's value; what this sweep has just written is taken from its register."""
        if stencil.is_here:
            return fresh.get(x) or self.load(x, self.zero, row)
        key = (x, stencil)
        if key not in atoms:
            text = _weighted_sum([(w, self.load(x, shift, row)) for shift, w in stencil.taps])
            atoms[key] = f"a{len(atoms)}_{row}"
            self.lines.append(f"V {atoms[key]} = {text};")
        return atoms[key]


Body = list[tuple[str, list[Term]]]                    # (target, terms) of each assignment
Kept = list[tuple[int, str, list[Term]]]               # (number, target, terms) of each history


def simplified(program: Program, assigns: Iterable[Assign], mask: Set[int],
               histories: Iterable[tuple[int, str, tuple[Term, ...]]]) -> tuple[Body, Kept]:
    """Return what a sweep computes, and what it keeps, in a box where the axes in `mask` are stretched."""
    present = [(a.target, _alive(program, a.terms, mask)) for a in assigns if a.axis is None or a.axis in mask]
    kept = [(i, target, _alive(program, terms, mask)) for i, target, terms in histories]
    uses: dict[tuple[str, Stencil], int] = {}
    for read in (read for _, terms in present for t in terms for read in t.reads):
        uses[read] = uses.get(read, 0) + 1
    return [(target, _stars(terms, uses)) for target, terms in present], [(i, target, _stars(terms, uses)) for i, target, terms in kept]


def _alive(program: Program, terms: Iterable[Term], mask: Set[int]) -> list[Term]:
    """Drop sources (injected apart) and what is zero outside the slabs of the axes in `mask`."""
    p = program
    return [t for t in terms if t.array not in p.sources and all(p.memory.get(x, -1) in mask | {-1} for x, _ in t.reads)
            and all(p.profiles[c] in mask for c in t.coefficients if c in p.profiles)]


def _stars(terms: list[Term], uses: dict[tuple[str, Stencil], int]) -> list[Term]:
    """Add the stencils of one array that serve one target only: equal weights of different axes then share a multiplication."""
    out: list[Term] = []
    star: dict[tuple[tuple[str, ...], str], list[tuple[tuple[int, ...], float]]] = {}
    for t in terms:
        if not t.factors and not t.stencil.is_here and uses.get((t.array, t.stencil)) == 1:
            star.setdefault((t.coefficients, t.array), []).extend((shift, t.weight * w) for shift, w in t.stencil.taps)
        else:
            out.append(t)
    return out + [Term(1.0, c, x, Stencil.of(taps)) for (c, x), taps in star.items()]


def _weighted_sum(reads: list[tuple[float, str]]) -> str:
    """Return the text of a sum of weighted values; values whose weights agree up to sign share one multiplication."""
    by: dict[float, list[tuple[bool, str]]] = {}
    for w, value in reads:
        same = next((k for k in by if abs(k - abs(w)) < 1e-12 * k), abs(w))   # grouped by tolerance, written in full
        by.setdefault(same, []).append((w > 0, value))
    parts: list[str] = []
    for w, values in by.items():
        plus, minus = (_tree([v for sign, v in values if sign is wanted]) for wanted in (True, False))
        both = f"({plus} - {minus})" if plus and minus else plus or minus
        parts.append(f"{number(w if plus else -w)} * {both}")
    return " + ".join(parts)


def _tree(values: list[str]) -> str:
    """Text of a sum as a balanced tree: short dependency chains."""
    while len(values) > 1:
        values = [f"({values[i]} + {values[i + 1]})" if i + 1 < len(values) else values[i] for i in range(0, len(values), 2)]
    return values[0] if values else ""


def number(w: float) -> str:
    """Return the text of a number."""
    return f"(real){float(w)!r}"
