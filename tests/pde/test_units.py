"""Units of equations: how they are written, that those of every equation fit, and what is refused when units or places do not."""

import copy
import inspect
from typing import ClassVar

import pytest

from hyperion import pde
from hyperion.errors import InputError
from hyperion.pde import units
from tests.pde.registry import ENTRIES


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("V/m", "kg m/s^3/A"),
        ("S/m", "F/m/s"),
        ("H F", "s^2"),
        ("Pa*s", "Pa s"),
        ("Wb", "V s"),
        ("ohm", "1/S"),
        ("m^1/2 m^0.5", "m"),
        ("kg m^-3", "kg/m^3"),
        ("J/kg", "m^2/s^2"),
        ("T", "N/A/m"),
        ("W", "C V Hz"),
    ],
)
def test_units_that_are_the_same(one, other):
    assert units.parse(one) == units.parse(other)
    assert units.parse(units.text(units.parse(one))) == units.parse(one)


@pytest.mark.parametrize("wrong", ["", "km", "m/", "/s", "m^", "m^x", "kg/m^3 of water", "(m/s)", "2 m"])
def test_what_is_no_unit(wrong):
    with pytest.raises(InputError, match=r"unit '.*': "):
        units.parse(wrong)


def shipped():
    """Return every equation of the library: as the registry has it, in its default form where it is not stepped."""
    made = {type(entry.equation).__name__: entry.equation for entry in ENTRIES}
    kinds = {name: getattr(pde, name) for name in pde.__all__}
    return [made.get(name) or c() for name, c in kinds.items()
            if inspect.isclass(c) and issubclass(c, pde.Equation) and not inspect.isabstract(c)]


@pytest.mark.parametrize("equation", shipped(), ids=lambda e: type(e).__name__)
def test_the_units_of_every_equation_fit(equation):
    equation = copy.copy(equation)
    for ndim in equation.dimensions:
        assert equation.rates(ndim)  # checked there
    if {f.unit for f in equation.fields.values()} == {"1"} == set(equation.parameters.values()):
        return
    doubled = {k: f"{unit} m" for k, unit in (equation.coefficients or equation.parameters).items()}
    equation.coefficients = doubled  # wrong by a metre, all of them
    with pytest.raises(InputError, match=r"\.rate: the term .* has the unit"):
        equation.rates(equation.dimensions[0])


class Wave(pde.Equation):
    """A pair on a staggered grid; `flux` is what the test makes of the rate of u."""

    fields: ClassVar[dict[str, pde.Field]] = {"u": pde.Field("1"), "v": pde.Field("m/s", at=(-1,)), "w": pde.Field("m/s", at=(-1,))}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s"}

    def __init__(self, flux):
        self.flux = flux

    def rate(self, u, v, w, speed):
        return {"u": self.flux(u, v, w, speed), "v": -(speed**2 * pde.derivative(u, -1)), "w": -(speed**2 * pde.derivative(u, -1))}


@pytest.mark.parametrize(
    ("flux", "message"),
    [
        (lambda u, v, w, speed: speed * pde.derivative(v, -1), r"speed derivative\(v, -1\) in the rate of u has the unit m/s\^2, not 1/s"),
        (lambda u, v, w, speed: pde.derivative(v, -1) + u, r"the term u in the rate of u has the unit 1, not 1/s, that of u \[1\] per s;"),
        (lambda u, v, w, speed: pde.derivative(v, -2), r"derivative\(v, -2\) does not sit where u does, but half a cell beside it along"),
    ],
)
def test_terms_that_do_not_fit(flux, message):
    assert Wave(lambda u, v, w, speed: -pde.derivative(v, -1)).rates(2)
    with pytest.raises(InputError, match=message):
        pde.Solver(Wave(flux), pde.Grid((40, 40), 1.0))


class Steady(pde.Equation):
    """laplace(u) = u, in which what multiplies u has no unit."""

    fields: ClassVar[dict[str, pde.Field]] = {"u": pde.Field("K", time_order=0)}
    parameters: ClassVar[dict[str, str]] = {"decay": "1"}

    def rate(self, u, decay):
        return pde.laplace(u) - decay * u


def test_the_terms_of_a_steady_equation_have_one_unit():
    with pytest.raises(InputError, match=r"the term decay u in the rate of u has the unit K, not K/m\^2, that of u's other terms"):
        Steady().rates(2)
