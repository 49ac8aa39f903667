"""The whole house in a few seconds: one small inversion that touches every floor, and what must hold on each."""

import subprocess
import sys

import numpy as np
import pytest

import hyperion as hp
from hyperion import config, inversion, io, optim, pde, plot, testing
from hyperion.cli import main
from hyperion.errors import HyperionError, InputError

SHAPE, SPACING = (24, 30), (20.0, 20.0)


@pytest.fixture(scope="module")
def experiment():
    """A solver in float64, a survey of two shots, the true and the start model."""
    true = np.full(SHAPE, 2000.0)
    true[14:, 10:22] = 2300.0
    line = np.stack([np.full(15, 40.0), np.arange(15) * 40.0 + 7.0], axis=-1)
    sources = np.array([[[45.0, 100.0]], [[45.0, 470.0]]])
    wave = pde.Solver(pde.Acoustic(), pde.Grid(SHAPE, SPACING), order=4, boundary=pde.CPML(width=8), storage=pde.EverySteps())
    survey = pde.Survey(sources, np.stack([line, line]), pde.ricker(6.0, duration=0.6, step=2e-3))
    return wave, survey, true, np.full(SHAPE, 2000.0)


def test_errors_and_config():
    assert issubclass(InputError, HyperionError) and issubclass(InputError, ValueError)
    assert config.threads() >= 1 and config.cache_folder("cpu").name == "cpu"


def test_autograd():
    x = hp.asarray([0.3, 0.7], requires_grad=True)
    hp.sum(hp.sin(x) ** 2).backward()
    assert np.allclose(np.asarray(x.grad), np.sin(2 * np.array([0.3, 0.7])), rtol=1e-6)        # float32: eps is 1.2e-7


def test_an_inversion_from_file_to_picture(experiment, tmp_path):
    wave, survey, true, start = experiment
    np.save(tmp_path / "true.npy", true)
    observed = wave.solve(survey, speed=io.read_model(tmp_path / "true.npy"))
    assert observed.shape == (2, 15, 300)

    misfit = hp.value_and_grad(lambda c: inversion.l2(wave.solve(survey, speed=c), observed))
    assert float(misfit(true)[0]) == 0
    first = float(misfit(start)[0])
    optimizer = optim.LBFGS(hp.asarray(start), bounds=(1500.0, 3000.0))
    for _ in range(4):
        optimizer.advance(misfit)
    inverted = np.asarray(optimizer.parameters)
    assert float(misfit(inverted)[0]) < 0.3 * first
    assert np.linalg.norm(inverted - true) < np.linalg.norm(start - true)

    results = io.Results(tmp_path / "result.h5")
    results.write("model", inverted, "m/s", (io.Axis("depth", "m", 20.0), io.Axis("distance", "m", 20.0)))
    results.save()
    assert np.array_equal(results.read("model"), inverted)
    plot.models({"True": true, "Inverted": inverted}, SPACING).savefig(tmp_path / "models.png")
    assert (tmp_path / "models.png").stat().st_size > 10_000


def test_the_adjoint_is_exact(experiment):
    wave, survey, true, _ = experiment
    # float64, 300 steps: rounding alone gives some 1e-14
    assert testing.dot_test(lambda c: wave.solve(survey, speed=c), (hp.asarray(true),), tolerance=1e-12) < 1e-12


def test_a_scenario(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "wavefield", "--smoke"]) == 0
    assert (tmp_path / "runs/wavefield/report.html").exists() and (tmp_path / "runs/wavefield/fields.xdmf").exists()


def test_importing_hyperion_imports_no_peer_and_no_cupy():
    heavy = ("torch", "jax", "cupy", "deepwave", "matplotlib.pyplot")
    code = f"import sys, hyperion, hyperion.pde, hyperion.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
