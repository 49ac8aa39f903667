"""One layer of a network of points as one operation, for the GPU: act(weight y + bias + gate x + added + functions of given modes).

On a GPU a layer is bound by how often large arrays are read and written, and by the launches: the functions of the modes are made first,
the matrix product is added to them where they lie, and one kernel does the rest; on the way back one kernel gives the cotangent of that
sum and the sums for bias and gate. `pointwise_network` takes it for CuPy arrays.
"""

import math
from collections.abc import Sequence
from typing import Any

from hyperion.autograd.dtypes import complex_dtype
from hyperion.autograd.ops.activations import gelu, relu, silu
from hyperion.autograd.ops.arithmetic import tanh
from hyperion.autograd.ops.channels import pointwise
from hyperion.autograd.ops.modes import from_fourier_modes
from hyperion.autograd.ops.products import matmul
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import permute_dims, reshape
from hyperion.autograd.table import PRIMITIVES, general
from hyperion.autograd.tensor import Tensor
from hyperion.gpu import device, products
from hyperion.gpu import layers as kernels
from hyperion.gpu.launching import on_gpu

__all__ = ["network", "serves"]

Names = tuple[str, ...]
ACTIVATIONS: dict[str, Any] = {"gelu": gelu, "silu": silu, "tanh": tanh, "relu": relu}
SLOPES: dict[str, Any] = {name: PRIMITIVES[name].jvp for name in ACTIVATIONS}
TO_MODES, FROM_MODES = PRIMITIVES["fourier_modes"], PRIMITIVES["from_fourier_modes"]


def _parts(arrays: Sequence[Any], has: Names) -> dict[str, Any]:
    return dict(zip(has, arrays, strict=True))


def _apart(has: Names, activation: str) -> bool:
    """Tell whether the second output lacks the bias: the kernels then add it again, which costs nothing, while to store the sum would."""
    return activation != "none" and "bias" in has and "gate" not in has and "added" not in has


def _product(x: Any, y: Any, out: Any = None) -> Any:
    """Return x @ y, or that added to an array."""
    found = products.multiply(x, y, out)
    if found is None:
        found = device.namespace(x).matmul(x, y)
        if out is not None:
            out += found
            return out
    return found


def _tight(x: Any) -> Any:
    """Return an array without gaps."""
    return x if x.flags.c_contiguous else x.copy(order="C")


def _forward(xp: Any, y: Any, weight: Any, *arrays: Any, has: Names, activation: str, space: Any) -> tuple[Any, Any]:
    if not on_gpu(y):
        return _value(Tensor(y), Tensor(weight), {name: Tensor(a) for name, a in _parts(arrays, has).items()}, activation, space)
    y, weight, parts = _tight(y), _tight(weight), _parts([_tight(a) for a in arrays], has)
    made = None
    if "modes" in parts:
        modes = parts["modes"]
        made = FROM_MODES.forward(xp, modes, kept=modes.shape[:len(space)], space=space, inverse=True)
        made = made.reshape(y.shape[0], weight.shape[0], y.shape[2])
    h = _product(weight, y, made)
    if activation == "none" and not {"bias", "gate", "added"} & set(has):
        return h, h
    return kernels.finish(h, parts.get("bias"), parts.get("gate"), parts.get("x"), parts.get("added"), activation), h


def _value(y: Tensor, weight: Tensor, parts: dict[str, Tensor], activation: str, space: Any) -> tuple[Any, Any]:
    """Return both outputs by operations that run anywhere."""
    h = pointwise(y, weight, added=parts.get("added"))
    if "gate" in parts:
        h = h + reshape(parts["gate"], (-1, 1)) * parts["x"]
    if "modes" in parts:
        h = h + reshape(from_fourier_modes(parts["modes"], space), h.shape)
    z = h + reshape(parts["bias"], (-1, 1)) if "bias" in parts else h
    value = z if activation == "none" else ACTIVATIONS[activation](z)
    return value.data, (h if _apart(tuple(parts), activation) else z).data


def _before(out: Sequence[Tensor], parts: dict[str, Tensor], has: Names, activation: str) -> Tensor:
    """Return what the activation was taken of."""
    return out[1] + reshape(parts["bias"], (-1, 1)) if _apart(has, activation) else out[1]


def _slope(tangent: Tensor, value: Tensor, z: Tensor, activation: str) -> Tensor:
    return tangent if activation == "none" else SLOPES[activation]([tangent], value, z)


def _vjp(
    g: Sequence[Tensor | None], out: Sequence[Tensor], y: Tensor, weight: Tensor, *arrays: Tensor, has: Names, activation: str, space: Any,
) -> list[Tensor | None]:
    parts, (of_value, of_sum) = _parts(arrays, has), g
    through = None if of_value is None else _slope(of_value, out[0], _before(out, parts, has, activation), activation)
    d: Any = of_sum if through is None else through if of_sum is None else through + of_sum
    to_bias = through if _apart(has, activation) else d
    over = (0, 2)
    found = {
        "bias": lambda: None if to_bias is None else reshape(sum(to_bias, over), parts["bias"].shape),
        "gate": lambda: reshape(sum(d * parts["x"], over), parts["gate"].shape),
        "x": lambda: reshape(parts["gate"], (-1, 1)) * d, "added": lambda: d,
        "modes": lambda: TO_MODES(reshape(d, (*d.shape[:2], *space)), kept=parts["modes"].shape[:len(space)], inverse=True),
    }
    return [
        pointwise(d, permute_dims(weight, (1, 0))) if y.tracked else None,
        sum(matmul(d, permute_dims(y, (0, 2, 1))), 0) if weight.tracked else None,
        *(found[name]() if a.tracked else None for name, a in parts.items()),
    ]


def _jvp(
    tangents: list[Tensor | None], out: Sequence[Tensor], y: Tensor, weight: Tensor, *arrays: Tensor, has: Names, activation: str,
    space: Any,
) -> tuple[Tensor | None, Tensor | None]:
    parts, moved = _parts(arrays, has), _parts(tangents[2:], has)
    terms = [] if tangents[0] is None else [pointwise(tangents[0], weight)]
    terms += [] if tangents[1] is None else [pointwise(y, tangents[1])]
    for name, move in moved.items():
        if move is None or name == "bias":
            continue
        if name in ("gate", "x"):
            gate, x = (move, parts["x"]) if name == "gate" else (parts["gate"], move)
            terms.append(reshape(gate, (-1, 1)) * x)
        else:
            terms.append(move if name == "added" else reshape(from_fourier_modes(move, space), out[0].shape))
    total = _total(terms)
    by_bias = None if moved.get("bias") is None else reshape(moved["bias"], (-1, 1)) + out[0] * 0.0
    whole = _total([t for t in (total, by_bias) if t is not None])
    value = None if whole is None else _slope(whole, out[0], _before(out, parts, has, activation), activation)
    return value, total if _apart(has, activation) else whole


def _total(terms: list[Tensor]) -> Tensor | None:
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total


def _pull(g: Any, out: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any] | None:
    """Pull back on CuPy arrays: the rule above, by the kernels."""
    of_value, of_sum = g
    if of_value is None or of_sum is not None or not on_gpu(of_value) or of_value.dtype != out[0].dtype:
        return None
    has, activation, space = params["has"], params["activation"], params["space"]
    y, weight, *arrays = (_tight(t.data) for t in inputs)
    parts, wanted = _parts(arrays, has), _parts([t.node is not None for t in inputs[2:]], has)
    sums: dict[str, Any] = {}
    d = _tight(of_value)
    if activation != "none" or wanted.get("bias") or wanted.get("gate") or wanted.get("x"):
        bias = parts.get("bias") if _apart(has, activation) else None
        d, sums["x"], sums["bias"], sums["gate"] = kernels.pull(d, out[1], bias, parts.get("gate"), parts.get("x"), activation)
        for name in ("bias", "gate"):
            sums[name] = sums[name].reshape(parts[name].shape) if name in parts else None
    sums["added"] = d
    if wanted.get("modes"):
        kept = parts["modes"].shape[:len(space)]
        sums["modes"] = TO_MODES.forward(device.namespace(d), d.reshape(*d.shape[:2], *space), kept=kept, inverse=True)
    to_weight = None
    if inputs[1].node is not None:
        to_weight = products.summed(d, y)
        to_weight = _product(d, y.transpose(0, 2, 1)).sum(axis=0) if to_weight is None else to_weight
    to_y = _product(weight.T, d) if inputs[0].node is not None else None
    return [to_y, to_weight, *(sums[name] if want else None for name, want in wanted.items())]


_layer = general("point_layer", _forward, _vjp, _jvp, outputs=2, pull=_pull)
_layer.everywhere = True


def serves(x: Tensor, layers: Sequence[Any], activations: dict[Any, str]) -> bool:
    """Tell whether the kernels can take all layers: CuPy arrays of one dtype, float32 or float64, and activations they know."""
    if not on_gpu(x.data) or x.dtype.char not in "fd" or not x.size:
        return False
    real = [a for layer in layers for a in layer[:4] if a is not None]
    modes = [layer.modes for layer in layers if layer.modes is not None]
    given = [*((a, x.dtype) for a in real), *((a, complex_dtype(x.dtype)) for a in modes)]
    return all(on_gpu(a.data) and a.dtype == dtype for a, dtype in given) and all(layer.activation in activations for layer in layers)


def network(x: Tensor, layers: Sequence[Any], activations: dict[Any, str]) -> Tensor:
    """Return what layers, one after the other, make of x: see `pointwise_network`."""
    batch, channels, space = x.shape[0], x.shape[1], x.shape[2:]
    points = math.prod(space)
    flat = y = reshape(x, (batch, channels, points))
    for layer in layers:
        outputs = layer.weight.shape[0]
        parts = {
            "bias": layer.bias, "gate": layer.gate, "x": None if layer.gate is None else flat,
            "added": None if layer.added is None else reshape(layer.added, (batch, outputs, points)), "modes": layer.modes,
        }
        given = {name: part for name, part in parts.items() if part is not None}
        y = _layer(y, layer.weight, *given.values(), has=tuple(given), activation=activations[layer.activation], space=space)[0]
    return reshape(y, (batch, y.shape[1], *space))
