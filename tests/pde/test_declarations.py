"""Declarations that do not fit together are refused when a solver is made of them: what was declared, and the way out."""

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import InputError


def declared(fields=None, parameters=None, **functions):
    """Return an equation p_tt = speed^2 laplace(p), with other declarations in place of its own."""
    names = {"fields": fields or {"p": pde.Field("Pa", time_order=2)}, "parameters": parameters or {"speed": "m/s"}}
    own = {"rate": lambda self, p, speed: speed**2 * pde.laplace(p)}
    return type("Own", (pde.Equation,), names | own | functions)()


REFUSED = [
    ({"rate": lambda self, p, q, speed: speed**2 * pde.laplace(q)}, r"Own.rate: reads 'q', which is not declared.*valid: p, speed"),
    ({"rate": lambda self, p: pde.laplace(p)}, r"Own.rate: does not take 'speed', one of the fields and coefficients declared"),
    ({"rate": lambda self, p, speed: np.sin(p)}, r"numpy.sin of a field.*declare what else it needs as a coefficient"),
    ({"sources": lambda self, speed: {"p": {"z": speed**2}}}, r"Own.sources: 'p' drives 'z', which is no declared field; valid: p"),
    ({"sources": lambda self: {"p": {"p": 1.0}}}, r"Own.sources: does not take 'speed'"),
    ({"receivers": lambda self: {"p": {"z": 1.0}}}, r"Own.receivers: 'p' hears 'z', which is no declared field; valid: p"),
    ({"fastest": lambda self: 3000.0}, r"Own.fastest: does not take 'speed', one of the parameters declared"),
    ({"derive": lambda self, velocity: {}}, r"Own.derive: reads 'velocity', which is not declared among the parameters; valid: speed"),
    ({"derive": lambda self, speed: {"sp": speed}}, r"Own.derive: gives \['sp'\], but 'speed' is declared"),
    ({"fields": {"p": "Pa"}}, r"Own.fields\['p'\]='Pa': give a pde.Field\(unit\)"),
    ({"fields": {"p.x": pde.Field("Pa")}}, r"Own.fields names 'p.x'; use letters"),
    ({"fields": {"p": pde.Field("pascal", time_order=2)}}, r"Own.fields\['p'\]: unit 'pascal'"),
    ({"fields": {"p": pde.Field("Pa", time_order=2, at=(-3,))}}, r"at=\(-3,\) in 2 dimensions; axes are counted from the last, -1 to -2"),
    ({"fields": {"speed": pde.Field("Pa")}, "rate": lambda self, speed: speed}, r"'speed' is declared as a field and as a coefficient"),
    ({"parameters": ["speed"]}, r"Own.parameters=\['speed'\]: declare a dict, such as"),
    ({"parameters": {"speed": 1.0}}, r"Own.parameters\['speed'\]=1.0: give its unit as text"),
    ({"rate": lambda self, p, speed: speed * pde.derivative(p, -1), "fields": {"p": pde.Field("Pa")}},
     r"p is advanced in place but its rate reads it at shifted points; use stepping=pde.RungeKutta4\(\)"),
]


@pytest.mark.parametrize(("declaration", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_declarations_that_are_refused(declaration, message):
    grid = pde.Grid((20, 22), 10.0)
    with pytest.raises(InputError, match=message):
        pde.Solver(declared(**declaration), grid, order=4, boundary=pde.Periodic()).stable_step(speed=np.full(grid.shape, 1500.0))


@pytest.mark.parametrize(("arguments", "message"), [
    (("Pa", 2, -1), r"Field\(at=-1\): give a tuple of axes counted from the last, such as \(-1,\)"),
    (("Pa", 2, (0,)), r"Field\(at=\(0,\)\)"),
    (("Pa", 1, (), (1,)), r"Field\(mirrored=\(1,\)\)"),
    ((1.0,), r"Field\(1.0, time_order=1\): give the unit as text"),
    (("Pa", 1.5), r"a whole order, 1 or 2"),
], ids=str)
def test_fields_that_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        pde.Field(*arguments)


def test_numbers_of_numpy_stand_in_rates():
    two = np.float64(2.0)
    equation = declared(rate=lambda self, p, speed: two * speed**2 * pde.laplace(p) + speed**2 * pde.laplace(p) / np.float32(2.0))
    assert set(equation.rates(2)["p"].terms.values()) == {2.5}
