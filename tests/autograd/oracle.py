"""PyTorch as an oracle: values, and gradients of a random projection, of functions of both libraries."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import hyperion as hp

__all__ = ["against_torch"]


def _flat(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]


def against_torch(ours: Callable[..., Any], theirs: Callable[..., Any], arrays: Sequence[Any], tolerance: float = 1e-12) -> None:
    """Compare values, and gradients with respect to the floating arrays; integer and bool arrays are passed as they are."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    floating = [i for i, x in enumerate(arrays) if x.dtype.kind in "fc"]
    tensors = [torch.tensor(x, requires_grad=i in floating) for i, x in enumerate(arrays)]
    expected = _flat(theirs(*tensors))
    found = _flat(ours(*map(hp.asarray, arrays)))
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=tolerance, atol=tolerance)
        assert x.shape == tuple(y.shape)
    smooth = [i for i, y in enumerate(expected) if y.requires_grad]
    if not smooth:
        return
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(tuple(expected[i].shape)) for i in smooth]
    loss = sum((expected[i] * torch.tensor(w)).sum() for i, w in zip(smooth, weights, strict=True))
    gradients = torch.autograd.grad(loss, [tensors[i] for i in floating], allow_unused=True)

    def projected(*xs: Any) -> Any:
        inputs = list(map(hp.asarray, arrays))
        for i, x in zip(floating, xs, strict=True):
            inputs[i] = x
        out = _flat(ours(*inputs))
        total = hp.sum(out[smooth[0]] * weights[0])
        for i, w in zip(smooth[1:], weights[1:], strict=True):
            total = total + hp.sum(out[i] * w)
        return total

    mine = hp.grad(projected, argnums=tuple(range(len(floating))))(*(arrays[i] for i in floating))
    for x, y in zip(mine, gradients, strict=True):
        np.testing.assert_allclose(x.numpy(), 0.0 * x.numpy() if y is None else y.numpy(), rtol=tolerance, atol=tolerance)
