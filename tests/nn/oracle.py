"""The comparison of Modules and functions with PyTorch, in float64: values, and derivatives with respect to everything."""

import importlib.util
from typing import Any

import numpy as np
import pytest

import hyperion as hp

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")

# Sums of a few hundred products in float64, in another order: some hundred roundings of 1e-16.
TOLERANCE = 1e-11


def same(result: Any, expected: Any, what: str = "value") -> None:
    expected = np.asarray(expected)
    assert result.shape == expected.shape, what
    np.testing.assert_allclose(np.asarray(result.data), expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def same_as_torch(ours: Any, theirs: Any, *inputs: Any, weigh: bool = True) -> None:
    """Compare ours(*inputs) with theirs(*torch inputs); derivatives with respect to floating inputs and, of Modules, to parameters.

    A Module gives its state to PyTorch's: the names of parameters and buffers are the same.
    """
    import torch

    if isinstance(ours, hp.nn.Module):
        theirs.load_state_dict({name: torch.tensor(np.array(value)) for name, value in ours.state_dict().items()})
        theirs.train(ours.training)
    mine = [hp.asarray(x, requires_grad=True) if np.asarray(x).dtype.kind == "f" else hp.asarray(x) for x in inputs]
    other = [torch.tensor(x, requires_grad=np.asarray(x).dtype.kind == "f") for x in inputs]
    out, reference = ours(*mine), theirs(*other)
    same(out, reference.detach().numpy())
    weights = np.random.default_rng(5).standard_normal(out.shape) if weigh else np.ones(out.shape)
    if not reference.requires_grad:
        return
    (out * weights).sum().backward()
    (reference * torch.tensor(weights)).sum().backward()
    for i, (x, y) in enumerate(zip(mine, other, strict=True)):
        if y.grad is not None:
            assert x.grad is not None
            same(x.grad, y.grad.numpy(), f"gradient of input {i}")
    if isinstance(ours, hp.nn.Module):
        gradients = dict(theirs.named_parameters())
        assert list(ours.named_parameters()) == list(gradients)
        for name, x in ours.named_parameters().items():
            same(x.grad, gradients[name].grad.numpy(), f"gradient of {name}")
        for name, x in ours.named_buffers().items():
            if name == "num_batches_tracked" and isinstance(ours, hp.nn.InstanceNorm):
                continue                            # PyTorch's InstanceNorm has the number, and leaves it at 0
            same(x, dict(theirs.named_buffers())[name].numpy(), name)
