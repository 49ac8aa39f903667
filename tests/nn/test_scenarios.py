"""The scenarios of networks through the command line: figures that are known, resuming after SIGKILL, refusals with exit code 2."""

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from hyperion import io, nn
from hyperion.cli import main

ROOT = Path(__file__).resolve().parents[2]


def facts(run):
    with h5py.File(run / "result.h5") as file:
        return dict(file.attrs)


def test_makemore_counts_pairs(tmp_path):
    """Of the pairs of "ab" and "b" each follows its letter with a known probability; gradient descent finds the same table."""
    (tmp_path / "names.txt").write_text("ab\nb\n" * 20)
    words = ["--data", tmp_path / "names.txt", "--models", "bigram", "--steps", "400", "--rates", "0.1", "--out", tmp_path / "run"]
    assert main(["run", "makemore", *map(str, words)]) == 0
    exact = 2 * 0.5 * np.log(2.0) * 2 / 5                      # of 5 pairs, 2 begin a name, with either letter; the others are certain
    found = facts(tmp_path / "run")
    assert found["-log probability, pairs counted over all names"] == pytest.approx(exact, abs=1e-12)
    assert found["all names: pairs learnt by gradient"] == pytest.approx(exact, abs=5e-3)
    with h5py.File(tmp_path / "run" / "result.h5") as file:
        table = np.asarray(file["bigram/probabilities"])       # (., a, b)
    np.testing.assert_allclose(table, [[0.0, 0.5, 0.5], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], atol=0.02)


def test_gpt2_learns_a_token_file_and_saves_the_model(tmp_path):
    nn.write_tokens(tmp_path / "tokens.bin", np.arange(2000) % 7)
    words = ["--smoke", "--data", tmp_path / "tokens.bin", "--steps", "60", "--rate", "3e-2", "--out", tmp_path / "run"]
    assert main(["run", "gpt2", *map(str, words)]) == 0
    rows = nn.MetricsFile(tmp_path / "run" / "training").rows()
    assert len(rows) == 60 and rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    model = nn.GPT.from_pretrained(tmp_path / "run" / "model")
    again = ["--data", tmp_path / "tokens.bin", "--model", tmp_path / "run" / "model", "--out", tmp_path / "more", "--steps", "3"]
    assert main(["run", "gpt2", "--smoke", *map(str, again)]) == 0
    first = nn.MetricsFile(tmp_path / "more" / "training").rows()[0]["loss"]
    assert first < 0.5 * rows[0]["loss"] and model.vocabulary == 128


def start(*words):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), HYPERION_THREADS="1", OMP_NUM_THREADS="1")
    return subprocess.Popen([sys.executable, "-m", "hyperion", "run", *map(str, words)], cwd=ROOT, env=environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_killed_and_resumed_equals_undisturbed(tmp_path):
    options = ["shakespeare", "--smoke", "--steps", "40", "--dropout", "0.1"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with start(*options, "--out", whole) as process:
        assert process.wait(timeout=120) == 0, process.stderr.read()
    log = broken / "log.txt"
    for attempt in range(2):
        with start(*options, "--out", broken, *(["--resume"] if attempt else [])) as process:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if log.is_file() and log.read_text().count("training: ") >= 6 * (attempt + 1):
                    break
                time.sleep(0.005)
            process.kill()
            assert process.wait() != 0
    with start("shakespeare", "--out", broken, "--resume") as process:
        assert process.wait(timeout=120) == 0, process.stderr.read()
    assert "resumes from checkpoint" in log.read_text()
    a, b = (io.load_tree(run / "checkpoint.h5") for run in (whole, broken))
    assert a["steps"] == b["steps"] == 40 and set(a["model"]) == set(b["model"])
    for name, array in a["model"].items():
        np.testing.assert_array_equal(array, b["model"][name])
    assert (whole / "sample.txt").read_bytes() == (broken / "sample.txt").read_bytes()
    first, second = (nn.MetricsFile(run / "training").rows() for run in (whole, broken))
    assert [{**row, "seconds": 0.0} for row in first] == [{**row, "seconds": 0.0} for row in second]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "short.txt").write_text("to be")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 200)
    (tmp_path / "few.txt").write_text("anna\nbob\n")
    nn.write_tokens(tmp_path / "large.bin", [1, 2, 500] * 100)
    nn.write_tokens(tmp_path / "short.bin", [1, 2, 3])
    (tmp_path / "empty.bin").touch()
    raw = (tmp_path / "large.bin").read_bytes()
    (tmp_path / "truncated.bin").write_bytes(raw[:-7])
    return tmp_path


REFUSED = {
    "no text file": ("shakespeare", ["--data", "{files}/none.txt"], "cannot be read"),
    "no text": ("shakespeare", ["--data", "{files}/empty.txt"], "empty data set"),
    "a text shorter than the context": ("shakespeare", ["--data", "{files}/short.txt"], "an example needs 17"),
    "another encoding": ("shakespeare", ["--data", "{files}/latin.txt"], "UTF-8"),
    "heads that do not divide": ("shakespeare", ["--heads", "3"], "heads=3"),
    "a warmup without end": ("shakespeare", ["--warmup", "99"], "--warmup 99"),
    "an unknown precision": ("shakespeare", ["--precision", "float8"], "float8"),
    "few names": ("makemore", ["--data", "{files}/few.txt"], "2 names"),
    "an unknown model": ("makemore", ["--models", "bigram,lstm"], "--models"),
    "rates of another number": ("makemore", ["--rates", "0.1"], "--rates"),
    "a token outside the vocabulary": ("gpt2", ["--data", "{files}/large.bin"], "holds token 500"),
    "too few tokens": ("gpt2", ["--data", "{files}/short.bin"], "3 tokens"),
    "a truncated token file": ("gpt2", ["--data", "{files}/truncated.bin"], "promises 300 tokens"),
    "an empty token file": ("gpt2", ["--data", "{files}/empty.bin"], "no token"),
    "no model there": ("gpt2", ["--model", "{files}/none"], "none"),
    "too many sequences": ("sort", ["--digits", "10", "--length", "9"], "10^7"),
    "nothing held out": ("sort", ["--held_out", "0"], "--held_out 0"),
    "one width": ("scaling_laws", ["--widths", "4"], "--widths"),
    "a run without steps": ("attention_maps", ["--steps", "0"], "--steps 0"),
    "no convolution": ("mnist_like", ["--channels", ""], "--channels"),
    "a batch larger than the data": ("mnist_like", ["--batch", "9999"], "--batch 9999"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_refused(case, files, capsys):
    name, words, message = REFUSED[case]
    out = files / "run"
    code = main(["run", name, "--smoke", *(word.format(files=files) for word in words), "--out", str(out)])
    told = capsys.readouterr().err
    assert code == 2, told
    assert message in told and "Traceback" not in told
    assert not out.exists()
