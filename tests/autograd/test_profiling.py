"""Profiles count every operation once, in forward runs and sweeps, and leave nothing behind."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import pde
from hyperion.autograd import profiling, sweeps
from hyperion.autograd.table import Primitive
from hyperion.errors import GraphError, NonFiniteError
from tests.gpu import emulator, standin


def calls(p: hp.profile) -> dict[str, int]:
    return {total.name: total.calls for total in p.totals()}


def test_forward_and_backward_are_counted_apart() -> None:
    x = hp.asarray(np.ones(5), requires_grad=True)
    with hp.profile() as p:
        hp.sum(hp.tanh(x) * x).backward()
    expected = {"tanh": 1, "multiply": 1, "sum": 1, "sum, backward": 1, "multiply, backward": 1, "tanh, backward": 1}
    assert calls(p) == expected | {"broadcast_to": 1}       # called by the rule of sum
    assert {total.name: total.bytes for total in p.totals()}["tanh"] == 80


def test_recorded_sweeps_show_the_operations_of_the_rules() -> None:
    with hp.profile() as p:
        hp.grad(hp.grad(hp.sin))(1.0)
    assert {"sin", "cos", "multiply"} <= set(calls(p))


def test_times_of_nested_operations_are_not_counted_twice() -> None:
    wave = pde.Solver(pde.Acoustic(), pde.Grid((40, 40), (10.0, 10.0)), order=4)
    survey = pde.Survey([[[200.0, 200.0]]], [[[100.0, 100.0]]], pde.ricker(10.0, duration=0.2, step=1e-3))
    with hp.profile() as p:
        hp.grad(lambda c: hp.sum(wave.solve(survey, speed=c) ** 2))(np.full((40, 40), 2000.0))
    totals = p.totals()
    assert sum(total.seconds for total in totals) <= p.seconds
    assert all(total.seconds >= 0 for total in totals)


def test_nothing_is_left_behind_and_others_stay() -> None:
    call, pulled = Primitive.__call__, sweeps.pulled
    first, second = hp.profile(), hp.profile()
    first.__enter__()
    second.__enter__()
    hp.sin(1.0)
    first.__exit__(None, None, None)
    hp.cos(1.0)
    second.__exit__(None, None, None)
    assert calls(first) == {"sin": 1}
    assert calls(second) == {"sin": 1, "cos": 1}
    assert Primitive.__call__ is call
    assert sweeps.pulled is pulled


def test_debug_inside_a_profile() -> None:
    with hp.profile() as p, pytest.raises(NonFiniteError), hp.debug():
        hp.log(hp.asarray(0.0))
    assert calls(p) == {"log": 1}
    with hp.debug(), hp.profile() as p, pytest.raises(NonFiniteError):
        hp.log(hp.asarray(0.0))
    assert p.totals() == []              # the profile stands outside: what raised is no call that ended


def test_threads_are_seen_and_told_apart(tmp_path: Path) -> None:
    with hp.profile() as p:
        threads = [threading.Thread(target=lambda: hp.exp(hp.ones(3))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert calls(p)["exp"] == 3
    p.write_trace(tmp_path / "trace.json")
    events: list[dict[str, Any]] = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events].count("exp") == 3
    assert all(event["ph"] == "X" and event["dur"] >= 0 and event["ts"] >= 0 for event in events)


def test_the_table_and_what_is_refused() -> None:
    p = hp.profile()
    with p:
        hp.exp(hp.ones(1000))
        with pytest.raises(GraphError, match="has not ended"):
            p.totals()
        with pytest.raises(GraphError, match="open already"):
            p.__enter__()
    table = str(p).splitlines()
    assert table[0].split() == ["operation", "device", "calls", "time", "[ms]", "share", "moved", "[MB]", "GB/s", "of", "a", "copy"]
    assert table[1].startswith("exp ")
    assert "from begin to end" in table[-1]


def test_a_decorator() -> None:
    p = hp.profile()

    @p
    def work() -> None:
        hp.sin(hp.ones(3))

    work()
    assert calls(p)["sin"] == 1
    work()
    assert calls(p)["sin"] == 1             # of the last run


@pytest.mark.skipif(emulator.COMPILER is None, reason="no C++ compiler for the emulator of CUDA kernels")
def test_a_gpu_is_timed_by_events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    standin.put_in_place(monkeypatch)
    monkeypatch.setattr(profiling, "copy_bandwidth", lambda place: 4e12)
    x = hp.asarray(np.ones(5, np.float32), device="cuda:0", requires_grad=True)
    with hp.profile() as p:
        hp.sum(hp.tanh(x)).backward()
    assert {total.device for total in p.totals()} == {"cuda:0"}
    assert {"tanh", "sum", "tanh, backward"} <= set(calls(p))
    p.write_trace(tmp_path / "trace.json")
    events: list[dict[str, Any]] = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["pid"] for event in events} == {"cpu", "cuda:0"}
