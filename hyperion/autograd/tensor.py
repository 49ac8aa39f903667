"""Tensor: an immutable array value that remembers how it was made."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import KNOWN, SCALARS, as_dtype, default_dtype, is_inexact
from hyperion.autograd.graph import Hook, Leaf, Node, changes, share
from hyperion.errors import DtypeError, GraphError, InputError, ShapeError
from hyperion.gpu import device as devices

__all__ = ["Tensor", "as_tensor"]

STANDARDS = ("2021.12", "2022.12", "2023.12", "2024.12")        # versions of the array API that the namespace follows


class Tensor:
    """An immutable array value: a NumPy or CuPy array, and the node of the recorded graph that made it.

    data: the raw array; its type decides where operations run. Writing into it is not seen by derivatives.
    node, index: the node that made it (None: not tracked) and which of the node's outputs it is.

    Make one with `asarray`; the constructor trusts its arguments.

    >>> from hyperion.autograd import asarray
    >>> x = asarray([1.0, 2.0, 3.0], requires_grad=True)
    >>> loss = (x * x).sum()
    >>> loss.backward()
    >>> x.grad
    Tensor (3,) float32, cpu: [2. 4. 6.]
    """

    __array_ufunc__ = None      # numpy_array * tensor calls Tensor.__rmul__, and numpy.sin(tensor) is refused: it would lose the derivative
    __slots__ = ("data", "index", "node")

    def __init__(self, data: Any, node: Node | None = None, index: int = 0) -> None:
        self.data = data
        self.node = node
        self.index = index

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the elements."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def device(self) -> str:
        """Where it lives: "cpu" or "cuda:0"."""
        return devices.device_of(self.data)

    @property
    def T(self) -> "Tensor":
        """The transpose of a matrix.

        Raises: ShapeError unless it has two axes.
        """
        if self.ndim != 2:
            raise ShapeError(f"x.T: x has shape {self.shape}; .T needs two axes: use permute_dims(x, axes)")
        return permute_dims(self, (1, 0))

    @property
    def mT(self) -> "Tensor":
        """The transposes of a stack of matrices: the last two axes swapped.

        Raises: ShapeError if it has fewer than two axes.
        """
        if self.ndim < 2:
            raise ShapeError(f"x.mT: x has shape {self.shape}; .mT needs at least two axes")
        return self.transpose(-2, -1)

    @property
    def H(self) -> "Tensor":
        """The conjugate transpose of a matrix.

        Raises: ShapeError unless it has two axes.
        """
        return conj(self.T)

    @property
    def mH(self) -> "Tensor":
        """The conjugate transposes of a stack of matrices.

        Raises: ShapeError if it has fewer than two axes.
        """
        return conj(self.mT)

    @property
    def real(self) -> "Tensor":
        """The real part; x itself if it is real."""
        return real(self)

    @property
    def imag(self) -> "Tensor":
        """The imaginary part; zeros if it is real."""
        return imag(self)

    @property
    def tracked(self) -> bool:
        """Whether operations on it are recorded: it requires a gradient, or was computed from something that does."""
        return self.node is not None

    requires_grad = tracked

    def __repr__(self) -> str:
        shown = self.size <= 8 and self.ndim < 2 and not isinstance(self.data, devices.Standin)
        values = ": " + np.array2string(devices.to_numpy(self.data), precision=6, separator=" ") if shown else ""
        return f"Tensor {self.shape} {self.dtype}, {self.device}{', tracked' if self.tracked else ''}{values}"

    def __str__(self) -> str:
        """Return the line of repr, and under it the values of a larger Tensor, shortened."""
        line = repr(self)
        if (self.size <= 8 and self.ndim < 2) or isinstance(self.data, devices.Standin):
            return line
        return line + ":\n" + np.array2string(devices.to_numpy(self.data), precision=6, separator=" ", threshold=200, edgeitems=3)

    # Derivatives

    @property
    def grad(self) -> "Tensor | None":
        """The gradient that `backward` accumulated here; None before, and for anything but a Tensor made with requires_grad=True."""
        return self.node.grad if isinstance(self.node, Leaf) else None

    @grad.setter
    def grad(self, value: "Tensor | None") -> None:
        if not isinstance(self.node, Leaf):
            raise GraphError("x.grad can be set only on a Tensor made with requires_grad=True: use asarray(x, requires_grad=True)")
        if value is None:
            self.node.grad = None
            return
        new = as_tensor(value)
        if new.shape != self.shape:
            raise ShapeError(f"x.grad: got shape {new.shape} for x of shape {self.shape}; they must agree")
        self.node.grad = new

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add the derivative of this value to `.grad` of every Tensor with requires_grad=True that it was computed from.

        gradient: weights of the elements, same shape; may be left out for a scalar.
        retain_graph: keep the graph for another backward; default: as create_graph. Otherwise its memory is freed.
        create_graph: record the sweep, so that `.grad` can be differentiated. `.grad` then refers to the graph and the graph to the Tensor:
            set x.grad = None when done, or prefer `grad(f)`, which makes no such cycle.
        Raises: GraphError if nothing tracked was used or the graph was freed; ShapeError if it is no scalar and gradient is missing.
        """
        backward(self, gradient, create_graph if retain_graph is None else retain_graph, create_graph)

    @property
    def at(self) -> "At":
        """Places in it: x.at[index].set(value), .add(value), .multiply(value), .min(value), .max(value) give new Tensors."""
        return At(self)

    def register_hook(self, hook: "Hook") -> Callable[[], None]:
        """Call a function with the gradient that arrives here in a backward sweep; what it returns, if not None, goes on instead.

        It sees the sum over all uses of this value, wherever they stand. Returns: a function that removes the hook.
        Raises: GraphError if nothing is recorded here.

        >>> from hyperion.autograd import asarray
        >>> x = asarray(3.0, requires_grad=True)
        >>> remove = x.register_hook(lambda g: 10.0 * g)
        >>> (x * x).backward()
        >>> x.grad
        Tensor () float32, cpu: 60.
        """
        if not callable(hook):
            raise InputError(f"x.register_hook(hook): hook is a {type(hook).__name__}; it must be a function of the gradient")
        if self.node is None:
            raise GraphError("x.register_hook(hook): x is not tracked, so no gradient arrives; make it with requires_grad=True")
        node = self.node
        if not hasattr(node, "hooks"):
            node.hooks = []
        entry = (self.index, hook)
        node.hooks.append(entry)
        changes.hooked = True
        return lambda: node.hooks.remove(entry) if entry in node.hooks else None

    def detach(self) -> "Tensor":
        """Return the same value as a constant: no derivative flows through it. The array is shared."""
        return Tensor(self.data)

    def assign(self, value: Any) -> None:
        """Give a Tensor made with requires_grad=True a new value, as an optimizer step does.

        value: Tensor or array of the same shape, dtype and device. It is shared, not copied.
        Graphs recorded before hold the old value's node; differentiating one of them afterwards raises GraphError.
        Raises: GraphError if this Tensor was computed or is a constant; ShapeError, DtypeError or DeviceError if value differs in kind.

        >>> from hyperion.autograd import asarray
        >>> x = asarray([1.0, 2.0], requires_grad=True)
        >>> x.assign(x.data - 0.5)
        >>> x
        Tensor (2,) float32, cpu, tracked: [0.5 1.5]
        """
        if not isinstance(self.node, Leaf):
            raise GraphError("x.assign(value): x was not made with requires_grad=True; make a new Tensor instead")
        new = as_tensor(value).data
        if new.shape != self.shape:
            raise ShapeError(f"x.assign(value): value has shape {new.shape}, x has {self.shape}; they must agree")
        if new.dtype != self.dtype:
            raise DtypeError(f"x.assign(value): value is {new.dtype}, x is {self.dtype}; use value.astype(x.dtype)")
        self.data = devices.to_device(new, self.device)
        self.node.mark_changed()

    # Conversions

    def numpy(self) -> Any:
        """Return the value as a NumPy array that cannot be written to; on the CPU it shares memory. numpy.array(x) makes a copy.

        Raises: GraphError for a tracked Tensor, since the derivative would be lost without a word: use x.detach().numpy().
        """
        if self.tracked:
            raise GraphError("x.numpy(): x is tracked and NumPy would lose its derivative; use x.detach().numpy() if that is meant")
        view = devices.to_numpy(self.data).view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        """Return the namespace of functions that work on it: hyperion.

        Raises: InputError for an unknown version of the array API standard.
        """
        if api_version is not None and api_version not in STANDARDS:
            raise InputError(f"x.__array_namespace__(api_version={api_version!r}): use one of {', '.join(STANDARDS)}")
        return sys.modules[__name__.partition(".")[0]]

    def __dlpack__(
        self, /, *, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        return export(self, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self, /) -> tuple[int, int]:
        return export_device(self)

    def item(self) -> Any:
        """Return the only element as a Python number.

        Raises: ShapeError if there is not exactly one.
        """
        if self.size != 1:
            raise ShapeError(f"x.item(): x has shape {self.shape}; only a Tensor of one element is a number")
        return self.data.item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self.detach().numpy().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DtypeError(f"an index must be an integer; got a Tensor of dtype {self.dtype}")
        return self.data.item().__index__()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy: the value, and whether it requires a gradient."""
        if self.tracked and not isinstance(self.node, Leaf):
            raise GraphError("a tracked Tensor cannot be copied or pickled, since its graph would come along; use x.detach()")
        return _rebuild, (self.data, self.tracked)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a Tensor of shape () has no length")
        return self.shape[0]

    def __iter__(self) -> "Iterator[Tensor]":
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__      # by identity: two Tensors of equal value are different places in a graph

    # Operations, from the table

    def astype(self, dtype: Any) -> "Tensor":
        """Return it in another dtype; see `hyperion.astype`."""
        return astype(self, dtype)

    def to(self, device: str) -> "Tensor":
        """Return it on another device; see `hyperion.to_device`."""
        return to_device(self, device)

    def to_device(self, device: str, /, *, stream: Any = None) -> "Tensor":
        """Return it on another device, as the array API standard names it; `stream` must be None."""
        if stream is not None:
            raise InputError("x.to_device(device, stream=...): streams are not taken here; leave stream out")
        return to_device(self, device)

    def transpose(self, first: int, second: int) -> "Tensor":
        """Return it with two axes swapped; for any order of axes see `hyperion.permute_dims`."""
        ndim = self.ndim
        if not (isinstance(first, int) and isinstance(second, int)):       # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"x.transpose({first!r}, {second!r}): both must be numbers of axes; for an order of axes use permute_dims")
        if not (-ndim <= first < ndim and -ndim <= second < ndim):
            raise ShapeError(f"x.transpose({first}, {second}): x has {ndim} axes; use -{ndim} to {ndim - 1}")
        axes = list(range(ndim))
        axes[first], axes[second] = axes[second], axes[first]
        return permute_dims(self, axes)

    def reshape(self, *shape: Any) -> "Tensor":
        """Return it in another shape, given as numbers or one tuple; see `hyperion.reshape`."""
        return reshape(self, shape[0] if len(shape) == 1 else shape)

    def sum(self, axis: Any = None, keepdims: bool = False) -> "Tensor":
        """Return the sum over axes (None: all); see `hyperion.sum`."""
        return sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> "Tensor":
        """Return the mean over axes (None: all); see `hyperion.mean`."""
        return mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> "Tensor":
        """Return the largest element over axes (None: all); see `hyperion.max`."""
        return max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> "Tensor":
        """Return the smallest element over axes (None: all); see `hyperion.min`."""
        return min(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> "Tensor":
        """Return whether any element is true over axes (None: all); see `hyperion.any`."""
        return any(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> "Tensor":
        """Return whether all elements are true over axes (None: all); see `hyperion.all`."""
        return all(self, axis=axis, keepdims=keepdims)

    def __getitem__(self, key: Any, /) -> "Tensor":
        return getitem(self, key)

    def __setitem__(self, key: Any, value: Any, /) -> None:
        raise InputError("x[key] = value: Tensors do not change; use x = x.at[key].set(value), which gives a new one")

    def __neg__(self) -> "Tensor":
        return negative(self)

    def __pos__(self) -> "Tensor":
        return self

    def __abs__(self) -> "Tensor":
        return abs(self)

    def __invert__(self) -> "Tensor":
        return bitwise_invert(self)

    def __add__(self, other: Any) -> "Tensor":
        return add(self, other) if type(other) is Tensor or is_operand(other) else NotImplemented

    def __radd__(self, other: Any) -> "Tensor":
        return add(other, self) if is_operand(other) else NotImplemented

    def __sub__(self, other: Any) -> "Tensor":
        return subtract(self, other) if type(other) is Tensor or is_operand(other) else NotImplemented

    def __rsub__(self, other: Any) -> "Tensor":
        return subtract(other, self) if is_operand(other) else NotImplemented

    def __mul__(self, other: Any) -> "Tensor":
        return multiply(self, other) if type(other) is Tensor or is_operand(other) else NotImplemented

    def __rmul__(self, other: Any) -> "Tensor":
        return multiply(other, self) if is_operand(other) else NotImplemented

    def __truediv__(self, other: Any) -> "Tensor":
        return divide(self, other) if type(other) is Tensor or is_operand(other) else NotImplemented

    def __rtruediv__(self, other: Any) -> "Tensor":
        return divide(other, self) if is_operand(other) else NotImplemented

    def __pow__(self, other: Any) -> "Tensor":
        return power(self, other) if type(other) is Tensor or is_operand(other) else NotImplemented

    def __rpow__(self, other: Any) -> "Tensor":
        return power(other, self) if is_operand(other) else NotImplemented

    def __matmul__(self, other: Any) -> "Tensor":
        return matmul(self, other) if type(other) is Tensor or is_operand(other) else NotImplemented

    def __rmatmul__(self, other: Any) -> "Tensor":
        return matmul(other, self) if is_operand(other) else NotImplemented

    def __floordiv__(self, other: Any) -> "Tensor":
        return floor_divide(self, other) if is_operand(other) else NotImplemented

    def __rfloordiv__(self, other: Any) -> "Tensor":
        return floor_divide(other, self) if is_operand(other) else NotImplemented

    def __mod__(self, other: Any) -> "Tensor":
        return remainder(self, other) if is_operand(other) else NotImplemented

    def __rmod__(self, other: Any) -> "Tensor":
        return remainder(other, self) if is_operand(other) else NotImplemented

    def __and__(self, other: Any) -> "Tensor":
        return bitwise_and(self, other) if is_operand(other) else NotImplemented

    def __rand__(self, other: Any) -> "Tensor":
        return bitwise_and(other, self) if is_operand(other) else NotImplemented

    def __or__(self, other: Any) -> "Tensor":
        return bitwise_or(self, other) if is_operand(other) else NotImplemented

    def __ror__(self, other: Any) -> "Tensor":
        return bitwise_or(other, self) if is_operand(other) else NotImplemented

    def __xor__(self, other: Any) -> "Tensor":
        return bitwise_xor(self, other) if is_operand(other) else NotImplemented

    def __rxor__(self, other: Any) -> "Tensor":
        return bitwise_xor(other, self) if is_operand(other) else NotImplemented

    def __lshift__(self, other: Any) -> "Tensor":
        return bitwise_left_shift(self, other) if is_operand(other) else NotImplemented

    def __rlshift__(self, other: Any) -> "Tensor":
        return bitwise_left_shift(other, self) if is_operand(other) else NotImplemented

    def __rshift__(self, other: Any) -> "Tensor":
        return bitwise_right_shift(self, other) if is_operand(other) else NotImplemented

    def __rrshift__(self, other: Any) -> "Tensor":
        return bitwise_right_shift(other, self) if is_operand(other) else NotImplemented

    def __eq__(self, other: object) -> "Tensor":      # pyright: ignore[reportIncompatibleMethodOverride]
        return equal(self, other) if is_operand(other) else NotImplemented

    def __ne__(self, other: object) -> "Tensor":      # pyright: ignore[reportIncompatibleMethodOverride]
        return not_equal(self, other) if is_operand(other) else NotImplemented

    def __lt__(self, other: Any) -> "Tensor":
        return less(self, other) if is_operand(other) else NotImplemented

    def __le__(self, other: Any) -> "Tensor":
        return less_equal(self, other) if is_operand(other) else NotImplemented

    def __gt__(self, other: Any) -> "Tensor":
        return greater(self, other) if is_operand(other) else NotImplemented

    def __ge__(self, other: Any) -> "Tensor":
        return greater_equal(self, other) if is_operand(other) else NotImplemented


def is_operand(value: Any) -> bool:
    """Tell whether a value combines with a Tensor in an operator: a Tensor, a Python number or an array."""
    return type(value) in SCALARS or isinstance(value, Tensor) or devices.is_array(value)


def as_tensor(value: Any) -> Tensor:
    """Return a value as a Tensor: itself, or an untracked one that shares memory with an array.

    value: Tensor, NumPy or CuPy array, Python number, or nested lists of numbers.
    Python numbers and lists of floats become float32, of integers int64; arrays keep their dtype.
    Raises: DtypeError if there is no supported dtype for it.
    """
    if isinstance(value, Tensor):
        return value
    if type(value) is np.ndarray and value.dtype in KNOWN:
        share(value)
        return Tensor(value)
    if type(value) in SCALARS:
        try:
            return Tensor(np.asarray(value, default_dtype(value)))
        except OverflowError as error:
            raise InputError(f"value is an int of {len(str(value))} digits, which int64 does not hold; use a float") from error
    if devices.is_array(value):
        plain = _plain(value)
        if isinstance(plain, np.ndarray):
            share(plain)        # pyright: ignore[reportUnknownArgumentType]
        return Tensor(plain)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"value {type(value).__name__} is no array: {error}; for a list of Tensors use stack or concat") from error
    if array.dtype not in KNOWN:
        raise DtypeError(f"value is a {type(value).__name__} of dtype {array.dtype}; it must be a number, an array of numbers or a Tensor")
    shorter = {"f": np.float32, "c": np.complex64}.get(array.dtype.kind)
    return Tensor(array if shorter is None else array.astype(shorter))


def _writeable(array: Any) -> bool:
    """Whether an array can be written to; CuPy's always can."""
    return bool(getattr(array.flags, "writeable", True))


def _rebuild(data: Any, requires_grad: bool) -> Tensor:
    return Tensor(data, Leaf() if requires_grad else None)


def _plain(array: Any) -> Any:
    """Return an array of any subclass, byte order or rank as a plain one in native byte order."""
    if issubclass(type(array), np.ma.MaskedArray):
        raise InputError("value is a masked array, whose mask would be lost; use value.filled(...) or where(mask, ...)")
    plain = np.asarray(array) if devices.namespace(array) is np else array
    dtype = as_dtype(plain.dtype)
    return plain if plain.dtype.isnative else plain.astype(dtype)


def make_leaf(value: Tensor, what: str, own: bool = False) -> Tensor:
    """Return a new place where derivatives end, with the value of a Tensor. `what` names it if its dtype has no derivatives.

    own: take a copy of an array that others could write to: a graph that outlives the call would give derivatives at another point.
    """
    if not is_inexact(value.dtype):
        raise DtypeError(f"{what} is {value.dtype}; only floating and complex dtypes have derivatives: convert it with .astype('float32')")
    data = value.data
    return Tensor(data.copy() if own and _writeable(data) else data, Leaf())


# The methods above are the table's operations, and those are written on Tensors: hence imported when Tensor exists.
from hyperion.autograd.exchange import export, export_device  # noqa: E402
from hyperion.autograd.ops.arithmetic import abs, add, divide, multiply, negative, power, subtract  # noqa: E402
from hyperion.autograd.ops.bitwise import (  # noqa: E402
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
)
from hyperion.autograd.ops.comparison import (  # noqa: E402
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    not_equal,
)
from hyperion.autograd.ops.complexes import conj, imag, real  # noqa: E402
from hyperion.autograd.ops.elementary import floor_divide, remainder  # noqa: E402
from hyperion.autograd.ops.indexing import getitem  # noqa: E402
from hyperion.autograd.ops.products import matmul  # noqa: E402
from hyperion.autograd.ops.reductions import all, any, max, mean, min, sum  # noqa: E402
from hyperion.autograd.ops.shaping import astype, permute_dims, reshape, to_device  # noqa: E402
from hyperion.autograd.sweeps import backward  # noqa: E402

# isort: split
from hyperion.autograd.at import At  # noqa: E402
