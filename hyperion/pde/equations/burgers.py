"""Burgers' equation: the simplest nonlinear wave with friction."""
from typing import ClassVar

from hyperion.errors import InputError
from hyperion.pde.equation import Equation, Expression, Field, derivative, laplace


class Burgers(Equation):
    """u_t + (u . grad) u = viscosity laplace(u): velocity u [m/s], in one dimension (u along x), or two (uy, ux along axes (y, x)).

    For Solver: stepped by pde.SSPRK3() or RungeKutta4(); its stencils have no limiter, so shocks need a few cells of viscosity.
    A side may be pde.Rigid(): the velocity across it is zero there.
    Raises: InputError for other dimensions.
    Source: Burgers 1948, Advances in Applied Mechanics 1, 171; its closed solution: Cole 1951, Quart. Appl. Math. 9, 225; in two
    dimensions: Fletcher 1983, Int. J. Numer. Methods Fluids 3, 213, eq. 1.

    >>> sorted(Burgers().rates(1)["u"].derivatives())[-1]
    Derivative(field='u', orders=(2,))
    >>> list(Burgers(ndim=2).fields)
    ['uy', 'ux']
    """

    fields: dict[str, Field]
    parameters: ClassVar[dict[str, str]] = {"viscosity": "m^2/s"}
    dimensions: tuple[int, ...]
    odd_at_free_surfaces: ClassVar[bool] = False       # a velocity without a pressure knows none

    def __init__(self, ndim: int = 1):
        if isinstance(ndim, bool) or ndim not in (1, 2):
            raise InputError(f"Burgers(ndim={ndim!r}): give 1 or 2, the number of space dimensions")
        self.dimensions, self.along = (ndim,), {"u": -1} if ndim == 1 else {"uy": -2, "ux": -1}
        self.fields = {f: Field("m/s", mirrored=(axis,)) for f, axis in self.along.items()}

    def rate(self, viscosity: Expression, **u: Expression) -> dict[str, Expression]:
        """Return the rates of the components."""
        def carried(f: Expression) -> Expression:
            return sum((u[g] * derivative(f, axis) for g, axis in self.along.items()), start=0.0 * f)
        return {name: viscosity * laplace(f) - carried(f) for name, f in u.items()}
