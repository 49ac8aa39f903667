"""The scenarios of hybrids through the command line: outputs, resuming, refusals with exit code 2."""

import h5py
import numpy as np
import pytest

from hyperion.cli import main
from hyperion.cli.run import Run

SCENARIOS = {
    "wave_surrogate": ({"speed", "wavefields", "gradients", "training"}, ["--losses", "residual,adjoint", "--steps", "4"]),
    "learned_closure": ({"states", "errors"}, []),
    "solver_in_the_loop": ({"vorticity", "errors"}, ["--finer", "24", "--spectral", "16"]),
    "fwi_neural_prior": ({"errors", "models-1"}, ["--ways", "siren,started-siren", "--steps", "3"]),
}


def run(name, out, *words):
    return main(["run", name, "--smoke", *map(str, words), "--out", str(out)])


def contents(path):
    found = {}
    with h5py.File(path / "result.h5") as file:
        file.visititems(lambda name, item: found.update({name: np.asarray(item)}) if isinstance(item, h5py.Dataset) else None)
        facts = {key: value for key, value in file.attrs.items() if "error" in key or ":" in key}
    return found, {key: value for key, value in facts.items() if not key.endswith(": cost")}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_that_was_stopped_goes_on_to_the_same_result(name, tmp_path, monkeypatch):
    figures, words = SCENARIOS[name]
    assert run(name, tmp_path / "whole", *words) == 0
    assert {path.stem for path in (tmp_path / "whole" / "figures").glob("*.png")} == figures
    written, calls = Run.checkpoint, []

    def stopped(self, state=None, every=None):
        calls.append(1)
        written(self, state, 0.0)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "checkpoint", stopped)
    assert run(name, tmp_path / "parts", *words) == 130
    monkeypatch.setattr(Run, "checkpoint", written)
    assert run(name, tmp_path / "parts", *words, "--resume") == 0
    (whole, facts), (parts, again) = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert facts == again and len(facts) >= 3
    assert whole.keys() == parts.keys() and all(np.array_equal(whole[key], parts[key], equal_nan=True) for key in whole)


@pytest.mark.parametrize("words, message", [
    (["wave_surrogate", "--network", "cnn"], "--network cnn: choose among unet, fno"),
    (["wave_surrogate", "--resolution", "30"], "--resolution 30: must be a multiple of 8"),
    (["wave_surrogate", "--examples", "1"], "--examples 1 must be at least --batch 2"),
    (["wave_surrogate", "--losses", "magic"], "choose among data, data-more"),
    (["wave_surrogate", "--window", "200"], "fewer than --window 200"),
    (["fwi_neural_prior", "--ways", "magic"], "choose among stages"),
    (["fwi_neural_prior", "--shape", "30,40"], "--shape [30, 40]: must be a multiple of 8"),
    (["fwi_neural_prior", "--tested", "0"], "--tested 0"),
    (["fwi_neural_prior", "--smoothing", "4,2"], "three lengths"),
    (["fwi_neural_prior", "--first", "300,2000"], "1450 to 4450 m/s"),
    (["fwi_neural_prior", "--variation", "-1"], "--variation -1.0: must be at least 0"),
    (["fwi_neural_prior", "--lowest", "0"], "--lowest 0.0: must be above 0"),
    (["fwi_neural_prior", "--lowest", "200"], "Nyquist"),
    (["fwi_neural_prior", "--noise", "-0.1"], "--noise -0.1: must be at least 0"),
    (["fwi_neural_prior", "--width", "0", "--shots", "0"], "--shots 0, --width 0: must be at least 1"),
    (["wave_surrogate", "--adjoints", "0"], "--adjoints 0: must be at least 1"),
    (["wave_surrogate", "--network", "fno", "--modes", "99"], "--modes 99 must be at most --resolution 24"),
    (["solver_in_the_loop", "--finer", "24,-3"], "--finer [24, -3]: must be at least 4"),
    (["solver_in_the_loop", "--spectral", "15"], "--spectral [15]: must be a multiple of 2"),
    (["solver_in_the_loop", "--batch", "0"], "--batch 0: must be at least 1"),
    (["learned_closure", "--batch", "0"], "--batch 0: must be at least 1"),
    (["learned_closure", "--cells", "0"], "--cells 0: must be at least 1"),
])
def test_refusals(tmp_path, capsys, words, message):
    assert run(words[0], tmp_path / "run", *words[1:]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
