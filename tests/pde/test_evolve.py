"""Fields from an instant to a later one: laws of the derivatives, chains of calls, closed forms, what is refused."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.autograd import hvp, jvp, vjp
from hyperion.errors import DtypeError, InputError, NonFiniteError, ShapeError, StabilityError
from tests.pde.cases import Cubic, PressureVelocity, Reacting, difference, interpreter
from tests.pde.registry import MIXTURE

SHAPE = (20, 23)


class Run:
    """A random medium and random fields of an equation, and the fields after some steps as a function of both."""

    def __init__(self, equation, ranges, boundary, *, order=4, steps=9, speed=3000.0, size=1.0, stepping=pde.Leapfrog, **options):
        random = np.random.default_rng(3)
        grid = pde.Grid(SHAPE, (5.0, 6.0))
        self.solver = pde.Solver(equation, grid, order=order, boundary=boundary, stepping=stepping(speed), **options)
        self.medium = {k: low + (high - low) * random.random(SHAPE) for k, (low, high) in ranges.items()}
        self.step, self.steps, self.random = 6e-4, steps, random
        # A rate of change that moves the field by as much as itself in ten steps.
        self.fields = {}
        for f, field in equation.fields.items():
            self.fields[f] = size * random.standard_normal(SHAPE) * (1e3 if field.unit == "Pa" and "vx" in equation.fields else 1.0)
            if field.time_order == 2:
                self.fields[f"{f}.rate"] = size / (10 * self.step) * random.standard_normal(SHAPE)

    @property
    def args(self):
        """The fields, then the medium."""
        return (*self.fields.values(), *self.medium.values())

    def __call__(self, *args, steps=None):
        """The fields after the steps, in the order of the arguments."""
        fields = dict(zip(self.fields, args, strict=False))
        medium = dict(zip(self.medium, args[len(fields):], strict=True))
        out = self.solver.evolve(fields, (steps or self.steps) * self.step, step=self.step, **medium)
        return tuple(out[f] for f in self.fields)

    def directions(self):
        """Random perturbations, a tenth of the arguments' size."""
        return tuple(0.1 * np.abs(x).max() * self.random.standard_normal(x.shape) for x in self.args)

    def weights(self):
        """Random weights of the fields after the steps, such that all count alike."""
        return tuple(self.random.standard_normal(SHAPE) / np.abs(x).max() for x in self.fields.values())


SPEED, FLOW = {"speed": (1500.0, 2400.0)}, {"buoyancy": (0.6, 1.0), "bulk": (3e6, 5e6)}
RUNS = {
    "acoustic-periodic": lambda **o: Run(pde.Acoustic(), SPEED, pde.Periodic(), **o),
    "acoustic-layer": lambda **o: Run(pde.Acoustic(), SPEED, pde.CPML(width=4), **o),
    "pair-layer": lambda **o: Run(PressureVelocity(), FLOW, pde.CPML(width=4), **o),
    "acoustic-sides": lambda **o: Run(pde.Acoustic(), SPEED, pde.Sides(pde.CPML(width=4), top=pde.FreeSurface(), right=pde.Rigid()), **o),
    "pair-sides": lambda **o: Run(
        PressureVelocity(), FLOW, pde.Sides(pde.CPML(width=0), bottom=pde.FreeSurface(), right=pde.Rigid()), **o
    ),
    "acoustic-RungeKutta4": lambda **o: Run(pde.Acoustic(), SPEED, pde.Periodic(), stepping=pde.RungeKutta4, **o),
    "acoustic-LaxWendroff": lambda **o: Run(pde.Acoustic(), SPEED, pde.CPML(width=4), stepping=pde.LaxWendroff, **o),
    "cubic-periodic": lambda **o: Run(Cubic(), SPEED | {"stiffness": (1e5, 2e5)}, pde.Periodic(), **o),
    "reacting-layer": lambda **o: Run(Reacting(), MIXTURE, pde.CPML(width=4), size=0.3, **o),
}
every_run = pytest.mark.parametrize("name", list(RUNS))


def inner(a, b):
    return sum(float(np.vdot(np.asarray(x), np.asarray(y))) for x, y in zip(a, b, strict=True))


def numbers(tensors):
    return [x.numpy() for x in tensors]


@every_run
def test_kernels_equal_the_interpreter(name):
    run = RUNS[name]()
    weights = run.weights()
    out, pull = vjp(run, *run.args)
    gradients = numbers(pull(weights))
    with interpreter():
        expected, expected_pull = vjp(run, *run.args)
        expected_gradients = numbers(expected_pull(weights))
    for got, want in zip([*numbers(out), *gradients], [*numbers(expected), *expected_gradients], strict=True):
        assert difference(got, want) < 1e3 * np.finfo(np.float64).eps             # as in test_laws


@pytest.mark.parametrize("steps", [1, 8, 9])                                      # both orders of the two time levels
@every_run
def test_the_adjoint_is_exact(name, steps):
    run = RUNS[name](steps=steps)
    directions, weights = run.directions(), run.weights()
    tangent = numbers(jvp(run, run.args, directions)[1])
    back = numbers(vjp(run, *run.args)[1](weights))
    size = np.sqrt(inner(tangent, tangent) * inner(weights, weights))
    assert abs(inner(tangent, weights) - inner(back, directions)) < 1e-12 * size


@every_run
def test_tangents_are_slopes_and_hessians_symmetric(name):
    run = RUNS[name](storage=pde.Checkpoints(bytes=1_200_000))
    u, v, weights = run.directions(), run.directions(), run.weights()
    h = 1e-5                                                                      # truncation h^2 = 1e-10, rounding eps / h = 2e-11
    ahead, behind = (numbers(run(*(x + s * h * d for x, d in zip(run.args, u, strict=True)))) for s in (1.0, -1.0))
    for got, a, b in zip(numbers(jvp(run, run.args, u)[1]), ahead, behind, strict=True):
        assert difference(got, (a - b) / (2.0 * h)) < 1e-7

    def loss(args):
        return sum((hp.sum((w * x) ** 2) for w, x in zip(weights, run(*args), strict=True)), start=0.0)

    hu, hv = (numbers(hvp(loss, (run.args,), (d,))[0]) for d in (u, v))
    assert abs(inner(hu, v) - inner(hv, u)) < 1e-12 * np.sqrt(inner(hu, hu) * inner(v, v))


@pytest.mark.parametrize("name", ["acoustic-periodic", "acoustic-RungeKutta4", "cubic-periodic", "pair-sides"])
def test_two_durations_are_one(name):
    run = RUNS[name]()
    once = run(*run.args, steps=11)
    twice = run(*run(*run.args, steps=4), *run.medium.values(), steps=7)
    for got, want in zip(numbers(twice), numbers(once), strict=True):
        assert difference(got, want) < 1e2 * np.finfo(np.float64).eps * 11         # the rate is divided by the step and multiplied again


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
@pytest.mark.parametrize("storage", [pde.EverySteps(), pde.Checkpoints(bytes=2_000_000)], ids=repr)
@pytest.mark.parametrize("boundary", [pde.Periodic(), pde.CPML(width=4)], ids=repr)
def test_surveys_start_from_fields_too(boundary, storage):
    run = RUNS["cubic-periodic"]()
    nodes = np.array([[[3, 4], [10, 7], [19, 22]]] * 2)
    wave = pde.Solver(Cubic(), run.solver.grid, order=4, boundary=boundary, stepping=pde.Leapfrog(3000.0, substeps=1), storage=storage)
    samples = 1e7 * run.random.standard_normal((2, 1, 9))
    survey = pde.Survey(np.full((2, 1, 2), 40.0), nodes * np.array([5.0, 6.0]), pde.Wavelet(samples, run.step))

    def gathers(p, rate, speed, stiffness):
        return wave.solve(survey, initial={"p": p, "p.rate": rate}, speed=speed, stiffness=stiffness)

    silent = wave.solve(
        survey.with_wavelet(pde.Wavelet(0.0 * samples, run.step)), initial=run.fields, **run.medium
    ).numpy()
    for n in (0, 1, 5):                                                           # receivers on nodes hear the nodes
        fields = wave.evolve(run.fields, n * run.step, step=run.step, **run.medium) if n else {"p": hp.asarray(run.fields["p"])}
        at = fields["p"].numpy()[tuple(nodes[0].T)]
        assert np.abs(silent[0, :, n] - at).max() < 1e-12 * np.abs(at).max()
    directions = run.directions()
    out, tangent = (x.numpy() for x in jvp(gathers, run.args, directions))
    assert difference(out, silent) > 0.01
    weights = run.random.standard_normal(out.shape)
    back = numbers(vjp(gathers, *run.args)[1](weights))
    assert abs(np.vdot(tangent, weights) - inner(back, directions)) < 1e-12 * np.linalg.norm(tangent) * np.linalg.norm(weights)
    with interpreter():
        assert difference(out, gathers(*run.args).numpy()) < 1e-12


def test_a_standing_wave():
    # p = cos(k x) cos(omega t) on a periodic grid: of fourth order in space only the time step's error is left.
    n, h, speed = 40, 10.0, 2000.0
    wave = pde.Solver(pde.Acoustic(), pde.Grid((n, n), h), order=16, boundary=pde.Periodic())
    k = 2 * np.pi / (n * h)
    shape = np.cos(k * h * np.arange(n)) * np.ones((n, n))
    for step in (1e-3, 5e-4):
        for start, exact in (({"p": shape}, np.cos), ({"p.rate": speed * k * shape}, np.sin)):
            got = wave.evolve(start, 0.3, step=step, speed=np.full((n, n), speed))["p"].numpy()
            error = np.abs(got - shape * exact(speed * k * 0.3)).max()
            assert error < 1.1 * speed * k * 0.3 * (speed * k * step) ** 2 / 24 + (speed * k * step) ** 2 / 6


def wrong(**changes):
    """Return a call of evolve with some arguments changed."""
    grid = pde.Grid(SHAPE, 10.0)
    field, speed = np.ones(SHAPE), np.full(SHAPE, 2000.0)
    arguments = {"initial": {"p": field}, "duration": 0.01, "speed": speed} | changes
    return lambda: pde.Solver(pde.Acoustic(), grid, boundary=pde.Periodic(), order=4).evolve(**arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"initial": np.ones(SHAPE)}, InputError, r"evolve\(initial=ndarray\): give a dict, such as {'p': array}"),
        ({"initial": {"q": np.ones(SHAPE)}}, InputError, r"evolve\(initial={'q': ...}\): Acoustic has no .*valid: p, p.rate"),
        ({"initial": {"p": np.ones((3, 3))}}, ShapeError, r"evolve\(initial\['p'\] of shape \(3, 3\)\): the grid has shape"),
        ({"initial": {"p": np.ones(SHAPE, np.float32)}}, DtypeError, r"of dtype float32\): the parameters have float64"),
        ({"initial": {"p": np.ones(SHAPE, int)}}, DtypeError, r"of dtype int64\): use float32 or float64"),
        ({"initial": {"p": np.full(SHAPE, np.nan)}}, InputError, r"initial\['p'\]\): nan at node \(0, 0\)"),
        ({"duration": 0.0}, InputError, r"evolve\(duration=0.0\): give a positive number of seconds"),
        ({"duration": np.inf}, InputError, r"evolve\(duration=inf\)"),
        ({"duration": "1"}, InputError, r"evolve\(duration='1'\)"),
        ({"duration": 1e12}, InputError, r"steps of .* in SI units"),
        ({"step": -1.0}, InputError, r"evolve\(step=-1.0\)"),
        ({"step": 1.0}, StabilityError, r"evolve\(step=1 s\) exceeds the stable"),
    ],
)
def test_refused(changes, error, message):
    with pytest.raises(error, match=message):
        wrong(**changes)()


def test_a_field_that_explodes_is_an_error():
    run = RUNS["cubic-periodic"](size=1e3)
    with pytest.raises(NonFiniteError, match="became NaN or infinite"):
        run(*run.args, steps=40)


@pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
def test_surveys_refuse_what_evolve_refuses():
    survey = pde.Survey([[[50.0, 50.0]]], [[[80.0, 80.0]]], pde.ricker(5.0, 0.1, 1e-3))
    wave = pde.Solver(pde.Acoustic(), pde.Grid(SHAPE, 10.0))
    with pytest.raises(InputError, match=r"solve\(initial={'v': ...}\)"):
        wave.solve(survey, initial={"v": np.ones(SHAPE)}, speed=np.full(SHAPE, 2000.0))
