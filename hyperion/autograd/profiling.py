"""Where the time goes: each operation's calls, time and bytes, on the CPU and on GPUs alike.

While a `profile` context is open it observes every operation, and every step of a backward sweep. On the CPU a clock is read before and
after; on a GPU two events are put into the stream, so the run is not slowed by waiting, and a range of NVTX carries the operation's name
into Nsight.
"""

import functools
import json
import threading
import time
from collections.abc import Callable
from contextlib import ContextDecorator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.observing import Observer, start, stop
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor
from hyperion.errors import GraphError
from hyperion.gpu import device

__all__ = ["OperationTotal", "profile"]


class OperationTotal(NamedTuple):
    """What all calls of one operation on one device took together.

    seconds: without the operations it called itself.  bytes: of its inputs and results, each counted once a call.
    fraction: of the time in which a copy could have moved as many bytes, to seconds; above 1 where the data lay in a cache.
    """

    name: str
    device: str
    calls: int
    seconds: float
    bytes: int
    fraction: float


class _Span:
    """One call that has begun.

    began, ended: on the host's clock [s].  marks: events of a GPU's stream, before and after.
    when: the GPU began, on the host's clock [s].  inner: seconds spent in the spans within.
    """

    __slots__ = ("began", "bytes", "device", "ended", "inner", "marks", "name", "outer", "seconds", "thread", "when")

    def __init__(self, name: str, outer: "_Span | None") -> None:
        self.name, self.outer = name, outer
        self.device = "cpu"
        self.bytes = 0
        self.marks: list[Any] = []
        self.thread = threading.get_ident()
        self.began = self.ended = self.when = self.seconds = self.inner = 0.0


class profile(Observer, ContextDecorator):
    """A context (or decorator) that measures every operation called in it: print it afterwards for a table.

    It holds in all threads. A simulation, a transform or a library call is one operation. The time of an operation does not contain that
    of the operations it calls; "tanh, backward" is the step of a backward sweep through tanh. Reading the clock takes about 2 us a call.
    seconds: from begin to end, once it has ended.
    Raises: GraphError if it is entered twice at a time, or asked before it has ended.

    >>> import hyperion as hp
    >>> with profile() as p:
    ...     y = hp.sum(hp.tanh(hp.asarray([0.0, 1.0])))
    >>> [(total.name, total.calls, total.bytes) for total in sorted(p.totals())]
    [('sum', 1, 12), ('tanh', 1, 16)]
    >>> print(p)                                            # doctest: +ELLIPSIS
    operation  device  calls  ...
    """

    def __init__(self) -> None:
        self._spans: list[_Span] = []
        self._local = threading.local()
        self._began = 0.0
        self._bases: dict[str, tuple[Any, float]] = {}      # of each GPU: an event and when it was put into the stream
        self._open = False
        self.seconds = 0.0          # from begin to end

    def __enter__(self) -> "profile":
        if self._open:
            raise GraphError("profile is open already; enter it once at a time, or make another profile()")
        self._spans, self._bases, self._open = [], {}, True
        self._began = time.perf_counter()
        start(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stop(self)
        for span in self._spans:
            _settle(span, self._bases)
        for span in self._spans:
            if span.outer is not None:
                span.outer.inner += span.seconds
        self.seconds = time.perf_counter() - self._began
        self._open = False

    def called(self, call: Callable[..., Any], op: Primitive, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Do an operation and measure it."""
        return self._measured(op.name, lambda: call(op, *inputs, **params), _arrays(inputs))

    def pulled(self, pull: Callable[..., Any], op: Primitive, node: Any, g: Any) -> Any:
        """Do a step of a backward sweep and measure it."""
        held: list[Any] = [*node.inputs, *(node.output if op.outputs != 1 else (node.output,)), *(g if op.outputs != 1 else (g,))]
        return self._measured(f"{op.name}, backward", lambda: pull(op, node, g), _arrays(held))

    def _measured(self, name: str, work: Callable[[], Any], given: list[Any]) -> Any:
        outer: _Span | None = getattr(self._local, "span", None)
        span = self._local.span = _Span(name, outer)
        gpu: Any = next((x for x in given if device.device_of(x) != "cpu"), None)
        if gpu is not None:
            _mark(span, gpu, self._bases)
        span.began = time.perf_counter()
        try:
            out: Any = work()
        finally:
            span.ended = time.perf_counter()
            self._local.span = outer
            if gpu is not None:
                _mark(span, gpu, self._bases)
        span.bytes = sum(x.nbytes for x in (*given, *_arrays([out] if isinstance(out, Tensor) else out)))
        self._spans.append(span)
        return out

    def totals(self) -> list[OperationTotal]:
        """Return what each operation took on each device, the greatest first.

        Raises: GraphError if the context has not ended.
        """
        self._need_ended()
        groups: dict[tuple[str, str], list[_Span]] = {}
        for span in self._spans:
            groups.setdefault((span.name, span.device), []).append(span)
        found: list[OperationTotal] = []
        for (name, place), spans in groups.items():
            seconds = sum(max(span.seconds - span.inner, 0.0) for span in spans)
            moved = sum(span.bytes for span in spans)
            fraction = moved / seconds / copy_bandwidth(place) if seconds else 0.0
            found.append(OperationTotal(name, place, len(spans), seconds, moved, fraction))
        return sorted(found, key=lambda total: -total.seconds)

    def __str__(self) -> str:
        totals = self.totals()
        every = sum(total.seconds for total in totals)
        width = max([len("operation"), *(len(total.name) for total in totals)])
        lines = [f"{'operation':<{width}}  device  calls  time [ms]  share  moved [MB]    GB/s  of a copy"]
        for name, place, calls, seconds, moved, fraction in totals:
            rate = moved / seconds / 1e9 if seconds else 0.0
            lines.append(
                f"{name:<{width}}  {place:<6}  {calls:>5}  {1e3 * seconds:>9.3f}  {seconds / every if every else 0:>5.0%}  "
                f"{moved / 1e6:>10.2f}  {rate:>6.1f}  {fraction:>9.1%}"
            )
        count = sum(total.calls for total in totals)
        lines.append(f"{1e3 * every:.3f} ms in {count} operations, {1e3 * self.seconds:.3f} ms from begin to end")
        return "\n".join(lines)

    def write_trace(self, path: str | Path) -> None:
        """Write the calls in the trace event format of Chrome: open it in chrome://tracing or ui.perfetto.dev.

        Source: "Trace Event Format", complete events ("ph": "X"), times in microseconds.
        Raises: GraphError if the context has not ended.
        """
        self._need_ended()
        events: list[dict[str, Any]] = []
        for span in self._spans:
            about: dict[str, Any] = {"name": span.name, "ph": "X", "args": {"bytes": span.bytes}}
            if span.marks:
                began = 1e6 * (span.when - self._began)
                events.append(about | {"pid": span.device, "tid": "stream", "ts": began, "dur": 1e6 * span.seconds})
            events.append(about | {
                "pid": "cpu", "tid": span.thread, "ts": 1e6 * (span.began - self._began), "dur": 1e6 * (span.ended - span.began),
            })
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")

    def _need_ended(self) -> None:
        if self._open:
            raise GraphError("profile has not ended; ask it after the with block")


def _arrays(values: Any) -> list[Any]:
    """Return the arrays of Tensors and arrays, without None."""
    found: list[Any] = [x.data if type(x) is Tensor else x for x in values]
    return [x for x in found if x is not None]


def _mark(span: _Span, array: Any, bases: dict[str, tuple[Any, float]]) -> None:
    """Put an event into the current stream of an array's GPU; the first of a span also begins a range of NVTX, the second ends it."""
    cupy = device.namespace(array)
    span.device = device.device_of(array)
    with array.device:
        if span.device not in bases:
            base = cupy.cuda.Event()
            base.record()
            base.synchronize()
            bases[span.device] = (base, time.perf_counter())
        event = cupy.cuda.Event()
        if span.marks:
            cupy.cuda.nvtx.RangePop()
        else:
            cupy.cuda.nvtx.RangePush(span.name)
        event.record()
        span.marks.append(event)


def _settle(span: _Span, bases: dict[str, tuple[Any, float]]) -> None:
    """Find out how long a span took, from its marks if it has any."""
    if not span.marks:
        span.seconds = span.ended - span.began
        return
    elapsed = device.namespace_of(span.device).cuda.get_elapsed_time       # [ms]
    base, since = bases[span.device]
    first, last = span.marks
    last.synchronize()
    span.seconds = elapsed(first, last) / 1e3
    span.when = since + elapsed(base, first) / 1e3


@functools.cache
def copy_bandwidth(place: str) -> float:
    """Return how many bytes a second a large copy reads and writes on a device, measured once: the median of five copies of 64 MiB.

    Raises: DeviceError if the device is not there.

    >>> copy_bandwidth("cpu") > 1e8
    True
    """
    xp = device.namespace_of(place)
    times: list[float] = []
    if xp is np:
        source = np.ones(1 << 23)
        into = np.ones_like(source)
        for _ in range(5):
            began = time.perf_counter()
            np.copyto(into, source)
            times.append(time.perf_counter() - began)
        return 2 * source.nbytes / sorted(times)[2]
    with xp.cuda.Device(int(place.partition(":")[2])):
        source = xp.ones(1 << 26)
        into = xp.empty_like(source)
        for _ in range(5):
            first, last = xp.cuda.Event(), xp.cuda.Event()
            first.record()
            into.data.copy_from_device_async(source.data, source.nbytes, xp.cuda.get_current_stream())
            last.record()
            last.synchronize()
            times.append(xp.cuda.get_elapsed_time(first, last) / 1e3)
        return 2 * source.nbytes / sorted(times)[2]
