"""Normalisation and distances: against PyTorch to second order, as laws, and what is refused."""

import importlib.util
import math
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import DtypeError, HyperionError, InputError, ShapeError

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")
rng = np.random.default_rng(11)
X, W, B = rng.standard_normal((3, 4, 5)), rng.uniform(0.5, 2.0, 4), rng.standard_normal(4)
LAST, SPREAD = rng.uniform(0.5, 2.0, 5), rng.uniform(0.5, 2.0, 4)


def same(result: Any, expected: Any, tolerance: float = 1e-11) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(np.asarray(result.data), expected, rtol=tolerance, atol=tolerance)


CASES: list[tuple[str, Any, Any, tuple[Any, ...]]] = [
    ("layer", lambda x, w, b: hp.layer_norm(x, w, b), lambda F, x, w, b: F.layer_norm(x, (5,), w, b), (X, LAST, 0.5 * LAST)),
    ("layer2", lambda x: hp.layer_norm(x, axis=(1, 2), eps=0.1), lambda F, x: F.layer_norm(x, (4, 5), eps=0.1), (X,)),
    ("rms", lambda x, w: hp.rms_norm(x, w, eps=1e-3), lambda F, x, w: F.rms_norm(x, (5,), w, 1e-3), (X, LAST)),
    ("group", lambda x, w, b: hp.group_norm(x, 2, w, b), lambda F, x, w, b: F.group_norm(x, 2, w, b), (X, W, B)),
    ("instance", lambda x, w, b: hp.instance_norm(x, w, b), lambda F, x, w, b: F.instance_norm(x, None, None, w, b), (X, W, B)),
    ("batch", lambda x, w, b: hp.batch_norm(x, None, None, w, b), lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), (X, W, B)),
    ("batch2", hp.batch_norm, lambda F, x, m, v, w, b: F.batch_norm(x, m, v, w, b), (X, B, SPREAD, W, B)),
    ("response", lambda x: hp.local_response_norm(x, 3, 0.5, 0.7, 2.0), lambda F, x: F.local_response_norm(x, 3, 0.5, 0.7, 2.0), (X,)),
    ("response2", lambda x: hp.local_response_norm(x, 2, 0.5), lambda F, x: F.local_response_norm(x, 2, 0.5), (X,)),
    *((f"normalize{p}", lambda x, p=p: hp.normalize(x, p, 1), lambda F, x, p=p: F.normalize(x, p, 1), (X,)) for p in (1, 2.0, 3, math.inf)),
    ("cosine", hp.cosine_similarity, lambda F, x, y: F.cosine_similarity(x, y, -1), (X, X[::-1] + 0.1)),
    ("cosine2", lambda x, y: hp.cosine_similarity(x, y, 1), lambda F, x, y: F.cosine_similarity(x, y, 1), (X, X[1] + 0.1)),
    *((f"distance{p}", lambda x, y, p=p: hp.pairwise_distance(x, y, p), lambda F, x, y, p=p: F.pairwise_distance(x, y, p),
       (X, X[::-1] + 0.1)) for p in (1, 2.0, 3)),
]


@needs_torch
@pytest.mark.parametrize(("ours", "theirs", "inputs"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_against_torch_to_second_order(ours: Any, theirs: Any, inputs: tuple[Any, ...]) -> None:
    import torch

    # PyTorch has no derivative in the statistics that it is given
    fixed = {1, 2} if len(inputs) == 5 else set()
    leaves = [torch.tensor(x.copy(), requires_grad=i not in fixed) for i, x in enumerate(inputs)]
    active = [i for i in range(len(inputs)) if i not in fixed]
    value = theirs(torch.nn.functional, *leaves)
    weights = rng.standard_normal(tuple(value.shape))
    directions = [rng.standard_normal(inputs[i].shape) for i in active]
    gradients = torch.autograd.grad((value * torch.tensor(weights)).sum(), [leaves[i] for i in active], create_graph=True)
    along = sum((g * torch.tensor(d)).sum() for g, d in zip(gradients, directions, strict=True))
    seconds = torch.autograd.grad(along, [leaves[i] for i in active], allow_unused=True)

    def loss(*xs: Any) -> Any:
        full = list(inputs)
        for i, x in zip(active, xs, strict=True):
            full[i] = x
        return hp.sum(ours(*full) * weights)

    given = tuple(inputs[i] for i in active)
    same(ours(*inputs), value.detach().numpy())
    for g, t in zip(hp.grad(loss, argnums=tuple(range(len(given))))(*given), gradients, strict=True):
        same(g, t.detach().numpy())
    for h, t, x in zip(hp.hvp(loss, given, tuple(directions)), seconds, given, strict=True):
        same(h, np.zeros_like(x) if t is None else t.numpy(force=True), 1e-9)     # force: a zero that PyTorch did not fill in


def test_what_is_normalised_has_mean_zero_and_variance_one() -> None:
    for out, axis in ((hp.layer_norm(X, eps=0.0), -1), (hp.instance_norm(X, eps=0.0), 2), (hp.batch_norm(X, eps=0.0), (0, 2)),
                      (hp.group_norm(X, 1, eps=0.0), (1, 2))):
        np.testing.assert_allclose(np.mean(out.data, axis), 0.0, atol=1e-14)
        np.testing.assert_allclose(np.var(out.data, axis), 1.0, rtol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(hp.normalize(X).data, axis=-1), 1.0, rtol=1e-14)
    same(hp.layer_norm(X), hp.layer_norm(7.0 * X + 3.0, eps=49e-5).data)
    same(hp.normalize(X + 1j), (X + 1j) / np.linalg.norm(X + 1j, axis=-1, keepdims=True))


def test_zeros_stay_zero_with_finite_derivatives() -> None:
    zero = np.zeros((2, 3))
    for call in (hp.normalize, lambda x: hp.cosine_similarity(x, np.ones((2, 3))), lambda x: hp.pairwise_distance(x, zero, eps=0.0),
                 hp.layer_norm, hp.rms_norm):
        assert not call(zero).data.any()
        assert np.isfinite(hp.grad(lambda x, call=call: hp.sum(call(x) * 2.0))(zero).data).all()


def test_dtypes_and_batches() -> None:
    for dtype in ("float16", "float32"):
        x = X.astype(dtype)
        for call in (hp.layer_norm, hp.rms_norm, lambda x: hp.group_norm(x, 2), hp.batch_norm, hp.normalize):
            assert call(x).dtype == dtype
    same(hp.vmap(hp.layer_norm)(X), hp.layer_norm(X).data)
    same(hp.vmap(lambda x: hp.group_norm(x[None], 2)[0])(X), hp.group_norm(X, 2).data)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.layer_norm(X, W), ShapeError, r"weight has shape \(4,\); it must be \(5,\)"),
    (lambda: hp.layer_norm(X, None, W), ShapeError, r"bias has shape \(4,\)"),
    (lambda: hp.layer_norm(X, axis=3), ShapeError, "axis=3 is outside"),
    (lambda: hp.layer_norm(X, eps=-1.0), InputError, "eps=-1.0 must be a number, 0 or more"),
    (lambda: hp.layer_norm(X + 1j), DtypeError, "x is complex128; it must be real"),
    (lambda: hp.rms_norm(X, W), ShapeError, "weight has shape"),
    (lambda: hp.group_norm(X, 3), ShapeError, "groups=3 must divide the channels"),
    (lambda: hp.group_norm(X, 1.5), InputError, "groups=1.5 must be an integer"),
    (lambda: hp.group_norm(X[0, 0], 1), ShapeError, r"it must be \(batch, channels, \*space\)"),
    (lambda: hp.instance_norm(X[0]), ShapeError, "one axis of space or more"),
    (lambda: hp.batch_norm(X, W), InputError, "give both average and variance"),
    (lambda: hp.batch_norm(X, LAST, LAST), ShapeError, r"average has shape \(5,\)"),
    (lambda: hp.local_response_norm(X, 0), InputError, "size=0 must be an integer, 1 or more"),
    (lambda: hp.local_response_norm(X, 3, alpha="a"), InputError, "alpha='a' must be a number"),
    (lambda: hp.normalize(X, 0), InputError, "p=0 must be a number above 0"),
    (lambda: hp.cosine_similarity(X, W), ShapeError, "do not combine"),
    (lambda: hp.pairwise_distance(X, W), ShapeError, "do not combine"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
