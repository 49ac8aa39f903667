"""One formula over many arrays: sizes, writing in place, threads, denormals, sums of squares, and a clean text."""

import platform
import subprocess

import numpy as np
import pytest

from hyperion.cpu import MultiTensor, compiler, find_compiler, multitensor, squares_kernel

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
SIZES = (0, 1, 7, 4095, 4096, 4097, 20000)


def arrays(random, dtype=np.float32):
    return [random.normal(size=size).astype(dtype) for size in SIZES]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_many_sizes_in_one_call(random, threads, in_place, monkeypatch):
    monkeypatch.setenv("HYPERION_THREADS", threads)
    monkeypatch.setattr(multitensor, "_GRAIN", 1)
    kernel = MultiTensor("out[i] = p - n0 * g; state0[i] = s0 + n1;", 1, 2, np.dtype("float32"))
    parameters, gradients, states = arrays(random), arrays(random), arrays(random)
    numbers = [(0.5 * k, float(k)) for k in range(len(SIZES))]
    expected = [p - np.float32(n[0]) * g for p, g, n in zip(parameters, gradients, numbers, strict=True)]
    later = [s + np.float32(n[1]) for s, n in zip(states, numbers, strict=True)]
    outs = parameters if in_place else [np.full_like(p, np.nan) for p in parameters]
    kernel(outs, parameters, gradients, [[state] for state in states], numbers)
    for out, state, wanted, then in zip(outs, states, expected, later, strict=True):
        np.testing.assert_allclose(out, wanted, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(state, then)


def test_no_states_no_numbers_and_read_only_inputs(random):
    p, g = random.normal(size=100), random.normal(size=100)
    p.flags.writeable = g.flags.writeable = False
    out = np.empty(100)
    MultiTensor("out[i] = p + g;", 0, 0, np.dtype("float64"))([out], [p], [g], [[]], [[]])
    np.testing.assert_array_equal(out, p + g)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squares(random, dtype, monkeypatch):
    given = arrays(random, dtype)
    sums = squares_kernel(np.dtype(dtype)).squares(given)
    np.testing.assert_allclose(sums, [(array.astype(np.float64) ** 2).sum() for array in given], rtol=1e-14)
    monkeypatch.setattr(multitensor, "_GRAIN", 1)
    monkeypatch.setenv("HYPERION_THREADS", "5")
    assert squares_kernel(np.dtype(dtype)).squares(given) == sums
    given[3][100] = np.nan
    assert [np.isnan(value) for value in squares_kernel(np.dtype(dtype)).squares(given)] == [i == 3 for i in range(len(SIZES))]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the mode is set on x86-64 only")
def test_denormals_are_flushed_inside_and_the_caller_keeps_its_mode():
    tiny = np.full(10, 1e-40, np.float32)
    out = np.empty_like(tiny)
    MultiTensor("out[i] = (real)(0.5) * p;", 0, 0, np.dtype("float32"))([out], [tiny], [tiny], [[]], [[]])
    assert not out.any()
    assert (tiny * np.float32(0.5)).all()
    assert squares_kernel(np.dtype("float32")).squares([tiny])[0] > 0.0


def test_the_compiler_has_nothing_to_say(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(multitensor, "load", lambda text, flags: seen.append((text, flags)) or compiler.load(text, flags))
    MultiTensor("const real t0 = SQRT(s0);\nout[i] = p - n0 * g / t0; state0[i] = t0;", 1, 1, np.dtype("float32"))
    (text, flags), = seen
    source = tmp_path / "kernel.c"
    source.write_text(text)
    found = find_compiler()
    assert found is not None
    plain = [flag for flag in compiler.FLAGS if flag not in ("-O3", "-shared")]
    command = [*found.command, *plain, *flags, "-O1", "-c", "-Wall", "-Wextra", "-Wno-psabi", str(source), "-o", str(tmp_path / "kernel.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
