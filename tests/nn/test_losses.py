"""Losses and the functional twins: against PyTorch in float64, as laws, and what is refused."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
import hyperion.nn.functional as F
from hyperion import nn
from hyperion.errors import DtypeError, HyperionError, IndexingError, InputError, ShapeError
from tests.nn.oracle import needs_torch, same, same_as_torch

rng = np.random.default_rng(41)


def values(*shape: int) -> Any:
    return rng.standard_normal(shape)


X, Y = values(4, 5), values(4, 5)
P, Q = rng.dirichlet(np.ones(5), 4), rng.dirichlet(np.ones(5), 4)
CLASSES = np.array([0, 4, 2, 2])
GRID, GRID_CLASSES = values(2, 5, 3, 2), rng.integers(0, 5, (2, 3, 2))
WEIGHTS = rng.uniform(0.5, 2.0, 5)
IMAGE, SIGNAL = values(2, 4, 6, 5), values(2, 4, 7)
REDUCTIONS = ("mean", "sum", "none")

# name: (how it is called with F, hyperion's or PyTorch's, and what makes a constant of it; inputs that are differentiated)
CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    **{f"cross_entropy_{r}": (lambda F, c, x, r=r: F.cross_entropy(x, c(CLASSES), reduction=r), (X,)) for r in REDUCTIONS},
    **{f"cross_entropy_weight_{r}": (lambda F, c, x, r=r: F.cross_entropy(x, c(CLASSES), c(WEIGHTS), ignore_index=4, reduction=r,
                                                                      label_smoothing=0.2), (X,))
       for r in REDUCTIONS},
    "cross_entropy_smooth": (lambda F, c, x: F.cross_entropy(x, c(CLASSES), ignore_index=2, label_smoothing=0.3), (X,)),
    "cross_entropy_one": (lambda F, c, x: F.cross_entropy(x, c(np.array(3))), (X[0],)),
    "cross_entropy_grid": (lambda F, c, x: F.cross_entropy(x, c(GRID_CLASSES), c(WEIGHTS), ignore_index=1), (GRID,)),
    **{f"cross_entropy_soft_{r}": (lambda F, c, x, p, r=r: F.cross_entropy(x, p, c(WEIGHTS), reduction=r, label_smoothing=0.1), (X, P))
       for r in REDUCTIONS},
    "cross_entropy_soft_grid": (lambda F, c, x: F.cross_entropy(x, c(np.abs(GRID))), (GRID,)),
    **{f"nll_{r}": (lambda F, c, x, r=r: F.nll_loss(x, c(CLASSES), c(WEIGHTS), ignore_index=2, reduction=r), (X,)) for r in REDUCTIONS},
    "nll_grid": (lambda F, c, x: F.nll_loss(x, c(GRID_CLASSES)), (GRID,)),
    **{f"mse_{r}": (lambda F, c, x, y, r=r: F.mse_loss(x, y, reduction=r), (X, Y)) for r in REDUCTIONS},
    **{f"l1_{r}": (lambda F, c, x, y, r=r: F.l1_loss(x, y, reduction=r), (X, Y)) for r in REDUCTIONS},
    **{f"huber_{r}": (lambda F, c, x, y, r=r: F.huber_loss(x, y, r, 0.7), (X, Y)) for r in REDUCTIONS},
    "smooth_l1": (lambda F, c, x, y: F.smooth_l1_loss(x, y, beta=0.6), (X, Y)),
    "smooth_l1_zero": (lambda F, c, x, y: F.smooth_l1_loss(x, y, beta=0.0), (X, Y)),
    **{f"bce_{r}": (lambda F, c, p, q, r=r: F.binary_cross_entropy(p, q, c(WEIGHTS), reduction=r), (P, Q)) for r in REDUCTIONS},
    **{f"bce_logits_{r}": (lambda F, c, x, q, r=r: F.binary_cross_entropy_with_logits(x, q, reduction=r), (20.0 * X, Q))
       for r in REDUCTIONS},
    "bce_logits_weighed": (lambda F, c, x, q: F.binary_cross_entropy_with_logits(x, q, c(Q), pos_weight=c(WEIGHTS)), (X, Q)),
    **{f"kl_{r}": (lambda F, c, x, q, r=r: F.kl_div(x, q, reduction=r), (np.log(P), Q)) for r in (*REDUCTIONS, "batchmean")},
    "kl_log": (lambda F, c, x, y: F.kl_div(x, y, reduction="batchmean", log_target=True), (np.log(P), np.log(Q))),
    "kl_zero": (lambda F, c, x: F.kl_div(x, c(np.eye(4, 5)), reduction="sum"), (np.log(P),)),
    # layers
    "linear": (lambda F, c, x, w, b: F.linear(x, w, b), (X, values(3, 5), values(3))),
    "embedding": (lambda F, c, w: F.embedding(c(CLASSES), w, 2), (X.T.copy(),)),
    "conv1d": (lambda F, c, x, w, b: F.conv1d(x, w, b, 2, 1, 1, 2), (SIGNAL, values(6, 2, 3), values(6))),
    "conv2d": (lambda F, c, x, w: F.conv2d(x, w, None, (2, 1), "valid", 2), (IMAGE, values(3, 4, 2, 2))),
    "conv3d": (lambda F, c, x, w: F.conv3d(x, w), (values(1, 2, 3, 3, 3), values(2, 2, 2, 2, 2))),
    "conv_transpose1d": (lambda F, c, x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1), (SIGNAL, values(4, 3, 3), values(3))),
    "conv_transpose2d": (lambda F, c, x, w: F.conv_transpose2d(x, w, None, 2, 0, 1, 2), (IMAGE, values(4, 3, 3, 3))),
    "conv_transpose3d": (lambda F, c, x, w: F.conv_transpose3d(x, w), (values(1, 2, 2, 2, 2), values(2, 2, 2, 2, 2))),
    "unfold": (lambda F, c, x: F.unfold(x, 2, 2, 1, 2), (IMAGE,)),
    "fold": (lambda F, c, x: F.fold(x, (6, 5), 2, 2, 1, 2), (values(2, 12, 9),)),
    "pad": (lambda F, c, x: F.pad(x, (1, 2, 0, 3), value=0.5), (IMAGE,)),
    "pad_reflect": (lambda F, c, x: F.pad(x, (1, 2), "reflect"), (SIGNAL,)),
    "pad_circular": (lambda F, c, x: F.pad(x, (1, 2, 3, 0), "circular"), (IMAGE,)),
    "interpolate": (lambda F, c, x: F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True), (IMAGE,)),
    "grid_sample": (lambda F, c, x, g: F.grid_sample(x, g, align_corners=False), (IMAGE, rng.uniform(-1, 1, (2, 3, 3, 2)))),
    "max_pool2d": (lambda F, c, x: F.max_pool2d(x, 3, 2, 1), (IMAGE,)),
    "avg_pool2d": (lambda F, c, x: F.avg_pool2d(x, 2, 2, 1, False, False), (IMAGE,)),
    "lp_pool1d": (lambda F, c, x: F.lp_pool1d(x, 2, 3), (SIGNAL,)),
    "adaptive_avg_pool2d": (lambda F, c, x: F.adaptive_avg_pool2d(x, (2, 3)), (IMAGE,)),
    "adaptive_max_pool1d": (lambda F, c, x: F.adaptive_max_pool1d(x, 3), (SIGNAL,)),
    "pixel_shuffle": (lambda F, c, x: F.pixel_shuffle(x, 2), (IMAGE,)),
    "layer_norm": (lambda F, c, x, w, b: F.layer_norm(x, (5,), w, b, 0.1), (X, values(5), values(5))),
    "rms_norm": (lambda F, c, x, w: F.rms_norm(x, (5,), w), (X, values(5))),
    "group_norm": (lambda F, c, x, w, b: F.group_norm(x, 2, w, b, 0.1), (SIGNAL, values(4), values(4))),
    "instance_norm": (lambda F, c, x, w, b: F.instance_norm(x, None, None, w, b), (SIGNAL, values(4), values(4))),
    "instance_norm_kept": (lambda F, c, x: F.instance_norm(x, c(values(4) * 0), c(WEIGHTS[:4]), use_input_stats=False), (SIGNAL,)),
    "batch_norm": (lambda F, c, x, w, b: F.batch_norm(x, None, None, w, b, True, eps=0.1), (SIGNAL, values(4), values(4))),
    "batch_norm_kept": (lambda F, c, x, w: F.batch_norm(x, c(X[:, 0]), c(WEIGHTS[:4]), w), (SIGNAL, values(4))),
    "local_response_norm": (lambda F, c, x: F.local_response_norm(x, 3, 0.5, 0.7, 2.0), (SIGNAL,)),
    "normalize": (lambda F, c, x: F.normalize(x, 3.0), (SIGNAL,)),
    "cosine_similarity": (lambda F, c, x, y: F.cosine_similarity(x, y), (SIGNAL, SIGNAL[::-1] + 0.1)),
    "pairwise_distance": (lambda F, c, x, y: F.pairwise_distance(x, y, 3.0, 1e-3, True), (X, Y)),
    "dropout": (lambda F, c, x: F.dropout(x, 0.5, False), (X,)),
    # activations
    "gelu": (lambda F, c, x: F.gelu(x), (X,)), "gelu_tanh": (lambda F, c, x: F.gelu(x, approximate="tanh"), (X,)),
    "softmax": (lambda F, c, x: F.softmax(x, 0), (X,)), "softmin": (lambda F, c, x: F.softmin(x, dim=1), (X,)),
    "log_softmax": (lambda F, c, x: F.log_softmax(x, dim=0), (X,)), "softplus": (lambda F, c, x: F.softplus(x, 2.0), (X,)),
    "glu": (lambda F, c, x: F.glu(x, dim=0), (X,)), "prelu": (lambda F, c, x, w: F.prelu(x, w), (X, values(1))),
    "leaky_relu": (lambda F, c, x: F.leaky_relu(x, 0.3), (X,)), "elu": (lambda F, c, x: F.elu(x, 0.7), (X,)),
    "hardtanh": (lambda F, c, x: F.hardtanh(x, -0.5, 0.7), (X,)), "threshold": (lambda F, c, x: F.threshold(x, 0.1, -2.0), (X,)),
    "celu": (lambda F, c, x: F.celu(x, 0.5), (X,)), "softshrink": (lambda F, c, x: F.softshrink(x, 0.3), (X,)),
    "hardshrink": (lambda F, c, x: F.hardshrink(x, 0.3), (X,)),
    **{name: (lambda F, c, x, name=name: getattr(F, name)(x), (X,)) for name in (
        "relu", "relu6", "silu", "mish", "selu", "sigmoid", "tanh", "softsign", "tanhshrink", "logsigmoid", "hardswish")},
    # PyTorch rounds its 1 / 6 to float32
    "hardsigmoid": (lambda G, c, x: F.hardsigmoid(x) if G is F else G.relu6(x + 3.0) / 6.0, (X,)),
}


@needs_torch
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")         # PyTorch's advice on kl_div
@pytest.mark.parametrize("name", CALLS)
def test_a_function_equals_torchs_of_the_same_name_and_order(name: str) -> None:
    import torch

    call, inputs = CALLS[name]
    same_as_torch(lambda *xs: call(F, hp.asarray, *xs), lambda *xs: call(torch.nn.functional, torch.tensor, *xs), *inputs)


@needs_torch
@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_running_statistics_of_functions_follow_as_torchs(name: str) -> None:
    import torch

    mean, variance = values(4), rng.uniform(0.5, 2.0, 4)
    ours, theirs = (hp.asarray(mean), hp.asarray(variance)), (torch.tensor(mean), torch.tensor(variance))
    arguments = {"training": True} if name == "batch_norm" else {"use_input_stats": True}
    same(getattr(F, name)(SIGNAL, *ours, momentum=0.3, **arguments),
         getattr(torch.nn.functional, name)(torch.tensor(SIGNAL), *theirs, momentum=0.3, **arguments).numpy())
    for a, b in zip(ours, theirs, strict=True):
        same(a, b.numpy())
    with pytest.raises(InputError, match="must be Tensors"):
        getattr(F, name)(SIGNAL, mean, variance, **arguments)


def test_every_function_of_the_twins_is_compared() -> None:
    aliases = {
        "nll_loss": "nll_mean", "mse_loss": "mse_mean", "l1_loss": "l1_mean", "huber_loss": "huber_mean", "smooth_l1_loss": "smooth_l1",
        "binary_cross_entropy": "bce_mean", "binary_cross_entropy_with_logits": "bce_logits_mean", "kl_div": "kl_mean",
        "cross_entropy": "cross_entropy_mean",
    }
    kin = {         # those of other ranks, compared through their layers or as operations; one_hot: below
        "avg_pool1d", "avg_pool3d", "max_pool1d", "max_pool3d", "lp_pool2d", "lp_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool3d",
        "adaptive_max_pool2d", "adaptive_max_pool3d", "pixel_unshuffle", "one_hot",
        "scaled_dot_product_attention",         # in test_attention.py
    }
    assert {name for name in F.__all__ if aliases.get(name, name) not in CALLS.keys() | kin} == set()


def test_classes_are_last_in_nn_and_second_in_functional() -> None:
    scores = np.moveaxis(GRID, 1, -1)
    same(nn.cross_entropy(scores, GRID_CLASSES), F.cross_entropy(GRID, GRID_CLASSES).data)
    same(nn.nll(hp.log_softmax(scores), GRID_CLASSES), nn.cross_entropy(scores, GRID_CLASSES).data)
    onehot = F.one_hot(GRID_CLASSES, 5).astype("float64")
    same(nn.cross_entropy(scores, onehot), nn.cross_entropy(scores, GRID_CLASSES).data)
    assert F.one_hot([2, 0]).shape == (2, 3) and F.one_hot([2, 0]).dtype == np.int64


def test_cross_entropy_far_out_and_ignored() -> None:
    same(nn.cross_entropy(np.array([[0.0, 1e4], [0.0, -np.inf]]), [0, 0], reduction="none"), [1e4, 0.0])
    x = hp.asarray(X, requires_grad=True)
    nn.cross_entropy(x, [1, -100, -100, 3], reduction="sum").backward()
    assert x.grad is not None
    assert not x.grad.data[1:3].any() and x.grad.data[[0, 3]].all()
    np.testing.assert_allclose(x.grad.data.sum(-1), 0.0, atol=1e-15)
    assert np.isnan(nn.cross_entropy(X, [-100] * 4).data)
    assert nn.cross_entropy(X, [-100] * 4, reduction="sum").item() == 0.0
    half = nn.cross_entropy(hp.asarray(X, dtype="bfloat16"), CLASSES)
    assert half.dtype == np.float32 and abs(half.item() - nn.cross_entropy(X, CLASSES).item()) < 0.05


def test_cross_entropy_inside_vmap_and_to_second_order() -> None:
    each = hp.vmap(lambda x, y: nn.cross_entropy(x, y))(np.stack([X, Y]), np.stack([CLASSES, CLASSES[::-1]]))
    same(each, [nn.cross_entropy(X, CLASSES).item(), nn.cross_entropy(Y, CLASSES[::-1].copy()).item()])
    p = np.exp(X[0] - X[0].max()) / np.exp(X[0] - X[0].max()).sum()
    same(hp.hessian(lambda x: nn.cross_entropy(x, 2))(X[0]), np.diag(p) - np.outer(p, p))


def test_relative_losses_are_ratios_of_norms() -> None:
    t = np.linspace(0.0, 2.0 * np.pi, 256, endpoint=False)
    wave = np.stack([np.sin(t), 3.0 * np.cos(2.0 * t)])[:, None]
    same(nn.relative_l2(1.1 * wave, wave, reduction="none"), [0.1, 0.1])
    same(nn.relative_l2(X, Y), np.mean(np.linalg.norm(X - Y, axis=1) / np.linalg.norm(Y, axis=1)))
    same(nn.relative_h1(1.1 * wave, wave, spacing=t[1], periodic=True), 0.1)
    # error sin(5 t) of a target sin(t): (1 + 25) / (1 + 1) of the squared norms; central differences see sin(k h) / h for k
    h, error = t[1], np.sin(5.0 * t)[None, None]
    slope = [np.sin(k * h) / h for k in (1, 5)]
    expected = np.sqrt((1.0 + slope[1] ** 2) / (1.0 + slope[0] ** 2))
    assert abs(nn.relative_h1(wave[:1] + error, wave[:1], h, periodic=True).item() - expected) < 1e-12
    assert abs(expected - np.sqrt(13.0)) < 0.01
    field, target = values(2, 1, 4, 5), values(2, 1, 4, 5)

    def size(u: Any) -> Any:
        parts = [u, np.gradient(u, 0.5, axis=2), np.gradient(u, 2.0, axis=3)]
        return np.sqrt(sum((part**2).sum((1, 2, 3)) for part in parts))

    same(nn.relative_h1(field, target, (0.5, 2.0), reduction="none"), size(field - target) / size(target))
    assert np.isfinite(hp.grad(lambda x: nn.relative_l2(x, Y))(Y).data).all()


def test_complex_predictions() -> None:
    z, w = X + 1j * Y, Y - 1j * X
    same(nn.mse(z, w), np.mean(np.abs(z - w) ** 2))
    same(nn.l1(z, w), np.mean(np.abs(z - w)))
    same(nn.relative_l2(z, w), np.mean(np.linalg.norm(z - w, axis=1) / np.linalg.norm(w, axis=1)))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.cross_entropy(X, [0, 5, 1, 1]), IndexingError, "class 5 is outside the 5 scores"),
    (lambda: nn.cross_entropy(X, [0, -1, 1, 1]), IndexingError, "class -1 is outside"),
    (lambda: nn.cross_entropy(X, CLASSES[:3]), ShapeError, r"scores have shape \(4, 5\), targets \(3,\)"),
    (lambda: nn.cross_entropy(GRID, GRID_CLASSES), ShapeError, "move the classes to the last axis"),
    (lambda: nn.cross_entropy(X, CLASSES * 1.0), DtypeError, "classes are float64; they must be integers"),
    (lambda: nn.cross_entropy(X.astype(int), CLASSES), DtypeError, "scores must be floating"),
    (lambda: nn.cross_entropy(X, CLASSES, WEIGHTS[:2]), ShapeError, r"weight has shape \(2,\); it must be \(5,\)"),
    (lambda: nn.cross_entropy(X, CLASSES, label_smoothing=1.5), InputError, "label_smoothing=1.5 must be a number from 0 to 1"),
    (lambda: nn.cross_entropy(X, CLASSES, reduction="avg"), InputError, "reduction='avg' is unknown"),
    (lambda: nn.cross_entropy(X[:0], CLASSES[:0]), ShapeError, "no rows"),
    (lambda: nn.cross_entropy(X[:, :0], CLASSES), ShapeError, "one class or more"),
    (lambda: nn.nll(X, CLASSES[:2]), ShapeError, "log_probabilities have shape"),
    (lambda: nn.nll(X, X[:, 0]), DtypeError, "must be integers"),
    (lambda: nn.nll(X, CLASSES + 3), IndexingError, "outside an axis of length 5"),
    (lambda: nn.mse(X, Y[0]), ShapeError, r"prediction has shape \(4, 5\), target \(5,\)"),
    (lambda: nn.mse(X[:0], Y[:0]), ShapeError, "there are no elements"),
    (lambda: nn.mse(X, Y, "all"), InputError, "reduction='all' is unknown"),
    (lambda: nn.huber(X, Y, 0.0), InputError, "delta=0.0 must be a number above 0"),
    (lambda: nn.bce(X, Q), InputError, "some probabilities are below 0 or above 1"),
    (lambda: nn.kl(np.float64(0.0), np.float64(0.0)), ShapeError, "batchmean divides by the length of axis 0"),
    (lambda: nn.relative_l2(X[0], Y[0]), ShapeError, r"must be \(examples, ...\)"),
    (lambda: nn.relative_h1(X, Y), ShapeError, r"must be \(examples, channels, \*space\)"),
    (lambda: nn.relative_h1(SIGNAL, SIGNAL, -1.0), InputError, "spacing=-1.0 must be a number above 0"),
    (lambda: F.cross_entropy(GRID, CLASSES), ShapeError, r"for \(batch, classes, \*rest\) it is \(batch, \*rest\)"),
    (lambda: F.layer_norm(X, (4,)), ShapeError, "does not end in normalized_shape"),
    (lambda: F.batch_norm(SIGNAL, None, None), InputError, "needed unless training=True"),
    (lambda: F.batch_norm(SIGNAL[:1, :, :1], None, None, training=True), ShapeError, "more than one value for each channel"),
    (lambda: F.gelu(X, approximate="sigmoid"), InputError, "approximate='sigmoid' is unknown"),
    (lambda: F.dropout(X, 2.0), InputError, r"dropout\(p\)=2.0 must be a number from 0 to 1"),
    (lambda: F.pad(X, (1, 2, 3)), ShapeError, "give a pair for each axis"),
    (lambda: F.embedding([0], X, 9), InputError, "9 is outside the 4 rows"),
    (lambda: F.one_hot(np.zeros(0, int)), InputError, "give num_classes="),
    (lambda: F.linear(X, Y.T), ShapeError, "the last axis of x must have length 4"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
