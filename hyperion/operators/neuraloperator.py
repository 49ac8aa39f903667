"""Weights in the layout of the package neuraloperator, both ways: a network trained there goes on here, and the other way round."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.operators.fno import FNO
from hyperion.operators.spectral import SpectralConv

__all__ = ["from_neuraloperator", "to_neuraloperator"]

# Parts of a block here and there; of the pairs of pointwise maps, "first" and "second" are "fcs.0" and "fcs.1".
PARTS = {"spectral": "convs.{}", "skip": "fno_skips.{}.conv", "mlp": "channel_mlp.{}", "gate": "channel_mlp_skips.{}.weight"}


def _their_name(name: str, axes: int) -> str:
    """Return what neuraloperator calls a parameter of an FNO or, without a prefix, of a SpectralConv; axes: of space.

    >>> _their_name("blocks.2.mlp.first.weight", 2), _their_name("blocks.0.spectral.weight.factors.3", 2)
    ('fno_blocks.channel_mlp.2.fcs.0.weight', 'fno_blocks.convs.0.weight.factors.factor_1')
    """
    name = name.replace("first", "fcs.0").replace("second", "fcs.1")
    head = ""
    if name.startswith("blocks."):
        _, number, part, *rest = name.split(".")
        head, name = f"fno_blocks.{PARTS[part].format(number)}", ".".join(rest)
        if part != "spectral":
            return f"{head}.{name}" if name else head
        head += "."
    if name == "weight":
        name = "weight.tensor"
    elif name.startswith("weight.factors."):        # here frequencies come first, then inputs and outputs; there the other way round
        name = f"weight.factors.factor_{(int(name.rpartition('.')[2]) + 2) % (axes + 2)}"
    return head + name


def _their_value(name: str, value: np.ndarray) -> np.ndarray:
    """Return a parameter as neuraloperator has it; name: there."""
    if name.endswith(("weight.tensor", "weight.core")):
        return np.ascontiguousarray(np.moveaxis(value, (-2, -1), (0, 1)))
    if re.search(r"(fcs\.\d|conv)\.weight$", name):
        return value[..., None]
    if re.search(r"fcs\.\d\.bias$", name):
        return value[:, 0]
    return value[None] if "channel_mlp_skips" in name else value


def to_neuraloperator(model: FNO | SpectralConv) -> dict[str, np.ndarray]:
    """Return the weights of an FNO or a SpectralConv by the names and in the shapes of neuraloperator 2.0's `state_dict`.

    They fit `neuralop.models.FNO(n_modes=modes, hidden_channels=width, n_layers=layers, ...)`, with factorization="tucker" those of a
    `rank`; load them with `load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)`. Both networks then agree
    to rounding, but on a grid of odd size along an axis that holds both signs neuraloperator 2.0 puts frequencies back one place off.
    Raises: InputError for other modules, and for an FNO without mlp, whose activation neuraloperator applies twice.

    >>> state = to_neuraloperator(FNO(modes=(4, 4), width=3, layers=1))
    >>> state["fno_blocks.convs.0.weight.tensor"].shape, state["lifting.fcs.0.weight"].shape
    ((3, 3, 4, 3), (6, 3, 1))
    """
    if not isinstance(model, FNO | SpectralConv):
        raise InputError(f"to_neuraloperator(model): got a {type(model).__name__}; give an FNO or a SpectralConv")
    if isinstance(model, FNO) and model.blocks[0].mlp is None:
        raise InputError("to_neuraloperator(model): an FNO with mlp=None has no counterpart: neuraloperator applies its activation twice "
                         "there; make it with an mlp")
    out = {}
    for name, value in model.state_dict().items():
        theirs = _their_name(name, len(model.modes))
        out[theirs] = _their_value(theirs, device.to_numpy(value))
    return out


def from_neuraloperator(
    state: Mapping[str, Any], grid: bool = True, padding: Any = 0.0, activation: Callable[..., Any] = hp.gelu,
) -> FNO:
    """Return an FNO with the weights of a neuraloperator 2.0 FNO, its sizes read from their shapes.

    state: its `state_dict()`, of arrays or of torch tensors on the CPU; dense weights, or Tucker's.
    grid: whether it was made with its positional embedding, padding: with which domain_padding, activation: with which non_linearity;
    shapes do not tell.
    Raises: InputError that lists the weights that are missing, left over or of another shape.

    >>> model = FNO(modes=(4, 4), width=3, layers=1)
    >>> x = np.ones((1, 1, 8, 8), np.float32)
    >>> bool(hp.all(from_neuraloperator(to_neuraloperator(model))(x) == model(x)))
    True
    """
    given = {name: np.asarray(value) for name, value in state.items() if not name.startswith("_")}
    spectral = "fno_blocks.convs.0.weight."
    kept = given.get(f"{spectral}tensor", given.get(f"{spectral}core"))
    needed = ("lifting.fcs.0.weight", "lifting.fcs.1.weight", "projection.fcs.0.weight", "projection.fcs.1.weight",
              "fno_blocks.channel_mlp.0.fcs.0.weight")
    missing = [name for name in needed if name not in given] + ([f"{spectral}tensor"] if kept is None else [])
    if missing or kept is None:
        raise InputError(f"from_neuraloperator(state): lacks {', '.join(missing)}; give the state_dict() of neuralop.models.FNO, with its "
                         "channel mlp")
    axes, rank = kept.ndim - 2, None
    shape = kept.shape[2:]
    if f"{spectral}core" in given:
        rank = (*kept.shape[2:], *kept.shape[:2])
        shape = tuple(len(given[f"{spectral}factors.factor_{i + 2}"]) for i in range(axes))
    (hidden, channels), width = given["lifting.fcs.0.weight"].shape[:2], len(given["lifting.fcs.1.weight"])
    model = FNO(
        (*shape[:-1], max(1, 2 * (shape[-1] - 1))), width, sum(bool(re.fullmatch(r"fno_blocks\.convs\.\d+\.bias", name)) for name in given),
        channels - axes * bool(grid), len(given["projection.fcs.1.weight"]), hidden / width,
        len(given["projection.fcs.0.weight"]) / width, len(given["fno_blocks.channel_mlp.0.fcs.0.weight"]) / width, grid, padding, rank,
        activation, dtype=given["lifting.fcs.0.weight"].dtype)
    names = {name: _their_name(name, axes) for name in model.state_dict()}
    expected = {theirs: value.shape for theirs, value in to_neuraloperator(model).items()}
    wrong = [f"{name} has shape {given[name].shape}, not {size}" if name in given else f"lacks {name}" for name, size in expected.items()
             if name not in given or given[name].shape != size] + [f"has {name} besides" for name in given if name not in expected]
    if wrong:
        raise InputError(f"from_neuraloperator(state): {'; '.join(wrong)}; give the state_dict() of a neuralop.models.FNO without "
                         "normalisation layers, of real data")
    own = {}
    for name, value in model.state_dict().items():
        theirs = given[names[name]]
        if names[name].endswith(("weight.tensor", "weight.core")):
            theirs = np.moveaxis(theirs, (0, 1), (-2, -1))
        own[name] = np.ascontiguousarray(theirs).reshape(value.shape)
    model.load_state_dict(own)
    return model
