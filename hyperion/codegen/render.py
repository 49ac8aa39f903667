"""C text of a program's sweeps: GNU vector extensions, one kernel per set of stretched axes, so that the interior pays nothing for them.

The text is a fragment: `cpu/kernels/stencil.h` defines its types and macros before it, `cpu/kernels/timeloop.c` calls `sweep` after it.
Sizes are arguments; rank, stencils and the equation are constants. Zeros beyond the region replace bounds: halos, padding and slab ends
hold zeros and coefficients are zero in the padding, so whole vectors run without masks and every transposed gather is exact.
"""
from collections.abc import Iterable, Mapping
from itertools import product

from .kernel import Kernel, Names
from .program import Assign, Program, Term, sweeps

History = tuple[int, str, tuple[Term, ...]]            # (sweep, target, terms): what a gradient keeps, read as that assignment reads


def c_text(program: Program, histories: Iterable[History], recorded: Mapping[str, int] | None = None, rows: int | None = None) -> str:
    """Return the C text of all sweeps of a program.

    histories: what to write to history arrays, in order. recorded: {coefficient read from a history: its number}. rows: planes of axis 0
    computed together in the interior (they share reads); default: what measured best. Kernels that stretch one axis in two dimensions, or
    two axes, hold so much in registers that one plane is best.
    """
    def planes(mask: frozenset[int], group: list[Assign]) -> int:
        return rows or _together(program, group) if len(mask) <= program.ndim - 2 else 1
    index = {name: i for i, name in enumerate(array_names(program))}
    names = Names(index, {name: i for i, name in enumerate(program.profiles)}, dict(recorded or {}))
    kernels: list[str] = []
    body: list[str] = []
    stages = sweeps(program)
    written: list[list[int]] = []
    histories = list(histories)
    masks = [frozenset(i for i in range(program.ndim) if bits[i]) for bits in product((0, 1), repeat=program.ndim)]
    for s, (before, main) in enumerate(stages):
        written.append([index[a.target] for a in main if a.target not in program.memory])
        levels: list[str] = []
        for k, group in enumerate(before):
            level = ["0"] * program.ndim
            for axis in {a.axis for a in group if a.axis is not None}:
                level[axis] = name = f"before{s}_{k}_{axis}"
                kernels.append(Kernel(program, name, group, frozenset((axis,)), names, (), planes(frozenset((axis,)), group)).text())
            levels.append("{" + ", ".join(level) + "}")
        body += [f"  if (stage == {s}) {{", f"    static const Kernel b[][AXES] = {{{', '.join(levels) or '{0}'}}};"]
        mine = [(i, target, terms) for i, (stage, target, terms) in enumerate(histories) if stage == s]
        for keep in (False, True):
            table: list[str] = []
            for mask in masks:
                name = f"main{s}_{''.join(map(str, sorted(mask)))}{'k' if keep and mine else ''}"
                kernel = Kernel(program, name, main, mask, names, mine if keep else (), planes(mask, main))
                table.append(name if kernel.body else "0")     # memory variables alone: nothing in the interior
                if kernel.body and (not keep or mine):
                    kernels.append(kernel.text())
            body.append(f"    static const Kernel k{int(keep)}[] = {{{', '.join(table)}}};")
        body.append(f"    boxes(c, &(Sweep){{{len(levels)}, b, history ? k1 : k0}}, t, history, part);\n  }}")
    most = max(len(w) for w in written)
    targets = ", ".join("{" + ", ".join(map(str, [*w, *[-1] * (most - len(w))])) + "}" for w in written)
    sizes = {"SWEEPS": len(stages), "REACH": program.reach(), "WRITTEN": most, "RECORDED": int(bool(recorded)),
             "ARRAYS": len(program.arrays()), "LEVELS": max(len(before) for before, _ in stages)}
    slabs = ", ".join(str(program.memory.get(x, -1)) for x in program.arrays())
    return ("".join(f"#define {name} {value}\n" for name, value in sizes.items()) +
            f"static const int slab_of[ARRAYS] = {{{slabs}}};\n"
            f"static const int written[SWEEPS][WRITTEN] = {{{targets}}};\n"
            f"static const int kept_in[] = {{{', '.join(str(stage) for stage in [*(s for s, _, _ in histories), -1])}}};\n"
            + "\n".join(kernels)
            + "\nstatic void sweep(const Context *c, int stage, long m, const Part *part, real *history) {\n"
            + "  const Array *t = c->table[m & 1];\n" + "\n".join(body) + "\n}\n")


def _together(program: Program, group: list[Assign]) -> int:
    """Return how many planes of axis 0 a sweep computes together: 8 in two dimensions where one array is read across them, as in acoustics
    of second order; 2 where there are more, or columns of a third axis to keep in the cache."""
    across = {x for a in group for t in a.terms for x, stencil in t.reads if any(shift[0] for shift, _ in stencil.taps)}
    return 8 if program.ndim == 2 and len(across - program.memory.keys()) == 1 else 2


def array_names(program: Program) -> list[str]:
    """Return the names of all arrays and parameters in the order of the C array table (two entries each: low and high slab)."""
    return [*program.arrays(), *program.parameters]
