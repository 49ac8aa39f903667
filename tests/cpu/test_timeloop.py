"""The native time loop from outside: denormal numbers, many threads, forked children, finiteness."""

import multiprocessing
import platform
import threading

import numpy as np
import pytest

from hyperion import pde
from hyperion.cpu import find_compiler

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler"),
    pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning"),  # impulses
]
SPEED = np.full((40, 44), 2000.0, np.float32)


def solve(amplitude=1.0, dtype=np.float32, threads=1, steps=60, shots=1):
    wave = pde.Solver(pde.Acoustic(), pde.Grid(SPEED.shape, 10.0), order=4, boundary=pde.CPML(width=5), threads=threads)
    samples = np.zeros(steps, dtype)
    samples[1] = amplitude
    places = np.full((shots, 1, 2), 200.0)
    return wave.solve(pde.Survey(places, places + np.array([30.0, 40.0]), pde.Wavelet(samples, 1e-3)), speed=SPEED.astype(dtype)).numpy()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the mode is set on x86-64 only")
@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_are_flushed_inside_and_the_caller_keeps_its_mode(threads):
    tiny = np.array([1e-40], np.float32)
    assert (tiny * np.float32(0.5))[0] > 0.0  # the caller's mode: gradual underflow
    assert np.abs(solve(threads=threads)).max() > 0.0
    assert not solve(amplitude=1e-36, threads=threads).any()  # the field would be near 1e-40
    assert (tiny * np.float32(0.5))[0] > 0.0
    assert np.abs(solve(amplitude=1e-36, dtype=np.float64, threads=threads)).max() > 0.0


def test_calls_from_several_python_threads():
    expected, results = solve(threads=2, shots=2), {}

    def work(i):
        results[i] = solve(threads=2, shots=2)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert len(results) == 4 and all(np.array_equal(r, expected) for r in results.values())


def _child(queue):
    queue.put(float(np.abs(solve(threads=2)).max()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*")  # from Python and JAX, about threads of other libraries
def test_a_forked_child_can_run_threads():
    """The pool is made anew in each call, so that none is missing after a fork."""
    expected = float(np.abs(solve(threads=2)).max())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(timeout=60)
    assert child.exitcode == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_finite_sees_every_place(dtype, value):
    wave = pde.Solver(pde.Acoustic(), pde.Grid(SPEED.shape, 10.0), order=4, boundary=pde.CPML(width=5), threads=1)
    loop = wave.engine(0, np.dtype(dtype), "p").loop("forward")
    array = np.full(37, np.finfo(dtype).max, dtype)
    assert loop.finite(array)
    for i in (0, 17, 36):
        array[i] = value
        assert not loop.finite(array)
        array[i] = -np.finfo(dtype).tiny


def test_more_threads_than_there_can_be():
    from hyperion.errors import CompilerError

    tall = np.full((20_000, 16), 2000.0, np.float32)
    wave = pde.Solver(pde.Acoustic(), pde.Grid(tall.shape, 10.0), order=2, boundary=pde.CPML(width=0), threads=300)
    survey = pde.Survey([[[100.0, 50.0]]], [[[150.0, 50.0]]], pde.Wavelet(np.ones(3, np.float32), 1e-3))
    with pytest.raises(CompilerError, match="threads could not be started; lower HYPERION_THREADS or the solver's threads="):
        wave.solve(survey, speed=tall)
