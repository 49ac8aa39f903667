"""The scenario fwi through the command line: outputs, real input, resuming after SIGKILL, Ctrl-C, and refusals with exit code 2."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from hyperion import io
from hyperion.cli import main

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--smoke", "--iterations", "1", "--geometry.shots", "2", "--wavelet.duration", "1.6"]
FIGURES = {"models", "stages", "difference", "profiles", "gathers", "misfit"}


def command(*words):
    return [sys.executable, "-m", "hyperion", "run", "fwi", *map(str, words)]


def start_process(*words):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), HYPERION_THREADS="1")
    return subprocess.Popen(command(*words), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run of the built-in model."""
    out = tmp_path_factory.mktemp("runs") / "fwi"
    assert main(["run", "fwi", *TINY, "--out", str(out)]) == 0
    return out


def models_of(run):
    with h5py.File(run / "result.h5") as file:
        return {name: np.asarray(file["models"][name]) for name in file["models"]}


def test_the_run_directory_is_complete(finished):
    assert {path.stem for path in (finished / "figures").glob("*.png")} == FIGURES
    assert {"config.toml", "versions.toml", "log.txt", "report.html", "result.h5"} <= {path.name for path in finished.iterdir()}
    with h5py.File(finished / "result.h5") as file:
        shape = file["models/true"].shape
        assert set(file["models"]) == {"true", "start", "inverted", "stage-1", "stage-2"}
        assert all(file["models"][name].shape == shape and file["models"][name].attrs["unit"] == "m/s" for name in file["models"])
        described = file["models/true"].attrs
        assert list(described["axes"]) == ["depth", "distance"] and list(described["axes_step"]) == [50.0, 50.0]
        assert file["observed/gathers"].shape == file["predicted/gathers"].shape == (2, shape[1], 400)
        assert file["observed/gathers"].compression == "gzip"
        assert file["iterations/misfit"].shape == file["iterations/model_error"].shape == (2,)
        assert file.attrs["model error"] == file["iterations/model_error"][-1]
    with open(finished / "log.txt") as log:
        text = log.read()
    assert "inversion: 2/2" in text and "misfit" in text and "left" in text


def test_the_inverted_model_is_better_than_the_first(tmp_path):
    assert main(["run", "fwi", "--smoke", "--iterations", "4,4", "--out", str(tmp_path / "run")]) == 0
    models = models_of(tmp_path / "run")
    distance = {name: np.linalg.norm(models[name] - models["true"]) for name in ("start", "inverted")}
    assert distance["inverted"] < 0.97 * distance["start"]


def test_raw_files_and_numpy_files_give_the_same_run(finished, tmp_path):
    """The built-in model, written as raw float32 with depth fastest in km/s, and as .npy, inverts to the same numbers."""
    models = models_of(finished)
    raw, npy = tmp_path / "vp.f32", tmp_path / "start.npy"
    (models["true"].T / 1000.0).astype("<f4").tofile(raw)
    np.save(npy, (models["start"].T / 1000.0).astype(np.float32))
    shape = ",".join(map(str, models["true"].shape))
    words = ["--model", raw, "--start", npy, "--files.shape", shape, "--files.fastest", "z", "--files.unit", "km/s"]
    assert main(["run", "fwi", *TINY, *map(str, words), "--out", str(tmp_path / "run")]) == 0
    np.testing.assert_allclose(models_of(tmp_path / "run")["inverted"], models["inverted"], rtol=2e-5)  # km/s in float32 and back


def test_observed_gathers_from_a_file(finished, tmp_path):
    """The gathers of a run, given as observed data, lead to the model of that run: geometry and step come from the file."""
    models = models_of(finished)
    np.save(tmp_path / "start.npy", models["start"])
    words = ["--observed", f"{finished / 'result.h5'}:/observed", "--start", str(tmp_path / "start.npy")]
    assert main(["run", "fwi", *TINY, *words, "--out", str(tmp_path / "run")]) == 0
    found = models_of(tmp_path / "run")
    assert "geometry.* is not used" in (tmp_path / "run" / "log.txt").read_text()
    assert "true" not in found
    np.testing.assert_array_equal(found["inverted"], models["inverted"])


def test_data_of_a_finer_grid_invert_too(tmp_path):
    words = ["--smoke", "--iterations", "3,2", "--data.refine", "2", "--geometry.shots", "2", "--out", str(tmp_path / "run")]
    assert main(["run", "fwi", *words]) == 0
    with h5py.File(tmp_path / "run" / "result.h5") as file:
        misfit, stage, error = (np.asarray(file[f"iterations/{name}"]) for name in ("misfit", "stage", "model_error"))
        assert file["observed/gathers"].shape[2] == 500
        observed, predicted = np.asarray(file["observed/gathers"]), np.asarray(file["predicted/gathers"])
    assert misfit[stage == 1][-1] < misfit[0] and error[-1] < error[0]
    assert 1e-5 < np.sum((observed - predicted) ** 2) / np.sum(observed**2) < 0.1  # no inverse crime: the two grids disagree, a little


def test_killed_and_resumed_equals_undisturbed(tmp_path):
    options = ["--smoke", "--iterations", "6,6", "--batch", "2"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = start_process(*options, "--out", whole)
    assert process.wait(timeout=300) == 0, process.stderr.read()
    process.stderr.close()
    random.seed(0)
    for attempt in range(3):
        resume = ["--resume"] if attempt else []
        process = start_process(*options, "--out", broken, *resume)
        deadline = time.monotonic() + 120
        lines = 2 + 3 * attempt  # kill after some iterations more each time
        while process.poll() is None and time.monotonic() < deadline and (
                iterations_logged(broken) < lines or not (broken / "checkpoint.h5").is_file()):
            time.sleep(0.01)
        time.sleep(0.2 * random.random())
        process.kill()
        process.wait()
        process.stderr.close()
        assert (broken / "checkpoint.h5").is_file()  # a smoke run writes one after every iteration: the next goes on from it
    process = start_process("--out", broken, "--resume")
    assert process.wait(timeout=300) == 0, process.stderr.read()
    process.stderr.close()
    assert "resumes from checkpoint" in (broken / "log.txt").read_text()
    a, b = models_of(whole), models_of(broken)
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def iterations_logged(run):
    log = run / "log.txt"
    return log.read_text().count("inversion: ") if log.is_file() else 0


def test_interrupt_writes_a_checkpoint_and_exits_130(tmp_path):
    out = tmp_path / "run"
    process = start_process("--smoke", "--iterations", "500,1", "--out", out)
    deadline = time.monotonic() + 120
    while iterations_logged(out) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    message = process.stderr.read()
    process.stderr.close()
    assert "Traceback" not in message
    state = io.load_tree(out / "checkpoint.h5")
    assert len(state["fwi"]["log"]) >= 2 and np.isfinite(state["fwi"]["base"]).all()


@pytest.fixture
def files(tmp_path):
    """Model files, good and bad, of 41 x 101 nodes at 50 m."""
    good = np.linspace(1600.0, 3000.0, 41, dtype=np.float32)[:, None] * np.ones((1, 101), np.float32)
    np.save(tmp_path / "good.npy", good)
    np.save(tmp_path / "other_shape.npy", good[:, :-1])
    np.save(tmp_path / "in_km.npy", good / 1000.0)
    for name, value in (("nan", np.nan), ("zero", 0.0), ("negative", -1500.0)):
        bad = good.copy()
        bad[7, 9] = value
        np.save(tmp_path / f"{name}.npy", bad)
    good.tofile(tmp_path / "good.f32")
    good.astype(">f4").tofile(tmp_path / "big_endian.f32")
    (tmp_path / "truncated.f32").write_bytes(good.tobytes()[:-100])
    (tmp_path / "truncated.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-100])
    np.savez(tmp_path / "wavelet.npz", a=np.ones(3))
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "silence.npy", np.zeros(500))
    data = io.Gathers(np.ones((1, 2, 50), np.float32), 1e-3, np.full((1, 1, 2), 50.0), np.full((1, 2, 2), 50.0))
    io.write_gathers(tmp_path / "observed.h5", data)
    return tmp_path


SHAPE = ["--files.shape", "41,101"]
STAGES = {
    "odd order on coarse grids": (["--solver.coarse_order", "7"], "--solver.coarse_order 7"),
    "negative length": (["--preconditioner_length", "-5"], "--preconditioner_length [-5.0]"),
    "negative length of the second stage": (["--preconditioner_length", "0,-5"], "--preconditioner_length [0.0, -5.0]"),
    "frequency above Nyquist's": (["--frequencies", "2,100000"], "stage 2 of 2"),
    "frequency too low": (["--frequencies", "2,0.01"], "longer records"),
    "nothing left of the grid": (["--coarsen", "1,1000"], "coarsen less"),
}
REFUSED = {
    "missing model": (["--model", "{files}/none.npy"], "no such file"),
    "truncated raw model": (["--model", "{files}/truncated.f32", *SHAPE], "bytes"),
    "truncated numpy model": (["--model", "{files}/truncated.npy"], "truncated"),
    "raw model without a shape": (["--model", "{files}/good.f32"], "shape"),
    "raw model of another size": (["--model", "{files}/good.f32", "--files.shape", "40,101"], "bytes"),
    "wrong byte order": (["--model", "{files}/big_endian.f32", *SHAPE], "byte_order"),
    "wrong unit": (["--model", "{files}/in_km.npy"], "km/s"),
    "NaN velocity": (["--model", "{files}/nan.npy"], "NaN"),
    "zero velocity": (["--model", "{files}/zero.npy"], "zero"),
    "negative velocity": (["--model", "{files}/negative.npy"], "negative"),
    "start of another shape": (["--model", "{files}/good.npy", "--start", "{files}/other_shape.npy"], "must agree"),
    "start outside the bounds": (["--model", "{files}/good.npy", "--bounds", "1400,2000"], "bounds"),
    "bounds crossed": (["--bounds", "4800,1400"], "bounds"),
    "one bound": (["--bounds", "1400"], "bounds"),
    "observed without a start": (["--observed", "{files}/observed.h5"], "--start"),
    "missing observed, no start": (["--observed", "{files}/none.h5"], "no such file"),
    "refined observed data": (["--observed", "{files}/observed.h5", "--start", "{files}/good.npy", "--data.refine", "2"], "data.refine=2"),
    "missing observed": (["--observed", "{files}/none.h5", "--start", "{files}/good.npy"], "no such file"),
    "step differs from the data": (["--observed", "{files}/observed.h5", "--start", "{files}/good.npy"], "wavelet"),
    "shots too deep": (["--geometry.shot_depth", "99999"], "outside the grid"),
    "no shots": (["--geometry.shots", "0"], "shots=0"),
    "stages of different length": (["--frequencies", "2,3,0"], "give one for each"),
    "no frequencies": (["--frequencies", ""], "--frequencies []"),
    "negative frequency": (["--frequencies", "-2,0"], "frequency=-2"),
    "no iterations": (["--iterations", "0"], "iterations=0"),
    "batch too large": (["--batch", "99"], "batch=99"),
    "smoothing of zero": (["--smoothing", "0"], "smoothing"),
    "water deeper than the model": (["--water", "5000"], "water"),
    "step too coarse for the wavelet": (["--wavelet.step", "0.5"], "step"),
    "missing wavelet": (["--wavelet.file", "{files}/none.npy"], "wavelet.file"),
    "refine of zero": (["--data.refine", "0"], "--data.refine 0"),
    "wavelet in an archive": (["--wavelet.file", "{files}/wavelet.npz"], "archive of a"),
    "wavelet of text": (["--wavelet.file", "{files}/text.npy"], "real numbers"),
    "empty wavelet file": (["--wavelet.file", "{files}/empty.npy"], "wavelet.file"),
    "wavelet of zeros": (["--wavelet.file", "{files}/silence.npy"], "zero everywhere"),
    "record too long": (["--wavelet.duration", "1e12"], "wavelet.duration=1e+12"),
    "spacing of zero": (["--spacing", "0"], "--spacing 0.0: must be above 0"),
    "spacing too small": (["--spacing", "1e-9"], "spacing=1e-09 m"),
    "infinite smoothing": (["--smoothing", "inf"], "--smoothing='inf'"),
    "thin absorbing layer": (["--solver.absorbing", "7"], "--solver.absorbing 7"),
    "odd order": (["--solver.order", "7"], "--solver.order 7"),
    **STAGES,
    "unknown option": (["--frequncies", "2"], "frequencies"),
    "wrong type": (["--geometry.shots", "many"], "whole number"),
    "no GPU": (["--device", "cuda:7"], "cuda:7"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_refused(case, files, capsys):
    words, message = REFUSED[case]
    out = files / "run"
    code = main(["run", "fwi", "--smoke", *(word.format(files=files) for word in words), "--out", str(out)])
    told = capsys.readouterr().err
    assert code == 2, told
    assert message in told and "Traceback" not in told
    assert not out.exists()


@pytest.mark.parametrize("case", STAGES)
def test_overwrite_keeps_a_run_when_a_stage_is_refused(case, finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert main(["run", "fwi", "--smoke", "--out", str(finished), "--overwrite", *STAGES[case][0]]) == 2
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_finished_run_is_not_computed_again(finished):
    with h5py.File(finished / "result.h5") as file:
        seconds, inverted = np.asarray(file["iterations/seconds"]), np.asarray(file["models/inverted"])
    assert len(io.load_tree(finished / "checkpoint.h5")["fwi"]["models"]) == 2
    assert main(["run", "fwi", "--out", str(finished), "--resume"]) == 0
    with h5py.File(finished / "result.h5") as file:
        np.testing.assert_array_equal(np.asarray(file["iterations/seconds"]), seconds)  # of the updates made then, not of new ones
        np.testing.assert_array_equal(np.asarray(file["models/inverted"]), inverted)


WAVEFIELD = {
    "narrow grid": ["--nodes", "5,5"],
    "one axis": ["--nodes", "41"],
    "negative nodes": ["--nodes", "-5,41"],
    "too many nodes": ["--nodes", "1000000,1000000"],
    "one spacing": ["--spacing", "10"],
    "spacing of zero": ["--spacing", "0,10"],
    "no snapshots": ["--snapshot_every", "inf"],
    "half a source": ["--source", "5"],
    "record too long": ["--duration", "1e12"],
}


def test_refused_exports_keep_the_run(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", "fields", "--smoke", "--out", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for words in WAVEFIELD.values():
        capsys.readouterr()
        assert main(["export", "fields", "--smoke", "--out", str(out), "--overwrite", *words]) == 2
        assert words[0].strip("-") in capsys.readouterr().err
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_existing_run_is_not_touched(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(["run", "fwi", *TINY, "--out", str(finished)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
