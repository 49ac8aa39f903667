"""Storages: what they choose, refuse and leave behind. That gradients are right is tested in test_derivatives and test_laws."""

import dataclasses
import errno
import os
import re

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.autograd import hvp, vjp
from hyperion.cpu.disk import DiskBuffer
from hyperion.cpu.memory import free_memory
from hyperion.errors import FileError, InputError
from hyperion.pde.storage import Needs
from tests.pde.cases import Case, Coupled, Damped, Dose, PressureVelocity, difference

pytestmark = pytest.mark.filterwarnings("ignore::hyperion.errors.SamplingWarning")
PLANE = (31, 37)
# Ten shots, two at a time: 100 steps of 1 MB each, a state of 5 MB; the wavelet allows every fifth step, and 36 are kept.
NEEDS = Needs(10, 2, 100, 1e-3, 1.0 / (5.5 * 5e-3), 1, (250, 1000), 5_000_000, 4, free=10**10)


def gradients(storage, **options):
    return Case(PLANE, 4, pde.CPML(width=5), storage=storage, **options).with_gradients()[1]


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 2, "equation": PressureVelocity(), "fields": ("p", "vx")}], ids=str)
@pytest.mark.parametrize("history", [pde.EverySteps(), *(pde.Thinned(every=n, bits=b) for n, b in ((3, 32), (2, 16), (2, 8)))], ids=repr)
def test_a_file_holds_what_memory_would(history, options, tmp_path, monkeypatch):
    monkeypatch.setattr("hyperion.pde.history.CHUNK_BYTES", 30_000.0)  # two or three steps between writing and reading
    for got, want in zip(gradients(pde.OnDisk(history, tmp_path), **options), gradients(history, **options), strict=True):
        assert np.array_equal(got, want)
    assert not list(tmp_path.iterdir())


SIDES = pde.Sides(pde.CPML(width=5), top=pde.FreeSurface(), left=pde.Rigid())
REVERSIBLE = [
    ((PLANE, 4, pde.CPML(width=5)), {"threads": 1}),
    ((PLANE, 4, pde.CPML(width=5)), {"threads": 2, "steps": 41}),
    ((PLANE, 2, pde.CPML(width=0)), {}),
    ((PLANE, 4, pde.Periodic()), {}),
    ((PLANE, 4, SIDES), {}),
    (((20, 19, 22), 4, pde.CPML(width=3)), {}),
    ((PLANE, 4, pde.CPML(width=5)), {"equation": pde.Elastic(), "fields": ("vz", "vx")}),
    ((PLANE, 4, pde.CPML(width=5)), {"equation": pde.Elastic(), "fields": ("pressure", "pressure"), "threads": 1}),
    ((PLANE, 4, pde.CPML(width=5)), {"equation": Coupled(), "fields": ("p", "q")}),
    ((PLANE, 4, pde.CPML(width=5)), {"equation": Dose(), "fields": ("p", "twice")}),
]


@pytest.mark.parametrize(("args", "options"), REVERSIBLE, ids=str)
def test_a_ring_takes_the_run_back(args, options):
    _, expected, weights = Case(*args, **options).with_gradients()
    _, found, _ = Case(*args, **options, storage=pde.BoundaryRing()).with_gradients(weights)
    for got, want in zip(found, expected, strict=True):
        assert difference(got, want) < 1e-12  # 1e-15 is seen


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_rounding_of_a_ring_over_many_steps(dtype, bound):
    args, options = ((64, 57), 8, pde.CPML(width=5)), {"steps": 1000, "dtype": dtype}
    _, expected, weights = Case(*args, **options).with_gradients()
    _, found, _ = Case(*args, **options, storage=pde.BoundaryRing()).with_gradients(weights)
    assert difference(found[1], expected[1]) < bound


def test_a_ring_may_be_used_again_and_by_second_derivatives():
    case = Case(PLANE, 4, pde.CPML(width=5), storage=pde.BoundaryRing())
    out, pull = vjp(case.gathers, *case.args)
    weights = case.random.standard_normal(out.shape)
    first, second = ([g.numpy() for g in pull(weights)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    whole = Case(PLANE, 4, pde.CPML(width=5))
    u = case.directions()[1]
    products = [hvp(lambda c, one=one: hp.sum(one.gathers(one.args[0], c) ** 2), (case.args[1],), (u,))[0].numpy() for one in (case, whole)]
    assert difference(*products) < 1e-12


def test_a_step_that_cannot_be_taken_back_is_refused():
    with pytest.raises(InputError, match=r"BoundaryRing\(\): this solver's step cannot be taken back: p is damped.*use pde.Auto\(\)"):
        gradients(pde.BoundaryRing(), equation=Damped(), fields=("p", "p"))


def test_a_ring_keeps_less_than_every_step():
    plans = [Case((300, 300), 4, pde.CPML(width=5), steps=200, storage=s) for s in (pde.BoundaryRing(), pde.EverySteps())]
    ring, whole = (c.solver.plan(c.survey.subset([0]), speed=c.args[1]).keeping.memory for c in plans)
    assert ring < 0.4 * whole


def test_a_file_may_be_read_again(tmp_path):
    case = Case(PLANE, 4, pde.CPML(width=5), storage=pde.OnDisk(folder=tmp_path))
    out, pull = vjp(case.gathers, *case.args)
    weights = case.random.standard_normal(out.shape)
    assert not list(tmp_path.iterdir())  # it has no name even while it is used
    first, second = ([g.numpy() for g in pull(weights)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_full_disk_is_an_error_before_the_run(tmp_path, monkeypatch):
    with pytest.raises(FileError, match=r"GB are wanted and .* GB are free; give another folder"):
        DiskBuffer(1 << 60, tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FileError, match="are wanted and"):
        gradients(pde.OnDisk(folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_went_away_is_named(tmp_path):
    storage = pde.OnDisk(folder=tmp_path / ".")
    os.rmdir(tmp_path)
    with pytest.raises(FileError, match=re.escape(f"folder='{tmp_path}'")):
        gradients(storage)


@pytest.mark.parametrize(
    ("budget", "kind", "tape", "memory"),
    [
        (2 * 10**8, pde.Thinned, True, 192 * 10**6),
        (10**8, pde.Thinned, False, 39 * 10**6),
        (39 * 10**6, pde.Thinned, False, 39 * 10**6),
        (2 * 10**7, pde.Checkpoints, False, 2 * 10**7),
        (12 * 10**6, pde.Checkpoints, False, 12 * 10**6),
    ],
)
def test_auto_takes_the_fastest_that_fits(budget, kind, tape, memory):
    kept = pde.Auto(budget).keeping(NEEDS)
    assert (type(kept.storage), kept.tape) == (kind, tape) and kept.memory <= memory
    assert kept == pde.Auto(budget).keeping(NEEDS)
    assert kept == pde.Auto().keeping(dataclasses.replace(NEEDS, free=2 * budget))  # half of what is free is the default


def test_auto_makes_histories_again_where_not_all_shots_fit():
    whole, again = pde.Auto(10**9), pde.Auto(700_000)  # two shots of 40 steps of 41 rows of 48 numbers: 1.26 MB; one thread runs one
    case = Case(PLANE, 4, pde.CPML(width=5), storage=again, threads=1)
    assert not case.solver.plan(case.survey, speed=case.args[1]).keeping.tape
    for got, want in zip(gradients(again, threads=1), gradients(whole, threads=1), strict=True):
        assert np.array_equal(got, want)


@pytest.mark.parametrize("storage", [pde.Auto(1000), pde.Checkpoints(1000)], ids=repr)
def test_too_few_bytes_are_refused_with_what_would_do(storage):
    with pytest.raises(InputError, match=re.escape(repr(storage))) as caught:
        gradients(storage)
    least = int(re.findall(r"bytes=(\d+) or more", str(caught.value))[0])
    gradients(type(storage)(least))


@pytest.mark.parametrize("storage", [pde.EverySteps(), pde.Thinned(every=2, bits=32)], ids=repr)
def test_what_memory_does_not_hold_is_refused_with_what_would(storage, monkeypatch):
    monkeypatch.setattr("hyperion.pde.simulation.free_memory", lambda: 500_000)
    with pytest.raises(InputError, match=r"would keep .* MB of memory are free; pde.Checkpoints\(bytes=\d+\) would fit") as caught:
        gradients(storage)
    assert re.escape(repr(storage)) in re.escape(str(caught.value))
    gradients(pde.Checkpoints(int(re.findall(r"Checkpoints\(bytes=(\d+)\)", str(caught.value))[0])))


def test_free_memory_counts_what_the_pool_would_give_again():
    assert 0 < free_memory() < 1 << 50


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pde.Auto(bytes=-1), "Auto(bytes=-1)"),
        (lambda: pde.OnDisk(pde.Checkpoints(bytes=10)), "OnDisk(history=Checkpoints"),
        (lambda: pde.OnDisk("/tmp"), "OnDisk(history='/tmp')"),
        (lambda: pde.OnDisk(folder="/no such folder"), "OnDisk(folder='/no such folder')"),
        (lambda: pde.OnDisk(folder=3), "OnDisk(folder=3)"),
    ],
)
def test_wrong_values(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
