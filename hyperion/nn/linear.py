"""Linear layers, embeddings, and how Modules are strung together."""

import math
from collections.abc import Callable
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError
from hyperion.nn import initializers
from hyperion.nn.arguments import as_count
from hyperion.nn.module import Module, parameter

__all__ = ["Activation", "Embedding", "Flatten", "Identity", "Linear", "Sequential"]


class Linear(Module):
    """Return x @ weight.T + bias: the last axis is mapped from `inputs` to `outputs` numbers.

    weight: (outputs, inputs).  bias: (outputs,), or None.
    Both begin equally probable between +- 1 / sqrt(inputs), as PyTorch's do.
    Raises: ShapeError if x does not end in an axis of length `inputs`.

    >>> Linear(3, 2)(hp.ones((5, 3))).shape
    (5, 2)
    """

    bias: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, bias: bool = True, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self.inputs, self.outputs = as_count(inputs, "Linear(inputs)"), as_count(outputs, "Linear(outputs)")
        self.weight = parameter(initializers.kaiming_uniform((outputs, inputs), generator, math.sqrt(5.0), dtype=dtype))
        self.bias = parameter(initializers.uniform((outputs,), generator, 1.0 / math.sqrt(inputs), dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return x, (..., inputs), mapped to (..., outputs)."""
        x = as_tensor(x)
        if not x.ndim or x.shape[-1] != self.inputs:
            raise ShapeError(f"Linear({self.inputs}, {self.outputs}): x has shape {x.shape}; its last axis must have length {self.inputs}")
        return hp.affine(x, self.weight, self.bias)


class Embedding(Module):
    """Return the row of a table for each integer: shape (*indices.shape, width).

    weight: (rows, width), normally distributed to begin with.  padding: None, or a row that is zero and stays so: it gets no gradient.
    Raises: IndexingError for an index outside the table; DtypeError if they are no integers.

    >>> Embedding(10, 4)([[1, 2, 3]]).shape
    (1, 3, 4)
    """

    def __init__(
        self, rows: int, width: int, padding: int | None = None, dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self.rows, self.width, self.padding = as_count(rows, "Embedding(rows)"), as_count(width, "Embedding(width)"), padding
        weight = initializers.normal((rows, width), generator, dtype=dtype)
        if padding is not None:
            if as_count(padding, "Embedding(padding)", 0) >= rows:
                raise InputError(f"Embedding(padding): padding={padding} is outside the {rows} rows; use 0 to {rows - 1}, or None")
            weight = hp.where(hp.arange(rows)[:, None] == padding, 0.0, weight)
        self.weight = parameter(weight)

    def forward(self, indices: Any) -> Tensor:
        """Return the rows at integer indices."""
        return lookup(indices, self.weight, self.padding, "Embedding")


def lookup(indices: Any, weight: Tensor, padding: int | None, name: str) -> Tensor:
    """Return rows of a table; those of `padding` as constants.

    >>> lookup([1], as_tensor([[1.0], [2.0]]), None, "Embedding").shape
    (1, 1)
    """
    indices = as_tensor(indices)
    if indices.dtype.kind not in "iu" and indices.size:
        raise DtypeError(f"{name}: indices are {indices.dtype}; they must be integers: use .astype('int64')")
    try:
        out = hp.embedding(indices, weight)
    except IndexingError as error:
        raise IndexingError(f"{name}: a token id is outside the vocabulary of {weight.shape[0]} rows; {error}") from error
    return out if padding is None else hp.where(hp.expand_dims(indices, -1) == padding, out.detach(), out)


class Identity(Module):
    """Return the input.

    >>> Identity()(3.0)
    Tensor () float32, cpu: 3.
    """

    def forward(self, x: Any) -> Tensor:
        """Return x."""
        return as_tensor(x)


class Activation(Module):
    """A function of Tensors as a Module, so that hooks, captures and summaries see it. Named arguments are passed on.

    >>> Activation(hp.leaky_relu, slope=0.5)(-2.0)
    Tensor () float32, cpu: -1.
    """

    def __init__(self, function: Callable[..., Any], **arguments: Any) -> None:
        if not callable(function):
            raise InputError(f"Activation(function): function={function!r} must be callable, such as hyperion.tanh")
        self.function, self.arguments = function, arguments

    def forward(self, x: Any) -> Any:
        """Return function(x)."""
        return self.function(x, **self.arguments)


class Flatten(Module):
    """Return x with the axes from `start` to `end` merged into one.

    >>> Flatten()(hp.ones((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start: int = 1, end: int = -1) -> None:
        self.start, self.end = start, end

    def forward(self, x: Any) -> Tensor:
        """Return x with fewer axes.  Raises: ShapeError if start or end are outside x, or end is before start."""
        x = as_tensor(x)
        first, last = (axis + x.ndim if axis < 0 else axis for axis in (self.start, self.end))
        if not 0 <= first <= last < x.ndim:
            raise ShapeError(f"Flatten(start={self.start}, end={self.end}): x has shape {x.shape}; both must be axes of it, in order")
        return x.reshape((*x.shape[:first], math.prod(x.shape[first:last + 1]), *x.shape[last + 1:]))


class Sequential(Module):
    """One Module, or function of a Tensor, after the other. Parameters are named by places: "0.weight".

    >>> model = Sequential(Linear(3, 4), hp.tanh, Linear(4, 1))
    >>> list(model.named_parameters()), model(hp.ones((5, 3))).shape
    (['0.weight', '0.bias', '2.weight', '2.bias'], (5, 1))
    """

    def __init__(self, *parts: Callable[..., Any]) -> None:
        for i, part in enumerate(parts):
            if not callable(part):
                raise InputError(f"Sequential(parts): part {i} is a {type(part).__name__}; each must be a Module or a function")
            setattr(self, str(i), part)
        self.length = len(parts)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> Any:
        if not -self.length <= place < self.length:
            raise IndexingError(f"Sequential: place {place} is outside its {self.length} parts")
        return self.__dict__[str(place % self.length)]

    def forward(self, x: Any) -> Any:
        """Return what the last part makes of x."""
        for i in range(self.length):
            x = self.__dict__[str(i)](x)
        return x
