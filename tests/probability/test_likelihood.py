"""The scenario likelihood through the command line: what it finds, what it writes, resuming, and refusals with exit code 2."""

import h5py
import numpy as np
import pytest

from hyperion import io
from hyperion.cli import main

TRUTH = np.array([np.log(2.0), 1.1, 6e-3, -2.0 * np.log(0.4)])


def read(run, *names):
    with h5py.File(run / "result.h5") as file:
        return [np.asarray(file[name]) for name in names]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "likelihood"
    assert main(["run", "likelihood", "--stations", "400", "--replicates", "60", "--out", str(out)]) == 0
    return out


def test_the_run_directory_is_complete(finished):
    assert {path.stem for path in (finished / "figures").glob("*.png")} == {"amplitudes", "parameters"}
    assert {"config.toml", "versions.toml", "log.txt", "report.html", "result.h5"} <= {path.name for path in finished.iterdir()}
    with h5py.File(finished / "result.h5") as file:
        assert file["distance"].attrs["unit"] == "km" and list(file["estimate"].attrs["names"])[1] == "spreading"
        assert "true: 1.1" in file.attrs["spreading"]


def test_the_true_parameters_are_within_their_errors_and_the_bootstrap_agrees(finished):
    estimate, covariance, found = read(finished, "estimate", "covariance", "bootstrap")
    error = np.sqrt(np.diag(covariance))
    assert (np.abs(estimate - TRUTH) < 4.4 * error).all()
    # A standard deviation of 60 normal numbers has a relative standard deviation of 1 / sqrt(120) = 9 %: four of them, and 4 parameters.
    np.testing.assert_allclose(found.std(axis=0, ddof=1) / error, 1.0, atol=0.36)
    assert (np.abs(found.mean(axis=0) - estimate) < 5.0 * error / np.sqrt(60)).all()


def test_the_standard_errors_are_those_of_the_information(finished):
    """The expected information of a gamma regression with a log link: shape X^T X, and n (shape^2 psi'(shape) - shape) for log shape."""
    from scipy.special import polygamma

    estimate, covariance, distance = read(finished, "estimate", "covariance", "distance")
    shape = np.exp(estimate[3])
    columns = np.stack([np.ones_like(distance), -np.log(distance / 10.0), -(distance - 10.0)], axis=1)
    expected = np.linalg.inv(shape * columns.T @ columns)
    # Observed and expected information differ by the scatter of the data: relative 1 / sqrt(400), a few times over.
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[:3]), np.sqrt(np.diag(expected)), rtol=0.15)
    np.testing.assert_allclose(covariance[3, 3], 1.0 / (400 * (shape**2 * polygamma(1, shape) - shape)), rtol=1e-6)


def test_a_resumed_run_ends_as_an_undisturbed_one(tmp_path):
    """A checkpoint of the first replicates, as a killed run leaves it, leads to the same end."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(["run", "likelihood", "--smoke", "--out", str(whole)]) == 0
    assert main(["run", "likelihood", "--smoke", "--out", str(broken)]) == 0
    state = io.load_tree(broken / "checkpoint.h5")
    assert state["found"].shape == (6, 4)
    io.save_tree(broken / "checkpoint.h5", {"found": state["found"][:2]})
    assert main(["run", "likelihood", "--out", str(broken), "--resume", "--smoke"]) == 0
    for a, b in zip(read(whole, "bootstrap", "estimate"), read(broken, "bootstrap", "estimate"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_data_of_a_file_are_fitted_as_those_made_here(finished, tmp_path):
    distance, amplitude, expected = read(finished, "distance", "amplitude", "estimate")
    np.savetxt(tmp_path / "data.csv", np.stack([distance, amplitude], axis=1), delimiter=",", fmt="%.17g")
    assert main(["run", "likelihood", "--data", str(tmp_path / "data.csv"), "--replicates", "2", "--out", str(tmp_path / "run")]) == 0
    np.testing.assert_allclose(read(tmp_path / "run", "estimate")[0], expected, rtol=1e-6)


@pytest.mark.parametrize("words, message", [
    (["--replicates", "1"], "--replicates 1: must be at least 2"),
    (["--stations", "3"], "--stations 3 must be 8 or more"),
    (["--nearest", "500"], "--nearest 500"),
    (["--data", "missing.csv"], "missing.csv"),
    (["--data", "wrong.csv"], "give two columns above 0"),
    (["--data", "text.csv"], "give a text file"),
])
def test_wrong_options_are_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.csv").write_text("1.0,2.0\n3.0,-4.0\n")
    (tmp_path / "text.csv").write_text("distance;amplitude\n")
    assert main(["run", "likelihood", *words, "--out", "run"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
