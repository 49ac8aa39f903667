"""The scenarios of operators through the command line: runs that learn, files of others, refusals with exit code 2; and their parts."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from hyperion import nn, operators, pde
from hyperion.cli import main

ROOT = Path(__file__).resolve().parents[2]


def script(name):
    """Return a scenario as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scenarios" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def facts(run):
    with h5py.File(run / "result.h5") as file:
        return dict(file.attrs)


def run(name, tmp_path, *words):
    return main(["run", name, "--smoke", *map(str, words), "--out", str(tmp_path / "run")])


def test_darcy_learns_and_answers_on_the_finer_grid(tmp_path):
    words = ["--slopes", "true", "--physics", "0.003", "--examples", 60, "--epochs", 20, "--width", 8, "--rate", "2e-2"]
    assert run("fno_darcy", tmp_path, *words) == 0
    found = facts(tmp_path / "run")
    coarse, fine = (found[f"relative L2 error on {n} x {n} nodes"] for n in (17, 33))
    assert coarse < 0.25
    assert fine == pytest.approx(coarse, rel=0.1)


def test_darcy_reads_files_of_others(tmp_path):
    draw = np.random.default_rng(0).random((12, 16, 16))
    np.savez(tmp_path / "data.npz", x=draw > 0.5, y=draw.astype(np.float32))
    assert run("fno_darcy", tmp_path, "--data", tmp_path / "data.npz", "--examples", 10, "--tested", 2, "--epochs", 4) == 0
    assert "relative L2 error on 16 x 16 nodes" in facts(tmp_path / "run")


@pytest.mark.parametrize("words, message", [
    (["fno_darcy", "--examples", "3"], "--examples 3 must be at least --batch 10"),
    (["fno_darcy", "--resolution", "4"], "--resolution 4 must be above --modes 4"),
    (["fno_darcy", "--epochs", "1"], "2 steps are too few"),
    (["fno_darcy", "--data", "x.npz", "--physics", "1"], "--physics and --data"),
    (["fno_darcy", "--data", "x.npz"], "no such file"),
    (["fno_navier_stokes", "--given", "4"], "--given 4 must be at least 1 and below --times 4"),
    (["fno_navier_stokes", "--resolution", "15"], "--resolution 15 must be even"),
    (["fno_navier_stokes", "--tested", "0"], "--tested 0"),
    (["fno_burgers", "--resolution", "33"], "--resolution 33 must be even"),
    (["deeponet_advection", "--points", "1"], "at least 2"),
])
def test_refusals(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(words[0], tmp_path, *words[1:]) == 2
    assert message in capsys.readouterr().err


def test_the_darcy_network_is_zero_on_the_edges_and_its_physics_is_the_solvers():
    darcy = script("fno_darcy")
    a, u = darcy.make(4, 17, SimpleNamespace(seed=0, low=3.0, high=12.0), "cpu")
    assert set(np.unique(a)) == {3.0, 12.0}
    model = darcy.Pressure(operators.FNO((4, 4), 4, 1), a, u)
    out = model(a).detach().numpy()
    assert out.shape == u.shape
    assert not np.any(out[..., [0, -1], :]) and not np.any(out[..., [0, -1]])
    away = darcy.loss_of(SimpleNamespace(slopes=False, physics=1.0), 17)
    assert float(away(lambda a: u, a, u)) < 1e-5            # float32 pressures differenced twice: 6e-8 / h^2 of 12 u
    solved = pde.DarcySolver((17, 17)).solve(a[:, 0].astype(float), 1.0).numpy()
    np.testing.assert_allclose(u[:, 0], solved, rtol=0, atol=1e-6 * solved.max())


@pytest.mark.parametrize("along_time", [False, True])
def test_forecasts_have_all_later_times(along_time):
    flow = script("fno_navier_stokes")
    nn.seed(0)
    config = SimpleNamespace(times=9, given=3, along_time=along_time, modes=4, modes_in_time=4, width=4, layers=1, resolution=16, refine=2,
                             examples=2, tested=1, seed=0, time_step=0.1, viscosity=1e-2)
    states, fine = flow.make(config, "cpu")
    assert states.shape == (3, 9, 16, 16) and fine.shape == (1, 9, 32, 32)
    assert np.array_equal(states[2], fine[0][:, ::2, ::2])
    out = operators.Normalized(flow.Forecast(config), states[:, :3], states[:, 3:])(states[:, :3])
    assert out.shape == (3, 6, 16, 16)


def test_waves_are_carried_once_around():
    waves = script("deeponet_advection").make(5, 21, seed=1)
    assert np.array_equal(waves[:, 0], waves[:, -1])                                    # after time 1 the circle is closed
    assert np.array_equal(waves[:, 5, 5:-1], waves[:, 0, :-6])                          # a quarter on
    assert 1.0 <= waves.max(axis=(1, 2)).min() and waves.max() <= 2.0
