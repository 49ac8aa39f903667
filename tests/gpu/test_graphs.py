"""Work noted as a CUDA graph; without a GPU on streams that note what they are told."""

import contextlib
import sys
import types
from typing import Any

import pytest

from hyperion.errors import SpeedWarning
from hyperion.gpu.graphs import Graph, noting


class Stream:
    """Notes what is done between begin and end; refuses it where `refuses`."""

    def __init__(self, refuses: bool) -> None:
        self.refuses, self.notes = refuses, False

    __enter__ = __exit__ = record = wait_event = lambda self, *rest: None

    def begin_capture(self) -> None:
        self.notes = True

    def end_capture(self) -> Any:
        self.notes = False
        if self.refuses:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated")
        return types.SimpleNamespace(launch=lambda stream: done.append("graph"))


done: list[str] = []


@pytest.fixture
def graph(monkeypatch):
    """Make a graph of work that says what was done, on streams that refuse it or not."""
    done.clear()

    def made(refuses: bool) -> Graph:
        stream = Stream(refuses)
        cuda = types.SimpleNamespace(get_current_stream=lambda: stream, Stream=lambda non_blocking: stream,
                                     MemoryPool=lambda: types.SimpleNamespace(malloc=None),
                                     using_allocator=lambda malloc: contextlib.nullcontext())
        monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=cuda))

        def work() -> None:
            assert noting()
            done.append("noted" if stream.notes else "work")

        return Graph(work)

    return made


def test_work_is_done_once_then_noted_then_replayed(graph):
    run = graph(False)
    assert done == ["work", "noted"] and not noting()
    run()
    assert done == ["work", "noted", "graph"]


def test_what_cannot_be_noted_is_done_one_by_one(graph):
    with pytest.warns(SpeedWarning, match="one by one.*CaptureInvalidated"):
        run = graph(True)
    run()
    assert done == ["work", "noted", "work"] and not noting()
