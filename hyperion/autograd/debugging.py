"""Finding where a value went wrong: the first operation that makes a NaN or Inf, and the line of user code that called it.

While a `debug` context is open it observes every operation. Sweeps then call operations too, instead of working on raw arrays, so
derivatives of every kind are watched in the same way.
"""

import linecache
import sys
from collections.abc import Callable
from contextlib import ContextDecorator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Node
from hyperion.autograd.observing import Observer, start, stop
from hyperion.autograd.table import Primitive
from hyperion.errors import InputError, NonFiniteError
from hyperion.gpu import device

__all__ = ["debug"]

PACKAGE = str(Path(__file__).resolve().parents[1])
SWEEPS = {"sweep_backward": "backward", "sweep_forward": "forward", "_coefficient": "Taylor"}     # functions that have a `node` in hand
BETWEEN = ("contextlib.py", "functools.py")     # of the standard library: decorators stand between a user and the package


class Place(NamedTuple):
    """A line of user code that called an operation. sweep: the transform's sweep it was called in ("" if none), and of which node."""

    file: str
    line: int
    function: str
    sweep: str = ""
    node: str = ""
    origin: "Place | None" = None

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip()
        return f"{self.file}:{self.line}, in {self.function}" + (f": {text}" if text else "")


class debug(Observer, ContextDecorator):
    """A context (or decorator) in which the first operation that makes a NaN or Inf out of finite inputs raises, and says where.

    The error names the operation, the shapes, how many NaN and Inf there are, and the line of user code that called it; in a backward,
    forward or Taylor sweep also the line that called the operation being differentiated, if that was recorded inside the context.
    nan: check every result.
    trace: a function of a text, called with one line for each operation; print, for example.
    It holds in all threads, and every operation is slower in it. NaN and Inf that come in with data do not raise.
    Raises, inside: NonFiniteError.

    >>> import hyperion as hp
    >>> with debug(nan=True):
    ...     y = hp.log(hp.asarray([1.0, 0.0]))
    Traceback (most recent call last):
        ...
    hyperion.errors.NonFiniteError: log: 1 Inf among the 2 values of its result (2,) float32, from finite inputs (2,) float32
      called at <doctest hyperion.autograd.debugging.debug[1]>:2, in <module>: y = hp.log(hp.asarray([1.0, 0.0]))
      choose inputs for which it is finite before the operation, not after: clip(...) or where(...)
    """

    shortcuts = False

    def __init__(self, nan: bool = True, trace: Callable[[str], object] | None = None) -> None:
        if trace is not None and not callable(trace):
            raise InputError(f"debug(trace={trace!r}): trace must be a function of a text, such as print, or None")
        self.nan = nan
        self.trace = trace

    def __repr__(self) -> str:
        return f"debug(nan={self.nan}, trace={getattr(self.trace, '__name__', self.trace)})"

    def __enter__(self) -> "debug":
        start(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stop(self)

    def called(self, call: Callable[..., Any], op: Primitive, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Do an operation, note where it was called from and look at the results."""
        with np.errstate(all="ignore"):         # NumPy's warnings say less, and would come first where warnings are errors
            out: Any = call(op, *inputs, **params)
        results: tuple[Any, ...] = tuple(out) if op.outputs != 1 else (out,)
        place = _place(sys._getframe(1))        # pyright: ignore[reportPrivateUsage]
        for x in results:
            if x.node is not None and x.node.op is op:
                x.node.site = place
        if self.trace is not None:
            self.trace(f"{op.name}: {_shapes(inputs)} -> {_shapes(results)}, {_where(place)}")
        if self.nan and not _finite(results) and _finite(inputs):
            raise NonFiniteError(_message(op.name, inputs, results, place))
        return out


def _finite(tensors: tuple[Any, ...]) -> bool:
    """Tell whether all values of Tensors are finite."""
    return all(bool(device.namespace(x.data).isfinite(x.data).all()) for x in tensors if is_inexact(x.dtype))


def _place(frame: FrameType | None) -> Place:
    """Return where user code stands, going out from a frame, and the node of the innermost sweep on the way."""
    node: Node | None = None
    sweep = ""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            if node is None and code.co_name in SWEEPS:
                found = frame.f_locals.get("node")
                if isinstance(found, Node):
                    node, sweep = found, SWEEPS[code.co_name]
        elif not code.co_filename.endswith(BETWEEN):
            break
        frame = frame.f_back
    origin: Place | None = getattr(node, "site", None)
    name = "" if node is None or node.op is None else node.op.name
    if frame is None:
        return Place("<unknown>", 0, "<unknown>", sweep, name, origin)
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, sweep, name, origin)


def _where(place: Place) -> str:
    return f"{place.file}:{place.line}" + (f", {place.sweep} sweep of {place.node}" if place.sweep else "")


def _shapes(tensors: tuple[Any, ...]) -> str:
    return ", ".join(f"{x.shape} {x.dtype}" for x in tensors)


def _message(name: str, inputs: tuple[Any, ...], results: tuple[Any, ...], place: Place) -> str:
    nans = infs = size = 0
    for x in results:
        if is_inexact(x.dtype):
            xp = device.namespace(x.data)
            nan = xp.isnan(x.data)
            nans, infs, size = nans + int(nan.sum()), infs + int((xp.isinf(x.data) & ~nan).sum()), size + x.size
    counts = " and ".join(f"{count} {what}" for count, what in ((nans, "NaN"), (infs, "Inf")) if count)
    lines = [f"{name}: {counts} among the {size} values of its result {_shapes(results)}, from finite inputs {_shapes(inputs)}"]
    if not place.sweep:
        lines += [f"called at {place}", "choose inputs for which it is finite before the operation, not after: clip(...) or where(...)"]
        return "\n  ".join(lines)
    within: Place | None = place
    while within is not None and within.sweep:
        known = f", which was called at {within.origin}" if within.origin is not None and not within.origin.sweep else ""
        lines.append(f"in the {within.sweep} sweep of {within.node!r}{known}")
        within = within.origin
    lines += [
        f"the sweep was started at {place}",
        f"the derivative of {place.node!r} is not finite there: choose its inputs by clip(...) or where(...) before it, not after",
    ]
    return "\n  ".join(lines)
