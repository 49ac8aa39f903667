"""Work on a GPU noted once as a CUDA graph: its launches go out together, which takes the host as long as a few of them alone."""

import threading
from collections.abc import Callable

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
    """

    def __init__(self, work: Callable[[], None]) -> None:
        cuda = cupy().cuda
        current, stream, self._pool = cuda.get_current_stream(), cuda.Stream(non_blocking=True), cuda.MemoryPool()
        stream.wait_event(current.record())
        _state.active = True
        try:
            with cuda.using_allocator(self._pool.malloc), stream:
                work()
                stream.begin_capture()
                try:
                    work()
                finally:
                    self._graph = stream.end_capture()
        finally:
            _state.active = False
        current.wait_event(stream.record())

    def __call__(self) -> None:
        """Launch it on the current stream."""
        self._graph.launch(cupy().cuda.get_current_stream())
