"""From rates to one time step: a program of assignments over stencils, and the kernel parameters it reads."""
from dataclasses import dataclass

from hyperion.codegen import Program

from .boundary import Boundary
from .closures import Rows, Symmetry
from .equation import Equation
from .rates import KernelParameter, Rates, Sides
from .stencils import LeastSquares, Taylor
from .stepping import Leapfrog, Stepping


@dataclass(frozen=True)
class Discretisation:
    """One time step.

    program: assignments in units of the reference cell and of one step; `source.<name>` stands for each of the equation's sources;
    `source.<name>@<sampling>` for its samples taken otherwise, as the stepping says.
    kernel_parameters: {name: KernelParameter}. rows: {profile: what stands in a few rows near sides that reflect}; the other profiles are
    the boundary's. symmetries: {field: what it is about the low and the high side of each axis}. held: {field:
    (axis, side) on whose outermost cells it is zero}.
    """

    program: Program
    kernel_parameters: dict[str, KernelParameter]
    rows: dict[str, Rows]
    symmetries: dict[str, tuple[tuple[Symmetry | None, Symmetry | None], ...]]
    held: dict[str, Sides]

    @property
    def layered(self) -> dict[str, int]:
        """{profile of absorbing layers: its axis}."""
        return {name: axis for name, axis in self.program.profiles.items() if name not in self.rows}

    def rims(self, pads: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        """Return, for both sides of each axis, within how many cells profiles and memory variables are not zero for any stencil."""
        p, reach = self.program, self.program.reach()
        found = {(c, t.stencil.taps[0][0]) for a in p.assigns for t in a.terms for c in t.coefficients if c in self.rows}

        def depth(axis: int, side: int) -> int:
            return max((self.rows[c].depth(side, shift[axis]) for c, shift in found if p.profiles[c] == axis), default=0)
        return tuple((low + reach if low else depth(k, 0), high + reach if high else depth(k, 1)) for k, (low, high) in enumerate(pads))

    def early(self, field: str) -> bool:
        """Tell whether a field is held half a step earlier than its sample's time: one of first order that is read after it is stepped, in
        leapfrog (other steppings make it in the last assignment)."""
        at = max((i for i, a in enumerate(self.program.assigns) if a.target == field), default=len(self.program.assigns))
        return any(t.array == field for a in self.program.assigns[at + 1:] for t in a.terms)

    def factor(self, name: str, step: float, cell: float) -> float:
        """Return what the polynomial of a kernel parameter is multiplied by: step [s] and reference cell [m] to its powers."""
        k = self.kernel_parameters[name]
        return step ** k.time / cell ** k.space

    def source_factors(self, equation: Equation, source: str | None, step: float, cell: float) -> dict[str, float]:
        """Return {field: what the samples of a source are multiplied by there}, beside the coefficients of its term (which carry powers of
        the step and the cell)."""
        out: dict[str, float] = {}
        for name, assign, term in self.program.injections():
            if name.partition("@")[0] == f"source.{source}":
                field = self.program.owner(assign.target).rpartition(".")[2]
                k = [self.kernel_parameters[c] for c in term.coefficients]
                out[field] = cell ** k[0].space if k else step ** equation.fields[field].time_order
        return out


def discretise(equation: Equation, ndim: int, order: int, ratios: tuple[float, ...], boundary: Boundary,
               design: Taylor | LeastSquares = Taylor(), stepping: Stepping = Leapfrog()) -> Discretisation:  # noqa: B008  (values)
    """Return one step of a stepping in `ndim` dimensions with stencils of an even order.

    ratios: reference cell over the cell of each axis. The step and the cell stand in the kernel parameters alone (a rate's coefficient
    times step^time_order / cell^derivative_order), so one text serves every grid of the same shape of cell.
    Raises: InputError for a rate that the stepping cannot step.
    """
    rates = Rates(equation, ndim, order, ratios, boundary, design, stepping.continuous)
    program = stepping.program(rates)
    return Discretisation(program, {name: k for k, name in rates.parameters.items()}, rates.rows,
                          {f: tuple(rates.symmetries(f, axis) for axis in range(ndim)) for f in equation.fields},
                          {f: rates.held(f) for f in equation.fields})
