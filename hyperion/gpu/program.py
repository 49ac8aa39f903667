"""Fused loops on the GPU: compiled in modules of many, launched one by one, or all together as a CUDA graph."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hyperion import config
from hyperion.errors import CompilerError

from .launching import THREADS, cupy, header, kernel

__all__ = ["Kernel", "Launching", "Sequel", "compiled", "copying", "launching", "module", "private_stream"]

UNIT = 24               # loops of one module
Launching = Callable[[Any], None]           # of the stream on which it launches
_known: dict[Any, "Kernel"] = {}


class Kernel:
    """The functions of a loop. end: adds up the parts of its sums, or None."""

    __slots__ = ("end", "run")

    def __init__(self, run: Any, end: Any) -> None:
        self.run = getattr(run, "kernel", run)          # below RawKernel, which looks for the device at each call
        self.end = getattr(end, "kernel", end)


def module(bodies: Sequence[str]) -> str:
    """Return the whole text of a module of loops.

    >>> "added_along" in module(())
    True
    """
    return "typedef REAL real;\n" + header("maths") + header("loops") + "\n".join(bodies)


def compiled(loops: Sequence[tuple[str, str, bool]], device: int) -> list[Kernel]:
    """Return the kernels of loops, compiling in one go those that this process has not seen.

    loops: (CUDA text of a kernel called NAME, dtype of its numbers, whether indices take 64 bits).
    Raises: CompilerError with the compiler's message.
    """
    units: list[tuple[str, bool, list[str]]] = []
    for dtype, far in dict.fromkeys(loop[1:] for loop in loops):
        new = sorted({one for one, *of in loops if of == [dtype, far] and (one, dtype, far, device) not in _known})
        units += [(dtype, far, new[i:i + UNIT]) for i in range(0, len(new), UNIT)]
    if len(units) > 1:
        with ThreadPoolExecutor(config.threads()) as workers:
            list(workers.map(lambda unit: _compile(unit[0], unit[1], unit[2], device), units))
    else:
        for unit in units:
            _compile(unit[0], unit[1], unit[2], device)
    return [_known[(*loop, device)] for loop in loops]


def _compile(dtype: str, far: bool, texts: list[str], device: int) -> None:
    names = [f"loop_{hashlib.sha256(one.encode()).hexdigest()[:16]}" for one in texts]
    whole = module([one.replace("NAME", name) for one, name in zip(texts, names, strict=True)])
    macros = {"FAR": 1} if far else {}
    with cupy().cuda.Device(device):
        for one, name in zip(texts, names, strict=True):
            try:
                run = kernel(whole, name, np.dtype(dtype), device, **macros)
                end = kernel(whole, f"{name}_end", np.dtype(dtype), device, **macros) if "NAME_end" in one else None
            except Exception as error:      # NVRTC's, the driver's and CuPy's have no class in common
                raise CompilerError(f"NVRTC refuses the text of a fused loop: {error}") from error
            _known[one, dtype, far, device] = Kernel(run, end)


def launching(function: Any, blocks: int, arguments: tuple[int, ...]) -> Launching:
    """Return the launch of a kernel with THREADS threads in each block."""
    grid, block = (blocks,), (THREADS,)
    return lambda stream: function(grid, block, arguments, stream=stream)


def copying(to: int, source: int, size: int) -> Launching:
    """Return the copy of bytes from one address of the GPU's memory to another."""
    runtime = cupy().cuda.runtime
    return lambda stream: runtime.memcpyAsync(to, source, size, runtime.memcpyDeviceToDevice, stream.ptr)


class _Streams(threading.local):
    """For each GPU the stream on which a thread notes graphs, and the one on which it launched a graph last."""

    def __init__(self) -> None:
        self.private: dict[int, Any] = {}
        self.last: dict[int, Any] = {}


_streams = _Streams()


def private_stream(device: int) -> Any:
    """Return the stream on which this thread notes graphs.

    The graphs noted on it share working memory: the current stream waits for those that were launched on another one.
    """
    current, last = cupy().cuda.get_current_stream(), _streams.last.get(device)
    if last is not None and last.ptr != current.ptr:
        current.wait_event(last.record())
    _streams.last[device] = current
    if device not in _streams.private:
        _streams.private[device] = cupy().cuda.Stream(non_blocking=True)
    return _streams.private[device]


class Sequel:
    """Launches in order, on arrays whose addresses stay: made one by one at first, and from the second run on as one CUDA graph.

    launches: functions of a stream.
    """

    def __init__(self, launches: Sequence[Launching]) -> None:
        self._launches = launches
        self._graph: Any = None
        self._direct = True

    def __call__(self, private: Any) -> None:
        """Run on the current stream. private: a stream on which launches are noted."""
        current = cupy().cuda.get_current_stream()
        if self._graph is None and not self._direct:
            private.begin_capture()
            try:
                for launch in self._launches:
                    launch(private)
            finally:
                self._graph = private.end_capture()
        if self._graph is not None:
            self._graph.launch(current)
            return
        for launch in self._launches:
            launch(current)
        self._direct = len(self._launches) == 1         # which is no quicker as a graph
