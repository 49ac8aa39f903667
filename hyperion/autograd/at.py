"""`x.at[index]`: a copy of x that differs at an index, since Tensors themselves do not change."""

from typing import Any

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.ops.gathering import add_slice, combine, numbered, put, write
from hyperion.autograd.ops.indexing import getitem
from hyperion.autograd.ops.reductions import ordered
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError
from hyperion.gpu import device

__all__ = ["At", "Place"]


class At:
    """What `x.at` returns: index it."""

    __slots__ = ("_x",)

    def __init__(self, x: Tensor) -> None:
        self._x = x

    def __repr__(self) -> str:
        return f"{self._x!r}.at: index it, for example x.at[0].set(1)"

    def __getitem__(self, index: Any) -> "Place":
        return Place(self._x, index)


class Place:
    """Elements of a Tensor, named by an index as in x[index]; each method returns a new Tensor like x.

    Values broadcast to the shape of x[index] and are converted to the dtype of x. An integer array may name an element several times:
    then each value is added, multiplied or compared, and with `set` the last one counts.

    >>> from hyperion.autograd import asarray
    >>> x = asarray([1.0, 2.0, 3.0])
    >>> At(x)[1].set(9.0), At(x)[[0, 0]].add([1.0, 2.0])
    (Tensor (3,) float32, cpu: [1. 9. 3.], Tensor (3,) float32, cpu: [4. 2. 3.])
    """

    __slots__ = ("_index", "_x")

    def __init__(self, x: Tensor, index: Any) -> None:
        self._x = x
        self._index: tuple[Any, ...] = index if type(index) is tuple else (index,)

    def __repr__(self) -> str:
        return f"{self._x!r}.at[{', '.join(map(repr, self._index))}]"

    def _is_slice(self) -> bool:
        """Whether the index has no arrays, so that it names no element twice."""
        return not any(isinstance(part, list | Tensor | bool) or device.is_array(part) for part in self._index)

    def _places(self) -> Tensor:
        return getitem(numbered(self._x.shape, self._x.device), self._index)

    def get(self) -> Tensor:
        """Return x[index].

        >>> At(as_tensor([1.0, 2.0]))[1].get()
        Tensor () float32, cpu: 2.
        """
        return getitem(self._x, self._index)

    def set(self, values: Any) -> Tensor:
        """Return x with values at the index.

        Raises: ShapeError if they do not broadcast; DtypeError if the dtype of x cannot hold them; IndexError for an index outside x.

        >>> At(as_tensor([1.0, 2.0]))[0].set(5.0)
        Tensor (2,) float32, cpu: [5. 2.]
        """
        if self._is_slice():
            return write(self._x, self._index, values, "x.at[index].set(values)")
        return put(self._x, self._places(), values, "x.at[index].set(values)")

    def add(self, values: Any) -> Tensor:
        """Return x with values added at the index; errors as of `set`.

        >>> At(as_tensor([1.0, 2.0]))[0].add(5.0)
        Tensor (2,) float32, cpu: [6. 2.]
        """
        if self._is_slice():
            return add_slice(self._x, self._index, values, "x.at[index].add(values)")
        return combine(self._x, self._places(), values, "sum", "x.at[index].add(values)")

    def subtract(self, values: Any) -> Tensor:
        """Return x with values subtracted at the index; errors as of `set`.

        >>> At(as_tensor([1.0, 2.0]))[0].subtract(5.0)
        Tensor (2,) float32, cpu: [-4.  2.]
        """
        return self.add(-as_tensor(values) if not isinstance(values, int | float | complex) else -values)

    def multiply(self, values: Any) -> Tensor:
        """Return x with the elements at the index multiplied by values; errors as of `set`.

        >>> At(as_tensor([1.0, 2.0]))[[1, 1]].multiply(3.0)
        Tensor (2,) float32, cpu: [ 1. 18.]
        """
        if self._is_slice():
            return self.set(self.get() * values)
        return combine(self._x, self._places(), values, "prod", "x.at[index].multiply(values)")

    def divide(self, values: Any) -> Tensor:
        """Return x, floating or complex, with the elements at the index divided by values; errors as of `set`.

        >>> At(as_tensor([1.0, 2.0]))[1].divide(4.0)
        Tensor (2,) float32, cpu: [1.  0.5]
        """
        if not is_inexact(self._x.dtype):
            raise DtypeError(f"x.at[index].divide(values): x is {self._x.dtype}, which holds no quotients; use x.astype('float32')")
        return self.multiply(1.0 / as_tensor(values) if not isinstance(values, int | float | complex) else 1.0 / values)

    def max(self, values: Any) -> Tensor:
        """Return x with each element at the index replaced by the larger of it and the values; those that tie share the derivative.

        Raises: as `set`; DtypeError for complex x.

        >>> At(as_tensor([1.0, 2.0]))[:].max(1.5)
        Tensor (2,) float32, cpu: [1.5 2. ]
        """
        return combine(ordered(self._x, "x.at[index].max"), self._places(), values, "max", "x.at[index].max(values)")

    def min(self, values: Any) -> Tensor:
        """Return x with each element at the index replaced by the smaller of it and the values; as `max`.

        >>> At(as_tensor([1.0, 2.0]))[:].min(1.5)
        Tensor (2,) float32, cpu: [1.  1.5]
        """
        return combine(ordered(self._x, "x.at[index].min"), self._places(), values, "min", "x.at[index].min(values)")
