"""What a plan says of memory and time, against what a gradient takes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hyperion
from hyperion import pde
from hyperion.pde.storage import Needs, recomputed

ROOT = Path(hyperion.__file__).parents[1]
MEASURED = """
from pathlib import Path
import numpy as np
import hyperion as hp
from hyperion import pde

def used(key):
    return int(dict(x.split(":", 1) for x in Path("/proc/self/status").read_text().splitlines())[key].split()[0]) * 1024

def prepared(n, steps, storage):
    wave = pde.Solver(pde.Acoustic(), pde.Grid((n, n), 10.0), order=8, boundary=pde.CPML(width=10), threads=1, storage=storage)
    places = np.mgrid[0:1:4j, 0:1:4j].reshape(1, 2, 16).transpose(0, 2, 1) * (n - 1) * 10.0  # all over the grid, so that nothing is at rest
    survey, speed = pde.Survey(places, places, pde.ricker(12.0, steps * 1e-3, 1e-3)), np.full((n, n), 2500.0, np.float32)
    return wave.plan(survey, speed=speed), lambda: hp.grad(lambda c: hp.sum(wave.solve(survey, speed=c) ** 2))(speed)

prepared(40, 200, {storage})[1]()  # loads what every run needs
plan, gradient = prepared(400, 200, {storage})
planned, before = plan.memory, used("VmRSS")
assert used("VmHWM") < before + 2e6
gradient()
print(planned / (used("VmHWM") - before))
"""


def plan(storage=None, shape=(60, 70), duration=0.3, **options):
    wave = pde.Solver(pde.Acoustic(), pde.Grid(shape, 10.0), order=4, boundary=pde.CPML(width=10), storage=storage, **options)
    survey = pde.Survey([[[100.0, 200.0]]], [[[100.0, 300.0]]], pde.ricker(15.0, duration, 1e-3))
    return wave.plan(survey, speed=np.full(shape, 2000.0, np.float32))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the high-water mark is read from /proc")
@pytest.mark.parametrize("storage", ["pde.EverySteps()", "pde.Thinned(every=2)", "pde.Checkpoints(40_000_000)"])
def test_memory_is_that_of_the_process_within_a_fifth(storage):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED.replace("{storage}", storage)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert 0.8 < float(done.stdout) < 1.2


def test_printed_it_says_what_matters():
    text = str(plan(pde.Thinned(every=3), threads=1))
    for part in ("300 steps of 1 ms", "every 3. step in 16 bits", "MB by Thinned(every=3, bits=16)", "with what it works on",
                 "that are free: EverySteps()", "Checkpoints(bytes=", "s with a gradient", "threads=1"):
        assert part in text, part
    assert "forward runs repeated" in str(plan(pde.Auto(500_000)))
    assert "on disk" in str(plan(pde.OnDisk()))
    assert "no gradient: Checkpoints(bytes=10): one shot needs at least" in str(plan(pde.Checkpoints(10)))


def test_time_grows_with_steps_and_with_what_is_repeated():
    short, long, repeated = plan(pde.EverySteps()), plan(pde.EverySteps(), duration=30.0), plan(pde.Auto(10_000_000), duration=30.0)
    assert all(p.seconds[1] > 2.0 * p.seconds[0] > 0.0 for p in (short, long, repeated))
    assert long.seconds[0] > 20.0 * short.seconds[0]  # 100 times the steps; timing wavers
    assert repeated.seconds[1] / repeated.seconds[0] > 1.3 * long.seconds[1] / long.seconds[0]


def test_repeated_steps_are_those_of_the_schedule():
    needs = Needs(1, 1, 100, 1e-3, 10.0, 1, (100, 100), 10**6, 4, free=10**10)
    assert recomputed(pde.EverySteps().keeping(needs), needs) == 0.0
    assert recomputed(pde.Checkpoints(10**7).keeping(needs), needs) == 100.0  # one stretch
    few = pde.Checkpoints(2 * 10**6).keeping(needs)  # 25 steps a stretch, no state but the first: 25 + 50 + 75 + 100
    assert recomputed(few, needs) == 250.0
