"""A network as the model: the gradient through solver and network, the first model, bounds and fixed nodes; random models."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import inversion, nn, optim, pde
from hyperion.errors import InputError, ShapeError
from hyperion.testing import taylor_test
from tests.gpu import emulator, standin

GRID = pde.Grid((20, 28), 20.0)
START = np.linspace(1600.0, 2600.0, 20)[:, None] * np.ones((1, 28))
WATER = np.arange(20)[:, None] * np.ones((1, 28)) < 3
BOUNDS = (1400.0, 4500.0)


def siren(dtype="float64"):
    return nn.SIREN([2, 12, 12, 1], 8.0, dtype=dtype), inversion.coordinates(GRID).astype(dtype)


def decoder(dtype="float64"):
    network, code = inversion.decoder(GRID, hp.random.Generator(1), width=8)                     # 32 x 32: more than the grid has
    return network.to(dtype=dtype), code.astype(dtype)


@pytest.mark.parametrize("make", [siren, decoder])
def test_the_gradient_through_solver_and_network_is_that_of_finite_differences(make):
    nn.seed(0)
    wave = pde.Solver(pde.Acoustic(), GRID, order=4, boundary=pde.CPML(width=8), stepping=pde.Leapfrog(max_speed=BOUNDS[1]))
    survey = inversion.surface_survey(GRID, pde.ricker(5.0, 0.6, 2e-3), 2, 14, 40.0, 40.0)
    observed = wave.solve(survey, speed=START * 1.05)
    model = inversion.NeuralModel(*make(), START, BOUNDS, WATER, scale=100.0)
    draw = np.random.default_rng(0)
    model = hp.tree_map(lambda p: p + 0.1 * draw.standard_normal(p.shape), model)                # away from the start, where all is smooth
    direction = hp.tree_map(lambda p: hp.asarray(draw.standard_normal(p.shape)), model)
    orders = taylor_test(lambda m: inversion.l2(wave.solve(survey, speed=m()), observed), model, direction, step=2e-3, reverse=True)
    assert all(1.9 < order < 2.1 for order in orders), orders


@pytest.mark.parametrize("make", [siren, decoder])
def test_it_begins_at_the_start_stays_in_bounds_and_leaves_fixed_nodes(make):
    nn.seed(1)
    model = inversion.NeuralModel(*make("float32"), START.astype(np.float32), BOUNDS, WATER)
    assert np.array_equal(model().detach().numpy(), START.astype(np.float32))
    changed = hp.tree_map(lambda p: p + 3.0 * np.random.default_rng(p.size).standard_normal(p.shape).astype(np.float32), model)()
    changed = changed.detach().numpy()
    assert np.array_equal(changed[WATER], START[WATER].astype(np.float32))
    assert changed.min() >= BOUNDS[0] and changed.max() <= BOUNDS[1] and np.ptp(changed[~WATER]) > 100.0
    assert changed.dtype == np.float32


def test_its_state_holds_what_it_began_with():
    nn.seed(2)
    model = inversion.NeuralModel(*siren(), START, BOUNDS)
    nn.seed(3)
    other = inversion.NeuralModel(*siren(), START, BOUNDS)
    moved = hp.tree_map(lambda p: p + 0.01, model)
    other.load_state_dict(moved.state_dict())
    assert np.array_equal(other().detach().numpy(), moved().detach().numpy())
    assert not np.array_equal(moved().detach().numpy(), START)


@pytest.mark.parametrize("error, match, options", [
    (InputError, "two numbers", {"bounds": (4500.0, 1400.0)}),
    (InputError, "two numbers", {"bounds": None}),
    (InputError, "leave bounds", {"bounds": (1800.0, 4500.0)}),
    (InputError, "network=3", {"network": 3}),
    (InputError, "give a Module", {"network": nn.SIREN}),
    (InputError, r"NaN or infinite values, 1 of .*, first at node \[3, 5\]", {"start": np.where(np.arange(START.size).reshape(GRID.shape)
                                                                                 == 3 * GRID.shape[1] + 5, np.nan, START)}),
    (InputError, "nothing could change", {"fixed": np.ones(GRID.shape, bool)}),
    (ShapeError, "give booleans", {"fixed": np.zeros((3, 3), bool)}),
    (InputError, "scale=0", {"scale": 0.0}),
    (ShapeError, "one value for each node", {"inputs": np.zeros((7, 2))}),
])
def test_what_cannot_be_is_refused(error, match, options):
    network, inputs = siren()
    given = {"network": network, "inputs": inputs, "start": START, "bounds": BOUNDS} | options
    with pytest.raises(error, match=match):
        inversion.NeuralModel(**given)


def test_decoders_that_cannot_be_are_refused():
    for grid, options in ((pde.Grid((8, 8, 8), 1.0), {}), (GRID, {"width": 12}), (GRID, {"channels": 0})):
        with pytest.raises(InputError, match="needs a 2-D grid, a width that is a multiple of 8"):
            inversion.decoder(grid, hp.random.Generator(0), **options)
    with pytest.raises(InputError, match=r"decoder\(generator=Generator"):
        inversion.decoder(GRID, np.random.default_rng(0))
    with pytest.raises(InputError, match="generator=0"):
        inversion.random_layers(GRID, 0, 1)


def test_random_models_are_layers_under_water_and_a_seed_draws_the_same():
    grid = pde.Grid((48, 96), 25.0)
    models = inversion.random_layers(grid, hp.random.Generator(3), 24, water=150.0)
    assert models.shape == (24, 48, 96) and models.dtype == np.float32
    assert np.array_equal(models[3:5], np.stack([inversion.random_layers(grid, hp.random.Generator(3), 5, water=150.0)[i] for i in (3, 4)]))
    assert not np.array_equal(models[0], models[1])
    depth = grid.axis(0)
    assert np.all(models[:, depth < 150.0] == 1500.0) and np.all(models[:, depth >= 150.0] >= 1550.0) and models.max() <= 4300.0
    deep, shallow = models[:, depth > 900.0].mean(), models[:, (depth >= 150.0) & (depth < 400.0)].mean()
    assert deep > shallow + 500.0
    assert 4 < (models.max(axis=(1, 2)) > 3550.0).sum() < 22                            # about half have salt; sediments end near 3480
    assert (inversion.random_layers(grid, hp.random.Generator(3), 24, water=150.0, salt=0.0).max(axis=(1, 2)) > 4000.0).sum() == 0


@pytest.mark.parametrize("match, call", [
    ("2-D grid", lambda: inversion.random_layers(pde.Grid((20, 20, 20), 10.0), hp.random.Generator(0), 1)),
    ("at most 90 %", lambda: inversion.random_layers(GRID, hp.random.Generator(0), 1, water=390.0)),
    ("at least 1", lambda: inversion.random_layers(GRID, hp.random.Generator(0), 0)),
    ("a probability", lambda: inversion.random_layers(GRID, hp.random.Generator(0), 1, salt=1.5)),
])
def test_random_models_that_cannot_be_are_refused(match, call):
    with pytest.raises(InputError, match=match):
        call()


@pytest.mark.parametrize("shape", [(1, 1, 12, 8), (2, 48), (48, 2)])
def test_a_network_whose_output_is_no_field_of_the_grid_is_refused(shape):
    with pytest.raises(ShapeError, match="give one value for each node"):
        inversion.NeuralModel(lambda x: hp.zeros(shape), np.zeros(3), np.full((8, 12), 2000.0), (1400.0, 4500.0))


def test_a_network_that_gives_nan_is_refused():
    with pytest.raises(InputError, match="not finite"):
        inversion.NeuralModel(lambda x: hp.zeros((8, 12)) + np.nan, np.zeros(3), np.full((8, 12), 2000.0), (1400.0, 4500.0))


@pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler for the emulator of CUDA kernels")
def test_decoder_and_code_are_on_the_device_of_the_grid(monkeypatch):
    standin.put_in_place(monkeypatch)
    nn.seed(0)
    grid = pde.Grid((24, 32), 20.0, device="cuda:0")
    network, code = inversion.decoder(grid, hp.random.Generator(1), width=8)
    assert code.device == "cuda:0" and all(p.device == "cuda:0" for p in network.parameters())


@pytest.fixture(scope="module")
def lens():
    """(wave, survey, observed, start) of two shots over a fast lens."""
    wave = pde.Solver(pde.Acoustic(), GRID, order=4, boundary=pde.CPML(width=8), stepping=pde.Leapfrog(max_speed=BOUNDS[1]))
    survey = inversion.surface_survey(GRID, pde.ricker(5.0, 0.6, 2e-3), 2, 14, 40.0, 40.0)
    z, x = np.meshgrid(GRID.axis(0), GRID.axis(1), indexing="ij")
    true = START + 200.0 * (np.hypot(z - 200.0, x - 280.0) < 80.0)
    return wave, survey, wave.solve(survey, speed=true).numpy(), START


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_inverting_a_network_is_the_loop_written_out(lens, method):
    wave, survey, observed, start = lens

    def optimiser():
        nn.seed(0)
        model = inversion.NeuralModel(*siren(), start, BOUNDS, WATER, scale=300.0)
        return optim.Adam(model, lr=1e-3) if method == "adam" else optim.LBFGS(model, first_step=0.01)

    one, other, energy = optimiser(), optimiser(), float((observed**2).sum())
    misfit = hp.value_and_grad(lambda m: inversion.l2(wave.solve(survey, speed=m()), observed) * (2.0 / energy))
    steps = list(inversion.invert_network(one, wave, survey, observed, 3))
    values = [other.advance(misfit) for _ in range(3)]
    np.testing.assert_allclose([step.misfit for step in steps], values, rtol=1e-12)
    np.testing.assert_allclose(one.parameters().detach().numpy(), other.parameters().detach().numpy(), rtol=1e-12)
    assert [step.iteration for step in steps] == [1, 2, 3] and steps[-1].penalty == 0.0 and steps[-1].misfit < steps[0].misfit
    assert steps[-1].evaluations == 2 * (3 if method == "adam" else other.evaluations)


def test_shot_images_are_gradients_over_illumination(lens):
    wave, survey, observed, start = lens
    images = inversion.shot_images(wave, survey, observed, start, WATER)
    lit = inversion.Smooth(40.0, GRID.spacing)(inversion.wave_energy(wave, survey, start))
    slope = hp.grad(lambda c: inversion.l2(wave.solve(survey, speed=c), observed))(start).numpy()
    expected = np.where(WATER, 0.0, slope / np.sqrt(lit + 0.02))
    together = images.sum(axis=0)
    assert images.shape == (2, *GRID.shape) and images.dtype == np.float32 and np.mean(images**2) == pytest.approx(1.0, rel=1e-4)
    assert not images[:, WATER].any()
    ratio = np.linalg.norm(expected) / np.linalg.norm(together)
    np.testing.assert_allclose(ratio * together, expected, rtol=0, atol=1e-4 * np.abs(expected).max())       # thinned wavefields: 1e-4
    np.testing.assert_array_equal(images, inversion.shot_images(wave, survey, observed, start, WATER, lit))


def test_noise_has_its_level_and_its_band():
    gathers = np.zeros((4, 5, 800), np.float32)
    gathers[..., 100] = 1.0
    noisy = inversion.with_noise(gathers, 0.3, (5.0, 20.0), 4e-3, hp.random.Generator(0))
    noise = (noisy - gathers).astype(float)
    assert noisy.dtype == np.float32 and np.linalg.norm(noise) / np.linalg.norm(gathers) == pytest.approx(0.3, rel=1e-5)
    power, frequency = (np.abs(np.fft.rfft(noise)) ** 2).mean(axis=(0, 1)), np.fft.rfftfreq(800, 4e-3)
    inside = power[(frequency > 7.0) & (frequency < 15.0)].mean()
    assert power[frequency < 1.0].mean() < 0.05 * inside and power[frequency > 60.0].mean() < 0.05 * inside
    assert np.array_equal(inversion.with_noise(gathers, 0.0, (5.0, 20.0), 4e-3, hp.random.Generator(0)), gathers)


@pytest.mark.parametrize("error, match, call", [
    (InputError, "level=-1", lambda: inversion.with_noise(np.ones(9), -1.0, (1.0, 2.0), 4e-3, hp.random.Generator(0))),
    (InputError, "give a level", lambda: inversion.with_noise(np.ones(9), 1.0, (1.0, 2.0), 4e-3, 0)),
    (InputError, "Nyquist", lambda: inversion.with_noise(np.ones(9), 1.0, (2.0, 1.0), 4e-3, hp.random.Generator(0))),
])
def test_noise_that_cannot_be(error, match, call):
    with pytest.raises(error, match=match):
        call()


def test_images_and_inversions_that_cannot_be(lens):
    wave, survey, observed, start = lens
    with pytest.raises(ShapeError, match="the survey gives"):
        inversion.shot_images(wave, survey, observed[:1], start)
    with pytest.raises(ShapeError, match="fixed has shape"):
        inversion.shot_images(wave, survey, observed, start, WATER[1:])
    model = inversion.NeuralModel(*siren(), start, BOUNDS)
    with pytest.raises(ShapeError, match="the survey gives"):
        inversion.invert_network(optim.LBFGS(model), wave, survey, observed[:1], 3)
    broken = np.array(observed)
    broken[0, 1, 4] = np.nan
    with pytest.raises(InputError, match="observed: holds NaN or infinite values, first in shot 0 at receiver 1"):
        inversion.invert_network(optim.LBFGS(model), wave, survey, broken, 3)
    with pytest.raises(InputError, match="observed: is zero everywhere"):
        inversion.invert_network(optim.LBFGS(model), wave, survey, 0.0 * np.array(observed), 3)
    for optimiser, iterations in ((model, 3), (optim.Adam(hp.ones(3)), 3), (optim.LBFGS(model), 0)):
        with pytest.raises(InputError, match="optimiser of a NeuralModel"):
            inversion.invert_network(optimiser, wave, survey, observed, iterations)


def test_bent_layers_get_faster_with_depth_under_a_quiet_part():
    grid = pde.Grid((48, 40), 10.0)
    models = inversion.bent_layers(grid, hp.random.Generator(0), 6, (2000.0, 4000.0), quiet=0.25)
    assert models.shape == (6, 48, 40) and models.dtype == np.float32
    assert (models[:, :12] == 2000.0).all() and models.min() == 2000.0 and models.max() == pytest.approx(4000.0)
    below = models[:, 17:]                                                   # past the ramp: four speeds and no others
    assert np.unique(below.round(2)).tolist() == pytest.approx([2000.0, 2666.67, 3333.33, 4000.0])
    assert (np.diff(models.mean(axis=(0, 2))) >= -1e-3).all() and len({model.tobytes() for model in models}) == 6
    for wrong in ({"count": 0}, {"speeds": (3000.0, 2000.0)}, {"quiet": 1.0}, {"grid": pde.Grid((40,), 10.0)}):
        given = {"grid": grid, "generator": hp.random.Generator(0), "count": 2} | wrong
        with pytest.raises(InputError, match=r"bent_layers\(.*needs a 2-D grid"):
            inversion.bent_layers(**given)
