"""What stands for arrays while a function is recorded: it knows shape and dtype, and refuses to show values."""

import linecache
import math
import sys
from types import FrameType
from typing import Any, NoReturn

from hyperion.autograd.debugging import BETWEEN, PACKAGE
from hyperion.autograd.jit.ir import Value
from hyperion.errors import GraphError
from hyperion.gpu.device import Standin, device_of

__all__ = ["Traced", "user_line"]

WAYS = "use hp.where or hp.cond instead of `if`, hp.scan or hp.while_loop for loops on values, pass Python numbers as arguments (they " \
       "are recorded by value), or do it outside"


class _Flags:
    """The flags of an array that nobody writes to."""

    writeable = False
    c_contiguous = True


class Traced(Standin):
    """The array of a Tensor inside a recording.

    value: of the program.  actual: the array of the recorded call: operations compute with it, since shapes may depend on values.
    """

    __slots__ = ("actual", "dtype", "ndim", "place", "shape", "size", "value")

    flags = _Flags()

    def __init__(self, value: Value, actual: Any) -> None:
        self.value = value
        self.actual = actual
        self.place = device_of(actual)
        self.shape: tuple[int, ...] = actual.shape
        self.dtype = actual.dtype
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __repr__(self) -> str:
        return f"recorded array {self.shape} {self.dtype}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__array_interface__":
            raise AttributeError(name)
        self._refuse(f".{name}")

    def _refuse(self, what: str) -> NoReturn:
        raise GraphError(
            f"jit: the value of a Tensor of shape {self.shape} is needed ({what}) while the function is recorded, at {user_line()}; it "
            f"differs from call to call: {WAYS}"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self._refuse("as a NumPy array")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        self._refuse(f"numpy.{ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        self._refuse(f"numpy.{function.__name__}")


def _refusing(name: str) -> Any:
    def method(self: Traced, *others: Any) -> Any:
        self._refuse(name)      # pyright: ignore[reportPrivateUsage]

    return method


for _name in (
    "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "matmul", "rmatmul", "neg", "pos", "abs", "lt", "le",
    "gt", "ge", "eq", "ne", "and", "or", "xor", "invert", "bool", "float", "int", "index", "complex", "len", "iter", "getitem", "setitem",
):
    setattr(Traced, f"__{_name}__", _refusing(f"__{_name}__"))
Traced.__hash__ = object.__hash__       # pyright: ignore[reportAttributeAccessIssue]


def user_line() -> str:
    """Return the innermost line of code outside the package that is running, with its text."""
    frame: FrameType | None = sys._getframe(1)      # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) and not code.co_filename.endswith(BETWEEN):
            text = linecache.getline(code.co_filename, frame.f_lineno).strip()
            return f"{code.co_filename}:{frame.f_lineno}, in {code.co_name}" + (f": {text}" if text else "")
        frame = frame.f_back
    return "an unknown line"
