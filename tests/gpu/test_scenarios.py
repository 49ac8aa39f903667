"""Scenarios of hybrids on the GPU, on the stand-in: no array of the CPU meets one of the GPU."""

import pytest

from hyperion.cli import main
from tests.gpu import emulator, standin

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler for the emulator of CUDA kernels")


SURROGATE = ["wave_surrogate", "--network", "fno", "--modes", "4", "--losses", "adjoint", "--steps", "1"]


@pytest.mark.parametrize("words", [
    pytest.param(SURROGATE, id="wave_surrogate", marks=pytest.mark.full),                # 18 s in the emulator
    pytest.param(["fwi_neural_prior", "--ways", "siren-lbfgs", "--gradients", "2"], id="fwi_neural_prior"),
])
def test_a_smoke_run_ends(words, tmp_path, monkeypatch):
    standin.put_in_place(monkeypatch)
    assert main(["run", words[0], "--smoke", "--device", "cuda:0", *words[1:], "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/report.html").is_file()
