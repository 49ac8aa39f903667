"""Networks of single points, channels before space: maps by matrices, sums and activations, one after the other while a tile is in cache.

The primitive is for the CPU, where what counts is how often large arrays are read and written; `pointwise_network` takes it where a native
kernel serves, and elsewhere says the same with `pointwise` and activations. Its derivatives on Tensors, for whoever differentiates twice,
are written with those as well.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperion.autograd.dtypes import complex_dtype, is_complex
from hyperion.autograd.ops import pointlayers
from hyperion.autograd.ops.activations import gelu, relu, silu
from hyperion.autograd.ops.arithmetic import tanh
from hyperion.autograd.ops.channels import pointwise
from hyperion.autograd.ops.complexes import real
from hyperion.autograd.ops.modes import by_products, from_fourier_modes
from hyperion.autograd.ops.products import matmul
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import astype, permute_dims, reshape
from hyperion.autograd.ops.waves import bases, exponentials
from hyperion.autograd.table import PRIMITIVES, general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.cpu import pointwise as kernels
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = ["PointLayer", "pointwise_network"]

NARROW = 48             # columns below which tiles of a row would be too narrow: functions are then made from their modes apart
PARTS = ("bias", "gate", "added", "waves")
Plan = tuple[tuple[tuple[str, ...], str], ...]      # of each layer: which parts it has, in the order of PARTS, and its activation


class PointLayer(NamedTuple):
    """A layer of `pointwise_network`: activation(weight y + bias + gate x + added + the functions that have these modes).

    weight: (outputs, inputs).  bias, gate: outputs numbers, of any shape; with a gate the outputs are as many as the channels of x, the
    network's input.  added: (batch, outputs, *space).  modes: complex, (*kept, batch, outputs), as `from_fourier_modes` takes them.
    activation: a function of a Tensor, or None.

    >>> PointLayer([[2.0]]).bias is None
    True
    """

    weight: Any
    bias: Any = None
    gate: Any = None
    added: Any = None
    modes: Any = None
    activation: Callable[..., Any] | None = None


NATIVE: dict[Any, str] = {None: "none", gelu: "gelu", silu: "silu", tanh: "tanh", relu: "relu"}


def _layers(arrays: Sequence[Any], plan: Plan) -> list[dict[str, Any]]:
    """Return the inputs after x by layer and name."""
    given = iter(arrays)
    found: list[dict[str, Any]] = []
    for parts, _ in plan:
        found.append({name: next(given) for name in ("weight", *parts)})
    return found


def _raw(arrays: Sequence[Any], plan: Plan) -> list[kernels.Layer]:
    layers: list[kernels.Layer] = []
    for given, (_, activation) in zip(_layers(arrays, plan), plan, strict=True):
        waves = given.pop("waves", None)
        waves = None if waves is None else np.ascontiguousarray(waves).view(given["weight"].dtype)
        layers.append(kernels.Layer(**given, waves=waves, activation=activation))
    return layers


def _bases(layers: Sequence[kernels.Layer], x: Any) -> Any:
    """Return the tables for waves of x's columns; None if no layer has waves."""
    kept = [layer.waves.shape[-1] // 2 for layer in layers if layer.waves is not None]
    return bases(x.shape[-1], kept[0], True, x.dtype) if kept else None


def _values(x: Tensor, arrays: Sequence[Tensor], plan: Plan) -> list[tuple[Tensor, Tensor]]:
    """Return each layer before and after its activation, (batch, outputs, rows, columns)."""
    found: list[tuple[Tensor, Tensor]] = []
    y = x
    for given, (_, activation) in zip(_layers(arrays, plan), plan, strict=True):
        z = pointwise(y, given["weight"], bias=given.get("bias"), added=given.get("added"))
        z = z + reshape(given["gate"], (-1, 1, 1)) * x if "gate" in given else z
        z = z + _summed(given["waves"], x.shape[-1]) if "waves" in given else z
        y = z if activation == "none" else ACTIVATIONS[activation](z)
        found.append((z, y))
    return found


def _table(kept: int, columns: int, like: Tensor) -> Tensor:
    waves = exponentials(columns, kept, True, True, complex_dtype(like.dtype))
    return as_tensor(waves).to(like.device)


def _summed(waves: Tensor, columns: int) -> Tensor:
    """Return sums of waves, (batch, outputs, rows, columns)."""
    return permute_dims(real(matmul(waves, _table(waves.shape[-1], columns, waves))), (0, 2, 1, 3))


def _forward(xp: Any, x: Any, *arrays: Any, plan: Plan) -> Any:
    if xp is np:
        layers = _raw(arrays, plan)
        found = _bases(layers, x)
        out = kernels.network(x, layers, None if found is None else found[0])
        if out is not None:
            return out
    return _values(Tensor(x), [Tensor(a) for a in arrays], plan)[-1][1].data


def _vjp(g: Tensor, out: Tensor, x: Tensor, *arrays: Tensor, plan: Plan) -> list[Tensor | None]:
    values = _values(x, arrays, plan)
    given, by_gates = _layers(arrays, plan), None
    found: list[dict[str, Tensor]] = []
    for i in reversed(range(len(plan))):
        layer, before = given[i], x if i == 0 else values[i - 1][1]
        g = _along(g, *values[i], plan[i][1])
        flat = reshape(g, (g.shape[0], g.shape[1], -1))
        over = (0, 2, 3)
        parts = {"weight": sum(matmul(flat, permute_dims(reshape(before, (*before.shape[:2], -1)), (0, 2, 1))), 0), "added": g}
        if "bias" in layer:
            parts["bias"] = sum(g, over)
        if "gate" in layer:
            parts["gate"] = sum(g * x, over)
            term = reshape(layer["gate"], (-1, 1, 1)) * g
            by_gates = term if by_gates is None else by_gates + term
        if "waves" in layer:
            turned = permute_dims(_table(layer["waves"].shape[-1], x.shape[-1], layer["waves"]), (1, 0))
            parts["waves"] = matmul(astype(permute_dims(g, (0, 2, 1, 3)), turned.dtype), turned)
        found.insert(0, parts)
        g = pointwise(g, permute_dims(layer["weight"], (1, 0)))
    cotangents = [g if by_gates is None else g + by_gates]
    cotangents += [parts[name] for parts, (names, _) in zip(found, plan, strict=True) for name in ("weight", *names)]
    return [c if a.tracked else None for c, a in zip(cotangents, (x, *arrays), strict=True)]


def _along(tangent: Tensor, z: Tensor, y: Tensor, activation: str) -> Tensor:
    """Return a tangent, or cotangent, of z times the activation's derivative."""
    return tangent if activation == "none" else SLOPES[activation]([tangent], y, z)


def _jvp(tangents: list[Tensor | None], out: Tensor, x: Tensor, *arrays: Tensor, plan: Plan) -> Tensor | None:
    values, given = _values(x, arrays, plan), _layers(arrays, plan)
    moved, y, t = _layers(tangents[1:], plan), x, tangents[0]
    for layer, move, (z, after), (_, activation) in zip(given, moved, values, plan, strict=True):
        terms = [pointwise(t, layer["weight"])] if t is not None else []
        terms += [pointwise(y, move["weight"])] if move["weight"] is not None else []
        terms += [move["added"]] if move.get("added") is not None else []
        terms += [_summed(move["waves"], x.shape[-1])] if move.get("waves") is not None else []
        terms += [reshape(move["gate"], (-1, 1, 1)) * x] if move.get("gate") is not None else []
        terms += [reshape(layer["gate"], (-1, 1, 1)) * tangents[0]] if "gate" in layer and tangents[0] is not None else []
        terms += [reshape(move["bias"], (-1, 1, 1)) + z * 0.0] if move.get("bias") is not None else []
        t = None
        for term in terms:
            t = term if t is None else t + term
        t = None if t is None else _along(t, z, after, activation)
        y = after
    return t


def _pull(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any] | None:
    """Pull back on raw arrays, by the kernel that computes each tile again."""
    plan, (x, *arrays) = params["plan"], [t.data for t in inputs]
    layers, asked = _raw(arrays, plan), _layers([t.node is not None for t in inputs[1:]], plan)
    names = ("weight", *PARTS)
    found = kernels.network_back(
        g, x, layers, _bases(layers, x), inputs[0].node is not None, [[wanted.get(name, False) for name in names] for wanted in asked])
    if found is None:
        return None
    to_x, parts = found
    cotangents = [to_x]
    for layer, (has, _) in zip(parts, plan, strict=True):
        by_name = dict(zip(names, layer, strict=True))
        if by_name["waves"] is not None:
            by_name["waves"] = by_name["waves"].view(complex_dtype(x.dtype))
        cotangents += [by_name[name] for name in ("weight", *has)]
    return cotangents


ACTIVATIONS: dict[str, Any] = {"gelu": gelu, "silu": silu, "tanh": tanh, "relu": relu}
SLOPES: dict[str, Any] = {name: PRIMITIVES[name].jvp for name in ACTIVATIONS}
_network = general("pointwise_network", _forward, _vjp, _jvp, pull=_pull)


def _waves(modes: Tensor, space: tuple[int, ...]) -> Tensor:
    """Return the coefficients along the last axis for each row, (batch, rows, outputs, kept), of modes (*kept, batch, outputs)."""
    rank = len(space)
    kept, (batch, outputs) = modes.shape[:rank], modes.shape[rank:]
    part = permute_dims(reshape(modes, (-1, kept[-1], batch, outputs)), (2, 0, 3, 1))
    done = 1
    for axis in range(rank - 1):
        table = as_tensor(exponentials(space[axis], kept[axis], True, False, modes.dtype).T)
        part = matmul(table, reshape(part, (batch * done, kept[axis], -1)))
        done *= space[axis]
    return reshape(part, (batch, done, outputs, kept[-1]))


def _serves(x: Tensor, layers: Sequence[PointLayer]) -> bool:
    """Tell whether the native kernel can take all layers."""
    if kernels.available(x.data) is None or len(layers) > kernels.MOST_LAYERS:
        return False
    kind = complex_dtype(x.dtype)
    for layer in layers:
        if layer.activation not in NATIVE:
            return False
        given = [*((part, x.dtype) for part in layer[:4]), (layer.modes, kind)]
        if any(part is not None and (type(part.data) is not np.ndarray or part.dtype != dtype) for part, dtype in given):
            return False
    return True


def _checked(x: Tensor, layers: Sequence[PointLayer]) -> list[PointLayer]:
    """Return layers of Tensors whose shapes fit."""
    if not layers or x.ndim < 3:
        raise ShapeError(
            f"pointwise_network: x has shape {x.shape}, and {len(layers)} layers are given; x must be (batch, channels, *space), with one "
            "layer or more"
        )
    found: list[PointLayer] = []
    batch, inputs = x.shape[:2]
    for i, layer in enumerate(layers):
        if layer.activation is not None and not callable(layer.activation):
            raise InputError(f"pointwise_network: activation={layer.activation!r} of layer {i} must be a function of a Tensor, or None")
        weight, bias, gate, added, modes = (None if a is None else as_tensor(a) for a in layer[:5])
        outputs = weight.shape[0] if weight is not None and weight.ndim else 0
        _refuse(i, "weight", weight, weight is not None and weight.shape == (outputs, inputs), f"(outputs, {inputs})")
        _refuse(i, "bias", bias, bias is None or bias.size == outputs, f"{outputs} numbers, one for each output")
        _refuse(i, "gate", gate, gate is None or gate.size == outputs == x.shape[1], f"{x.shape[1]} numbers, as many as x has channels "
                f"and the layer, which has {outputs}, outputs")
        whole = (batch, outputs, *x.shape[2:])
        _refuse(i, "added", added, added is None or added.shape == whole, str(whole))
        fits = modes is None or (modes.ndim == x.ndim and modes.shape[-2:] == (batch, outputs))
        _refuse(i, "modes", modes, fits, f"(*kept, {batch}, {outputs})")
        if modes is not None and not is_complex(modes.dtype):
            raise DtypeError(f"pointwise_network: modes of layer {i} are {modes.dtype}; they must be complex, as those of fourier_modes")
        found.append(PointLayer(weight, bias, gate, added, modes, layer.activation))
        inputs = outputs
    return found


def _refuse(index: int, name: str, part: Tensor | None, fits: bool, rule: str) -> None:
    if not fits:
        shape = None if part is None else part.shape
        raise ShapeError(f"pointwise_network: {name} of layer {index} has shape {shape}; it must be {rule}")


def pointwise_network(x: Any, layers: Sequence[PointLayer]) -> Tensor:
    """Return what a network makes of the channels of every point: each layer is activation(weight y + bias + gate x + added + modes).

    x: (batch, channels, *space): every layer's gate multiplies it, and the first layer's weight.
    layers: see `PointLayer`; y is what the layer before gives.
    Returns: (batch, outputs, *space).
    On the CPU layers run natively, a tile of points at a time, with activations None, gelu, silu, tanh and relu; so do first derivatives.
    Raises: ShapeError, DtypeError and InputError for layers that do not fit.

    >>> pointwise_network([[[1.0, -2.0]]], [PointLayer([[1.0], [3.0]], activation=relu), PointLayer([[1.0, 1.0]], bias=[0.5])])[0, 0]
    Tensor (2,) float32, cpu: [4.5 0.5]
    """
    x = as_tensor(x)
    given = _checked(x, layers)
    batch, channels, space = x.shape[0], x.shape[1], x.shape[2:]
    if pointlayers.serves(x, given, NATIVE):
        return pointlayers.network(x, given, NATIVE)
    if not _serves(x, given):
        y = x
        for layer in given:
            y = _composed(x, y, layer)
        return y
    waved = any(layer.modes is not None and _in_tiles(layer.modes, space) for layer in given)
    rows = (math.prod(space[:-1]), space[-1]) if waved else (1, math.prod(space))
    arrays: list[Any] = []
    plan: list[Any] = []
    for layer in given:
        outputs, added, waves = layer.weight.shape[0], layer.added, None
        if layer.modes is not None and _in_tiles(layer.modes, space):
            waves = _waves(layer.modes, space)
        elif layer.modes is not None:
            made = from_fourier_modes(layer.modes, space)
            added = made if added is None else added + made
        parts = {"bias": layer.bias, "gate": layer.gate, "added": added, "waves": waves}
        shapes = {"bias": (outputs,), "gate": (outputs,), "added": (batch, outputs, *rows)}
        arrays += [layer.weight, *(reshape(p, shapes[name]) if name in shapes else p for name, p in parts.items() if p is not None)]
        plan.append((tuple(name for name, p in parts.items() if p is not None), NATIVE[layer.activation]))
    out = _network(reshape(x, (batch, channels, *rows)), *arrays, plan=tuple(plan))
    return reshape(out, (batch, out.shape[1], *space))


def _in_tiles(modes: Tensor, space: tuple[int, ...]) -> bool:
    return space[-1] >= NARROW and by_products(modes.shape[:len(space)], space)


def _composed(x: Tensor, y: Tensor, layer: PointLayer) -> Tensor:
    """Return one layer by operations that run anywhere."""
    added = layer.added
    terms = [] if layer.modes is None else [from_fourier_modes(layer.modes, x.shape[2:])]
    terms = [astype(term, x.dtype) for term in terms] if x.dtype.itemsize == 2 else terms
    terms += [] if layer.gate is None else [reshape(layer.gate, (-1, *(1,) * (x.ndim - 2))) * x]
    for term in terms:
        added = term if added is None else added + term
    out = pointwise(y, layer.weight, bias=layer.bias, added=added)
    return out if layer.activation is None else layer.activation(out)
