"""Work on a GPU noted once as a CUDA graph: its launches go out together, which takes the host as long as a few of them alone."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

from hyperion.errors import SpeedWarning

from .launching import cupy

__all__ = ["Graph", "noting"]


class _State(threading.local):
    active = False


_state = _State()


def noting() -> bool:
    """Tell whether this thread notes launches: nothing can be read back from the GPU then, and who notes vouches for indices.

    >>> noting()
    False
    """
    return _state.active


class Graph:
    """Launches of a function, which are made again at each call.

    work: a function of nothing, which works on arrays that stay where they are and reads nothing back. It is run twice here: the first time
    compiles and loads what it needs. What it makes on the way has memory of its own, which is kept as long as the graph is.
    Where the GPU's driver refuses to note something that is done, a warning says so, and calls make the launches one by one.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        cuda = cupy().cuda
        current, stream, self._pool = cuda.get_current_stream(), cuda.Stream(non_blocking=True), cuda.MemoryPool()
        stream.wait_event(current.record())
        self._work = work
        _state.active = True
        try:
            with cuda.using_allocator(self._pool.malloc), stream:
                work()
                end = stream.record()
                self._graph = self._noted(stream)
        finally:
            _state.active = False
        current.wait_event(end)

    def _noted(self, stream: Any) -> Any:
        """Return the launches of the work as a graph; None where they cannot be noted."""
        try:
            stream.begin_capture()
            try:
                self._work()
            finally:
                graph = stream.end_capture()
        except Exception as error:              # those of CuPy's parts have no class in common
            warnings.warn(f"launches are made one by one, not as a CUDA graph: {type(error).__name__}: {error}", SpeedWarning, stacklevel=4)
            return None
        return graph

    def __call__(self) -> None:
        """Launch it on the current stream."""
        if self._graph is not None:
            self._graph.launch(cupy().cuda.get_current_stream())
            return
        _state.active = True
        try:
            self._work()
        finally:
            _state.active = False
