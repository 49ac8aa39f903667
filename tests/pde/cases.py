"""Random experiments that the tests of `pde` share, equations declared outside the library, and the interpreter in place of kernels."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

from hyperion import pde
from hyperion.autograd import vjp
from hyperion.errors import SpeedWarning
from hyperion.pde import simulation


class PressureVelocity(pde.Equation):
    """v_t = -buoyancy grad p, p_t = -bulk div v: first order in time, on a staggered grid, in two dimensions."""

    fields: ClassVar[dict[str, pde.Field]] = {"vz": pde.Field("m/s", at=(-2,)), "vx": pde.Field("m/s", at=(-1,)), "p": pde.Field("Pa")}
    parameters: ClassVar[dict[str, str]] = {"buoyancy": "m^3/kg", "bulk": "Pa"}

    def rate(self, vz, vx, p, buoyancy, bulk):
        return {
            "vz": -(buoyancy * pde.derivative(p, -2)),
            "vx": -(buoyancy * pde.derivative(p, -1)),
            "p": -(bulk * (pde.derivative(vz, -2) + pde.derivative(vx, -1))),
        }

    def fastest(self, buoyancy, bulk):
        return np.sqrt(buoyancy * bulk)


class PressureVelocity3D(PressureVelocity):
    """The same in three dimensions."""

    fields: ClassVar[dict[str, pde.Field]] = {
        "vz": pde.Field("m/s", at=(-3,)),
        "vy": pde.Field("m/s", at=(-2,)),
        "vx": pde.Field("m/s", at=(-1,)),
        "p": pde.Field("Pa"),
    }

    def rate(self, vz, vy, vx, p, buoyancy, bulk):
        flows = {"vz": (vz, -3), "vy": (vy, -2), "vx": (vx, -1)}
        rates = {name: -(buoyancy * pde.derivative(p, axis)) for name, (_, axis) in flows.items()}
        return rates | {"p": -(bulk * sum((pde.derivative(v, axis) for v, axis in flows.values()), start=0.0 * p))}


class Dose(PressureVelocity):
    """Pressure and velocity, and two fields that nothing else reads: the time integral of the pressure, and of that."""

    fields: ClassVar[dict[str, pde.Field]] = {**PressureVelocity.fields, "dose": pde.Field("Pa s"), "twice": pde.Field("Pa s^2")}

    def rate(self, vz, vx, p, dose, twice, buoyancy, bulk):
        return {**super().rate(vz, vx, p, buoyancy, bulk), "dose": 1.0 * p, "twice": 1.0 * dose}


class Coupled(pde.Equation):
    """Two fields of second order in time, of which one's second derivatives are read by both rates."""

    fields: ClassVar[dict[str, pde.Field]] = {"p": pde.Field("Pa", time_order=2), "q": pde.Field("Pa", time_order=2)}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "mix": "1"}

    def rate(self, p, q, speed, mix):
        return {"p": speed**2 * pde.laplace(p), "q": speed**2 * (pde.laplace(q) + mix * pde.derivative(p, -1, 2))}

    def fastest(self, speed, mix):
        return 1.2 * speed


class Mixed(pde.Equation):
    """p_tt = speed^2 (laplace(p) + mix p_zx): a mixed derivative, which is taken in two steps."""

    fields: ClassVar[dict[str, pde.Field]] = {"p": pde.Field("Pa", time_order=2)}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "mix": "1"}

    def rate(self, p, speed, mix):
        return speed**2 * (pde.laplace(p) + mix * pde.derivative(pde.derivative(p, -1), -2))

    def fastest(self, speed, mix):
        return 1.2 * speed


class Damped(PressureVelocity):
    """Pressure and velocity with a loss: p_t = -bulk div v - decay p. A field advanced in place has a parameter on its old value."""

    parameters: ClassVar[dict[str, str]] = {**PressureVelocity.parameters, "decay": "1/s"}

    def rate(self, vz, vx, p, buoyancy, bulk, decay):
        rates = super().rate(vz, vx, p, buoyancy, bulk)
        return {**rates, "p": rates["p"] - decay * p}

    def fastest(self, buoyancy, bulk, decay):
        return np.sqrt(buoyancy * bulk)


class Transport(pde.Equation):
    """u_t = -speed u_x + spread laplace(u): its rate reads the field that it advances, and no wave says how fast it is."""

    fields: ClassVar[dict[str, pde.Field]] = {"u": pde.Field("1")}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "spread": "m^2/s"}

    def rate(self, u, speed, spread):
        return spread * pde.laplace(u) - speed * pde.derivative(u, -1)


class Cubic(pde.Equation):
    """p_tt = c^2 laplace p - stiffness p^3: a power of one field."""

    fields: ClassVar[dict[str, pde.Field]] = {"p": pde.Field("Pa", time_order=2)}
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "stiffness": "1/Pa^2/s^2"}

    def rate(self, p, speed, stiffness):
        return speed**2 * pde.laplace(p) - stiffness * p**3

    def fastest(self, speed, stiffness):
        return speed


class Reacting(pde.Equation):
    """Waves of a pair, without units, and q, with products of every kind: powers, derivatives, others, what is advanced in place."""

    fields: ClassVar[dict[str, pde.Field]] = {
        "vz": pde.Field("1", at=(-2,)),
        "vx": pde.Field("1", at=(-1,)),
        "p": pde.Field("1"),
        "q": pde.Field("1"),
    }
    parameters: ClassVar[dict[str, str]] = {"push": "m/s", "pull": "m/s", "mix": "1/s", "spread": "m^2/s"}

    def rate(self, vz, vx, p, q, push, pull, mix, spread):
        flow = pde.derivative(vz, -2) + pde.derivative(vx, -1)
        return {
            "vz": -push * pde.derivative(p, -2),
            "vx": -push * pde.derivative(p, -1) - mix * vx**3 + 0.1 * push * vx * pde.derivative(p, -1),
            "p": -pull * flow - 0.1 * pull * p * flow + 0.3 * mix * q**2 - mix * p * q - mix * p,
            "q": mix * p**2 - mix * p**2 * q + spread * flow**2,
        }

    def fastest(self, push, pull, mix, spread):
        return np.sqrt(push * pull)


class Brew(pde.Equation):
    """What is used up (w = 1 - u) and what is made (v) in Gray and Scott's reaction u + 2 v -> 3 v, while both spread."""

    fields: ClassVar[dict[str, pde.Field]] = {"w": pde.Field("1"), "v": pde.Field("1")}
    parameters: ClassVar[dict[str, str]] = {"spread": "m^2/s", "reaction": "1/s", "feed": "1/s"}

    def rate(self, w, v, spread, reaction, feed):
        made = reaction * v**2 - reaction * w * v**2
        return {"w": 2.0 * spread * pde.laplace(w) + made - feed * w, "v": spread * pde.laplace(v) + made - 2.0 * feed * v}


class Case:
    """A random experiment: two shots of three sources and four receivers off the grid's nodes, unequal spacings, white noise.

    solver, survey; args: the wavelet's samples, then the equation's parameters; `gathers(*args)` runs it.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        order: int,
        boundary: pde.Boundary,
        *,
        dtype: type = np.float64,
        steps: int = 40,
        seed: int = 1,
        equation: pde.Equation | None = None,
        fields: tuple[str | None, str | None] = (None, None),
        substeps: int | None = None,
        values: Callable[[np.random.Generator], list[np.ndarray]] | None = None,
        speed: float = 3000.0,
        stepping: type[pde.Stepping] = pde.Leapfrog,
        **options,
    ):
        random = np.random.default_rng(seed)
        spacing, step = tuple(5.0 + k for k in range(len(shape))), 2.4 / speed
        grid, equation = pde.Grid(shape, spacing), equation or pde.Acoustic()
        options = {"threads": 2, "storage": pde.EverySteps()} | options
        self.solver = pde.Solver(
            equation, grid, order=order, boundary=boundary, stepping=stepping(speed, substeps=substeps), **options
        )
        places = [random.random((2, n, len(shape))) * grid.extent for n in (3, 4)]
        relief = boundary.relief(len(shape))
        for points in places if relief is not None else []:
            points[..., 0] = np.maximum(points[..., 0], relief.max())  # on its lowest point, or below
        samples = random.standard_normal((2, 3, steps)).astype(dtype)
        self.survey = pde.Survey(*places, pde.Wavelet(samples, step), source_field=fields[0], receiver_field=fields[1])
        self.random = random
        if values is not None:
            self.args: tuple[np.ndarray, ...] = (samples, *values(random))
            return
        scale = {"speed": 1500.0, "buoyancy": 1e-3, "bulk": 3e9, "decay": 20.0, "density": 1e3, "p_speed": 1700.0, "s_speed": 700.0}
        scale["mix"] = 0.3
        made = [(scale[name] * (1.0 + 0.6 * random.random(shape))).astype(dtype) for name in equation.parameters]
        if "s_speed" in equation.parameters:  # water above
            made[list(equation.parameters).index("s_speed")][: shape[0] // 3] = 0.0
        self.args = (samples, *made)

    def gathers(self, samples: Any, *values: Any) -> Any:
        """Return the gathers of these samples and parameters."""
        wavelet = pde.Wavelet(samples, self.survey.wavelet.step)
        return self.solver.solve(self.survey.with_wavelet(wavelet), **dict(zip(self.solver.equation.parameters, values, strict=True)))

    def directions(self, size: float = 0.1) -> tuple[np.ndarray, ...]:
        """Return random perturbations of `args`, `size` of their largest values."""
        return tuple((size * np.abs(x).max() * self.random.standard_normal(x.shape)).astype(x.dtype) for x in self.args)

    def with_gradients(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Return gathers, the cotangents of `args` for weights of the gathers (drawn if not given), and those weights."""
        out, pull = vjp(self.gathers, *self.args)
        if weights is None:
            weights = self.random.standard_normal(out.shape).astype(out.dtype)
        return out.numpy(), [g.numpy() for g in pull(weights)], weights


@contextmanager
def interpreter() -> Iterator[None]:
    """Run the interpreter instead of kernels, as on a machine without a C compiler."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", SpeedWarning)
        patch.setattr(simulation, "find_compiler", lambda: None)
        yield


def difference(result: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest difference relative to the largest value."""
    assert result.shape == reference.shape and result.dtype == reference.dtype
    assert np.abs(reference).max() > 0.0
    return float(np.abs(result - reference).max() / np.abs(reference).max())


def hold_to_the_interpreter(case: "Case", tolerance: float) -> None:
    """Check that gathers and gradients of the kernels are the interpreter's; where one of its arrays is 0, so is the kernels'."""
    out, gradients, weights = case.with_gradients()
    with interpreter():
        expected, expected_gradients, _ = case.with_gradients(weights)
    for got, want in zip((out, *gradients), (expected, *expected_gradients), strict=True):
        assert difference(got, want) < tolerance if want.any() else not got.any()


def counted(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """Return a function that notes its positional arguments in a list."""
    calls: list[Any] = []

    def noting(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    return noting, calls
