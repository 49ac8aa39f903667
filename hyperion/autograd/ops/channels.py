"""The channels of every point mapped by one matrix, channels before space: a convolution whose kernel is one sample."""

import math
from typing import Any

import numpy as np

from hyperion.autograd.batching import expand
from hyperion.autograd.dtypes import is_half
from hyperion.autograd.ops.products import matmul
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import broadcast_to, permute_dims, reshape, sum_to
from hyperion.autograd.table import Primitive, general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.cpu.pool import ARRAYS
from hyperion.errors import ShapeError
from hyperion.gpu import device, maps, products, rows

__all__ = ["pointwise"]

POOLED = 1 << 18        # bytes from which the memory of a result is used again


def _forward(xp: Any, x: Any, weight: Any, *terms: Any) -> Any:
    half = is_half(x.dtype)
    first, second = (x.astype(np.float32), weight.astype(np.float32)) if half else (x, weight)
    out = multiplied(xp, second, first)
    bias, added = ([*(t for t in terms if t.ndim == axes), None][0] for axes in (2, 3))
    if not maps.add_terms(out, bias, added):
        for term in terms:
            out += term         # in place: a new array of this size would cost more than the sum
    return out.astype(x.dtype, copy=False)


def multiplied(xp: Any, x: Any, y: Any) -> Any:
    """Return a matrix times stacked matrices, or two matrices; a large result in memory that is used again: fresh pages cost more."""
    shape = (*y.shape[:-2], x.shape[-2], y.shape[-1])
    if xp is not np:
        found = products.multiply(x, y)
        return xp.matmul(x, y) if found is None else found
    if x.dtype != y.dtype or math.prod(shape) * x.dtype.itemsize < POOLED:
        return xp.matmul(x, y)
    return np.matmul(x, y, out=ARRAYS.empty(shape, x.dtype)[0])


def _vjp(g: Tensor, out: Tensor, x: Tensor, weight: Tensor, *terms: Tensor) -> tuple[Tensor | None, ...]:
    to_x = _pointwise(g, permute_dims(weight, (1, 0))) if x.tracked else None
    to_weight = sum(matmul(g, permute_dims(x, (0, 2, 1))), 0) if weight.tracked else None
    return (to_x, to_weight, *(sum_to(g, t.shape) if t.tracked else None for t in terms))


def _jvp(tangents: list[Tensor | None], out: Tensor, x: Tensor, weight: Tensor, *terms: Tensor) -> Tensor:
    parts = [] if tangents[0] is None else [_pointwise(tangents[0], weight)]
    parts += [] if tangents[1] is None else [_pointwise(x, tangents[1])]
    parts += [broadcast_to(t, out.shape) for t in tangents[2:] if t is not None]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _pull(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any]:
    """Pull back on raw arrays: the rule above, without Tensors."""
    x, weight = inputs[0].data, inputs[1].data
    xp = device.namespace(g)
    wide = np.float32 if is_half(g.dtype) else g.dtype
    to_x = _forward(xp, g, weight.T) if inputs[0].node is not None else None
    to_weight = None
    if inputs[1].node is not None:
        to_weight = products.summed(g, x)
        if to_weight is None:
            to_weight = xp.matmul(g.astype(wide, copy=False), x.astype(wide, copy=False).transpose(0, 2, 1)).sum(axis=0)
        to_weight = to_weight.astype(weight.dtype, copy=False)
    found = [to_x, to_weight]
    for term in inputs[2:]:
        whole = term.shape == g.shape
        if term.node is None:
            found.append(None)
        else:
            found.append(g if whole else _summed(g, wide).astype(g.dtype, copy=False).reshape(term.shape))
    return found


def _summed(g: Any, wide: Any) -> Any:
    """Return the sums over the first and the last axis."""
    sums = rows.sums(g)
    found = None if sums is None else maps.column_sums(sums)
    return g.sum(axis=2, dtype=wide).sum(axis=0) if found is None else found


def _batched(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """Each example has a product of its own; terms of two axes serve all functions of an example."""
    x, weight, *terms = expand(batched, inputs)
    out = matmul(reshape(weight, (weight.shape[0], 1, *weight.shape[1:])), x)
    for term in terms:
        out = out + (term if term.ndim == 4 else reshape(term, (term.shape[0], 1, *term.shape[1:])))
    return out


_pointwise = general("pointwise", _forward, _vjp, _jvp, promotes=True, batch=_batched)
_pointwise.pull, _pointwise.everywhere = _pull, True


def pointwise(x: Any, weight: Any, *, bias: Any = None, added: Any = None) -> Tensor:
    """Return the channels of every point mapped by a matrix: sum_c weight[o, c] x[b, c, ...] + bias[o] + added[b, o, ...].

    x: (batch, inputs, *space).  weight: (outputs, inputs).  bias: outputs numbers, of any shape.  added: (batch, outputs, *space).
    Returns: (batch, outputs, *space).
    Raises: ShapeError if the shapes do not fit.

    >>> pointwise([[[1.0, 2.0]]], [[1.0], [3.0]])[0, 1]
    Tensor (2,) float32, cpu: [3. 6.]
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if x.ndim < 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"pointwise: x has shape {x.shape}, weight {weight.shape}; they must be (batch, inputs, *space) and (outputs, inputs)"
        )
    batch, outputs, space = x.shape[0], weight.shape[0], x.shape[2:]
    points = math.prod(space)
    terms: list[Tensor] = []
    if bias is not None:
        bias = as_tensor(bias)
        if bias.size != outputs:
            raise ShapeError(f"pointwise: bias has shape {bias.shape}; it must have {outputs} elements, one for each output")
        terms.append(reshape(bias, (outputs, 1)))
    if added is not None:
        added = as_tensor(added)
        if added.shape != (batch, outputs, *space):
            raise ShapeError(f"pointwise: added has shape {added.shape}; it must be {(batch, outputs, *space)}, as the result")
        terms.append(reshape(added, (batch, outputs, points)))
    out = _pointwise(reshape(x, (batch, x.shape[1], points)), weight, *terms)
    return reshape(out, (batch, outputs, *space))
