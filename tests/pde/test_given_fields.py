"""Fields that others give at every instant, and mixed derivatives: what is refused, and the symbol of a mixed derivative."""

from typing import ClassVar

import numpy as np
import pytest

from hyperion import pde
from hyperion.errors import BoundaryError, InputError
from hyperion.pde.stencils import weights
from tests.pde.cases import Mixed

GRID = pde.Grid((20, 24), 10.0)


class Declared(pde.Equation):
    """p and q with the rates that it is made with; q of time order 0."""

    parameters: ClassVar[dict[str, str]] = {"speed": "1"}

    def __init__(self, rates, orders=(2, 0, 0), sources=None):
        self.fields = {name: pde.Field("1", time_order=n) for name, n in zip("pqr", orders, strict=True)}
        self.rates_of, self.sources_of = rates, sources

    def rate(self, p, q, r, speed):
        return dict(zip("pqr", self.rates_of(p, q, r, speed), strict=True))

    def sources(self, speed):
        return self.sources_of or {"p": {"p": 1.0}}


@pytest.mark.parametrize(
    ("rates", "options", "message"),
    [
        (lambda p, q, r, c: (c**2 * pde.laplace(p), 1.0 * p, p - r), {}, r"q has time order 0.*0 = \(what gives it\) - q"),
        (lambda p, q, r, c: (c**2 * pde.laplace(p), c * p - 2.0 * q, p - r), {}, r"q has time order 0.*0 = \(what gives it\) - q"),
        (lambda p, q, r, c: (c**2 * pde.laplace(p), pde.laplace(q) - q, p - r), {}, "q has time order 0 and is given by its own"),
        (lambda p, q, r, c: (c**2 * pde.laplace(p), r - q, q - r), {}, "given by each other in a circle"),
        (lambda p, q, r, c: (c**2 * pde.laplace(p), p - q, p - r), {"sources": {"q": {"q": 1.0}}}, "sources: q is given by other fields"),
        (lambda p, q, r, c: (q - p, p - q, p - r), {"orders": (0, 0, 0)}, "no field has a rate in time"),
        (
            lambda p, q, r, c: (c * pde.derivative(q, -1), c * pde.derivative(p, -1) - q, p - r),
            {"orders": (1, 0, 0)},
            "p is advanced in place but its rate reads it at shifted points",
        ),
    ],
)
def test_what_is_refused(rates, options, message):
    with pytest.raises(InputError, match=message):
        pde.Solver(Declared(rates, **options), GRID, order=2)


def test_a_given_field_that_would_be_read_before_and_after_what_gives_it():
    class Twice(pde.Equation):
        fields: ClassVar[dict[str, pde.Field]] = {"v": pde.Field("1"), "p": pde.Field("1"), "w": pde.Field("1"), "g": pde.Field("1", 0)}
        parameters: ClassVar[dict[str, str]] = {"speed": "1"}

        def rate(self, v, p, w, g, speed):
            return {"v": speed * g, "p": speed * pde.derivative(v, -1), "w": speed * g, "g": pde.derivative(p, -1) - g}

    with pytest.raises(InputError, match="is read before and after p is advanced"):
        pde.Solver(Twice(), GRID, order=2)


def test_mixed_derivatives_have_no_images():
    with pytest.raises(BoundaryError, match="mixed derivatives of p have no images"):
        pde.Solver(Mixed(), GRID, boundary=pde.Sides(pde.CPML(3), top=pde.Rigid()))


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
@pytest.mark.parametrize("order", [2, 8])
def test_a_plane_wave_through_a_mixed_derivative(order):
    # On a periodic grid exp(i k x) is a mode: p_tt = -speed^2 (k^2 + mix kz kx) p, to the order of the stencils.
    shape, spacing, steps, step, speed, mix = (24, 24), (10.0, 12.0), 60, 5e-4, 2000.0, 0.4
    grid = pde.Grid(shape, spacing)
    k = [2.0 * np.pi * m / (n * h) for m, n, h in zip((1, 2), shape, spacing, strict=True)]
    z, x = np.meshgrid(*(np.arange(n) * h for n, h in zip(shape, spacing, strict=True)), indexing="ij")
    nodes = np.stack([z, x], axis=-1).reshape(1, -1, 2)
    samples = np.zeros((1, z.size, steps))
    samples[0, :, 0] = np.cos(k[0] * z + k[1] * x).ravel() * np.prod(spacing)  # a kick of unit amplitude of p_tt
    wave = pde.Solver(Mixed(), grid, order=order, boundary=pde.Periodic())
    survey = pde.Survey(nodes, [[(0.0, 0.0)]], pde.Wavelet(samples, step))
    heard = wave.solve(survey, speed=np.full(shape, speed), mix=np.full(shape, mix)).numpy()[0, 0]

    reach = order // 2
    shifts = np.arange(-reach, reach + 1)
    first = [sum(w * np.exp(1j * q * h * s) for s, w in zip(shifts, weights(list(shifts), 1), strict=True)) / h
             for q, h in zip(k, spacing, strict=True)]
    second = [sum(w * np.exp(1j * q * h * s) for s, w in zip(shifts, weights(list(shifts), 2), strict=True)) / h**2
              for q, h in zip(k, spacing, strict=True)]
    operator = -(sum(second) + mix * first[0] * first[1]).real * speed**2
    angle = 2.0 * np.arcsin(0.5 * step * np.sqrt(operator))
    expected = step**2 * np.sin(np.arange(steps) * angle) / np.sin(angle)
    np.testing.assert_allclose(heard, expected, atol=1e-12 * np.abs(expected).max())
    exact = speed**2 * (k[0] ** 2 + k[1] ** 2 + mix * k[0] * k[1])
    assert abs(operator / exact - 1.0) < {2: 0.15, 8: 1e-3}[order]
