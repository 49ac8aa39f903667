"""Affine maps of the last axis, as the linear layers of networks are: the weight has (outputs, inputs), every row of x is mapped alike."""

import math
from typing import Any

import numpy as np

from hyperion.autograd.batching import expand
from hyperion.autograd.dtypes import is_half, is_inexact
from hyperion.autograd.ops.products import matmul
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import broadcast_to, permute_dims, reshape
from hyperion.autograd.table import Primitive, general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, ShapeError
from hyperion.gpu import device, maps, products

__all__ = ["affine"]


def _rows(x: Any) -> Any:
    """Return x as one matrix: many small products would be slower, and their sum in the derivative much slower."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _forward(xp: Any, x: Any, weight: Any, *bias: Any) -> Any:
    shape = (*x.shape[:-1], weight.shape[0])
    if xp is not np and (found := products.multiply(_rows(x), weight.T, bias=bias[0] if bias else None)) is not None:
        return found.reshape(shape)
    first, second = (x.astype(np.float32), weight.astype(np.float32)) if is_half(x.dtype) else (x, weight)
    out = products.multiply(_rows(first), second.T)
    if out is None:
        out = xp.matmul(_rows(first), second.T)
    if bias:
        out += bias[0]
    return out.astype(x.dtype, copy=False).reshape(shape)


def _vjp(g: Tensor, out: Tensor, x: Tensor, weight: Tensor, *bias: Tensor) -> tuple[Tensor | None, ...]:
    to_x = _affine(g, permute_dims(weight, (1, 0))) if x.tracked else None
    to_weight = _affine(_turned(g), _turned(x)) if weight.tracked else None
    return (to_x, to_weight, *(sum(g, tuple(range(g.ndim - 1))) if b.tracked else None for b in bias))


def _turned(x: Tensor) -> Tensor:
    """Return the rows of x as columns."""
    return permute_dims(reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])), (1, 0))


def _jvp(tangents: list[Tensor | None], out: Tensor, x: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
    terms = [] if tangents[0] is None else [_affine(tangents[0], weight)]
    terms += [] if tangents[1] is None else [_affine(x, tangents[1])]
    terms += [broadcast_to(t, out.shape) for t in tangents[2:] if t is not None]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _pull(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any]:
    """Pull back on raw arrays: the rule above, without Tensors."""
    x, weight = inputs[0].data, inputs[1].data
    rows = _rows(g)
    xp = device.namespace(g)
    to_x = _forward(xp, g, weight.T) if inputs[0].node is not None else None
    to_weight = _forward(xp, rows.T, _rows(x).T) if inputs[1].node is not None else None
    if len(inputs) == 2:
        return [to_x, to_weight]
    wide = np.float32 if is_half(g.dtype) else g.dtype
    sums = maps.column_sums(rows)
    return [to_x, to_weight, rows.sum(axis=0, dtype=wide).astype(g.dtype, copy=False) if sums is None else sums]


def _batched(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """With one weight and bias for all examples, these are more rows; otherwise each has a matrix product."""
    if not any(batched[1:]):
        return op(*inputs)
    x, weight, *bias = expand(batched, inputs)
    rows = reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]))
    out = matmul(rows, permute_dims(weight, (0, 2, 1)))
    for b in bias:
        out = out + reshape(b, (b.shape[0], 1, b.shape[1]))
    return reshape(out, (*x.shape[:-1], weight.shape[1]))


_affine = general("affine", _forward, _vjp, _jvp, promotes=True, batch=_batched)
_affine.pull, _affine.everywhere = _pull, True


def affine(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """Return x @ weight.T + bias: a linear layer, which maps the last axis.

    x: (..., inputs).  weight: (outputs, inputs).  bias: (outputs,).
    Raises: ShapeError if the shapes do not fit; DtypeError if neither x nor weight is floating or complex.

    >>> affine([1.0, 2.0], [[1.0, 1.0], [0.0, 3.0]], [0.5, 0.5])
    Tensor (2,) float32, cpu: [3.5 6.5]
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.ndim != 2:
        raise ShapeError(f"affine: weight has shape {weight.shape}; it must be (outputs, inputs)")
    if not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"affine: x has shape {x.shape}, weight {weight.shape}; the last axis of x must have length {weight.shape[1]}")
    if not is_inexact(x.dtype) and not is_inexact(weight.dtype):
        raise DtypeError(f"affine: x is {x.dtype}, weight {weight.dtype}; one must be floating or complex: use .astype('float32')")
    if bias is None:
        return _affine(x, weight)
    bias = as_tensor(bias)
    if bias.shape != weight.shape[:1]:
        raise ShapeError(f"affine: bias has shape {bias.shape}; it must be {weight.shape[:1]}, one number for each output")
    return _affine(x, weight, bias)
