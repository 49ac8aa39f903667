"""micrograd's example expression, and its two moons: the scenario, through the command line, resumed, and with wrong options."""

import h5py
import numpy as np
import pytest

import hyperion as hp
from hyperion.cli import main


def expression(a, b):
    """The example of micrograd's README."""
    c = a + b
    d = a * b + b ** 3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + hp.relu(b + a)
    d = d + 3 * d + hp.relu(b - a)
    e = c - d
    f = e ** 2
    g = f / 2.0
    return g + 10.0 / f


def test_the_expression_gives_micrograds_numbers() -> None:
    value, gradient = hp.value_and_grad(expression, argnums=(0, 1))(-4.0, 2.0)
    assert f"{value.item():.4f}" == "24.7041"
    assert [f"{g.item():.4f}" for g in gradient] == ["138.8338", "645.5773"]


def test_and_so_does_backward() -> None:
    a, b = hp.asarray(-4.0, requires_grad=True), hp.asarray(2.0, requires_grad=True)
    expression(a, b).backward()
    assert f"{a.grad.item():.4f}" == "138.8338" and f"{b.grad.item():.4f}" == "645.5773"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(path):
    with h5py.File(path / "result.h5") as file:
        layers = [np.asarray(file[f"layers/{n}/{name}"]) for n in (1, 2, 3) for name in ("weight", "bias")]
        return dict(file.attrs), layers, np.asarray(file["iterations/accuracy"]), np.asarray(file["iterations/loss"])


def test_two_moons_are_told_apart_in_100_steps(here) -> None:
    assert main(["run", "moons", "--out", "out"]) == 0
    facts, layers, accuracies, losses = results(here / "out")
    assert facts["parameters"] == sum(layer.size for layer in layers) == 337
    assert len(accuracies) == 100 and facts["accuracy (%)"] == accuracies[-1] == 100.0 and losses[-1] < 0.02
    assert {path.stem for path in (here / "out/figures").glob("*.png")} == {"boundary", "training"}


def test_a_run_goes_on_where_it_stopped_and_ends_the_same(here) -> None:
    assert main(["run", "moons", "--smoke", "--out", "whole"]) == 0
    assert main(["run", "moons", "--smoke", "--out", "part"]) == 0
    previous = here / "part/checkpoint-previous.h5"
    assert previous.exists()
    previous.replace(here / "part/checkpoint.h5")
    assert main(["run", "moons", "--smoke", "--out", "part", "--resume"]) == 0
    for a, b in zip(results(here / "whole")[1:], results(here / "part")[1:], strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("words", "text"), [
    (["--samples", "1"], "--samples 1: give at least 2"), (["--steps", "0"], "--steps 0: give at least 1"),
    (["--hidden", "16,0"], "--hidden [16, 0]: give the neurons of each hidden layer"),
])
def test_wrong_options_are_refused_before_anything_is_written(here, capsys, words, text) -> None:
    assert main(["run", "moons", *words, "--out", "out"]) == 2
    assert text in capsys.readouterr().err and not (here / "out").exists()


def test_the_moons_lie_on_half_circles() -> None:
    from hyperion.cli.scenarios import find_scenario

    make_moons = find_scenario("moons").load().__globals__["make_moons"]
    points, classes = make_moons(51, 0.0, np.random.default_rng(0))
    upper, lower = points[classes == -1.0], points[classes == 1.0]
    assert len(upper) == 25 and len(lower) == 26
    np.testing.assert_allclose(np.hypot(*upper.T), 1.0)
    np.testing.assert_allclose(np.hypot(*(lower - [1.0, 0.5]).T), 1.0)
    assert upper[:, 1].min() > -1e-12 and lower[:, 1].max() < 0.5 + 1e-12
