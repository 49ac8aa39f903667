"""Layers: against PyTorch in float64, channels first and last, state, and what is refused."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import DtypeError, HyperionError, IndexingError, InputError, ShapeError
from tests.nn.oracle import needs_torch, same, same_as_torch

rng = np.random.default_rng(31)
F64: dict[str, Any] = {"dtype": "float64"}


def values(*shape: int) -> Any:
    return rng.standard_normal(shape)


# name: (our layer, PyTorch's by name, its arguments, input)
LAYERS: dict[str, tuple[Any, str, tuple[Any, ...], dict[str, Any], Any]] = {
    "linear": (lambda: nn.Linear(3, 4, **F64), "Linear", (3, 4), {}, values(2, 5, 3)),
    "linear_plain": (lambda: nn.Linear(3, 4, bias=False, **F64), "Linear", (3, 4), {"bias": False}, values(3)),
    "embedding": (lambda: nn.Embedding(7, 3, **F64), "Embedding", (7, 3), {}, rng.integers(0, 7, (2, 4))),
    "embedding_padding": (lambda: nn.Embedding(7, 3, padding=2, **F64), "Embedding", (7, 3), {"padding_idx": 2},
                          np.array([[2, 1, 2], [0, 6, 1]])),
    "conv1": (lambda: nn.Conv1d(2, 4, 3, 2, 1, **F64), "Conv1d", (2, 4, 3, 2, 1), {}, values(2, 2, 9)),
    "conv1_same": (lambda: nn.Conv1d(4, 6, 4, padding="same", dilation=2, groups=2, bias=False, **F64), "Conv1d", (4, 6, 4),
                   {"padding": "same", "dilation": 2, "groups": 2, "bias": False}, values(2, 4, 9)),
    "conv2": (lambda: nn.Conv2d(3, 5, (2, 3), (1, 2), (1, 0), **F64), "Conv2d", (3, 5, (2, 3), (1, 2), (1, 0)), {}, values(2, 3, 5, 6)),
    "conv2_depthwise": (lambda: nn.Conv2d(3, 6, 3, groups=3, **F64), "Conv2d", (3, 6, 3), {"groups": 3}, values(2, 3, 5, 6)),
    "conv2_single": (lambda: nn.Conv2d(3, 2, 3, **F64), "Conv2d", (3, 2, 3), {}, values(3, 5, 6)),
    "conv3": (lambda: nn.Conv3d(2, 3, 2, padding=1, **F64), "Conv3d", (2, 3, 2), {"padding": 1}, values(1, 2, 3, 4, 3)),
    "transposed1": (lambda: nn.ConvTranspose1d(2, 4, 3, 2, 1, 1, **F64), "ConvTranspose1d", (2, 4, 3, 2, 1, 1), {}, values(2, 2, 5)),
    "transposed2": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2, dilation=2, **F64), "ConvTranspose2d", (4, 6, 3, 2),
                    {"groups": 2, "dilation": 2}, values(2, 4, 3, 4)),
    "transposed3": (lambda: nn.ConvTranspose3d(2, 1, 2, 2, bias=False, **F64), "ConvTranspose3d", (2, 1, 2, 2), {"bias": False},
                    values(1, 2, 2, 3, 2)),
    "layer_norm": (lambda: nn.LayerNorm(5, **F64), "LayerNorm", (5,), {}, values(2, 3, 5)),
    "layer_norm2": (lambda: nn.LayerNorm((3, 5), eps=0.1, bias=False, **F64), "LayerNorm", ((3, 5),), {"eps": 0.1, "bias": False},
                    values(2, 3, 5)),
    "layer_norm_plain": (lambda: nn.LayerNorm(5, affine=False), "LayerNorm", (5,), {"elementwise_affine": False}, values(2, 3, 5)),
    "rms_norm": (lambda: nn.RMSNorm(5, eps=1e-3, **F64), "RMSNorm", (5, 1e-3), {}, values(2, 3, 5)),
    "group_norm": (lambda: nn.GroupNorm(2, 4, **F64), "GroupNorm", (2, 4), {}, values(3, 4, 5)),
    "group_norm_flat": (lambda: nn.GroupNorm(2, 4, affine=False), "GroupNorm", (2, 4), {"affine": False}, values(3, 4)),
    "batch_norm": (lambda: nn.BatchNorm(4, **F64), "BatchNorm1d", (4,), {}, values(6, 4)),
    "batch_norm1": (lambda: nn.BatchNorm(4, momentum=None, **F64), "BatchNorm1d", (4,), {"momentum": None}, values(3, 4, 5)),
    "batch_norm2": (lambda: nn.BatchNorm(4, eps=0.1, momentum=0.3, **F64), "BatchNorm2d", (4, 0.1, 0.3), {}, values(3, 4, 2, 3)),
    "batch_norm3": (lambda: nn.BatchNorm(2, track=False, affine=False), "BatchNorm3d", (2,),
                    {"track_running_stats": False, "affine": False}, values(3, 2, 2, 3, 2)),
    "instance_norm": (lambda: nn.InstanceNorm(4), "InstanceNorm1d", (4,), {}, values(3, 4, 5)),
    "instance_norm2": (lambda: nn.InstanceNorm(4, affine=True, track=True, **F64), "InstanceNorm2d", (4,),
                       {"affine": True, "track_running_stats": True}, values(3, 4, 2, 3)),
    "max_pool1": (lambda: nn.MaxPool1d(3, 2, 1), "MaxPool1d", (3, 2, 1), {}, values(2, 3, 8)),
    "max_pool2": (lambda: nn.MaxPool2d(2, ceil_mode=True), "MaxPool2d", (2,), {"ceil_mode": True}, values(2, 3, 5, 5)),
    "max_pool3": (lambda: nn.MaxPool3d(2), "MaxPool3d", (2,), {}, values(1, 2, 4, 4, 4)),
    "avg_pool1": (lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False), "AvgPool1d", (3, 2, 1), {"count_include_pad": False},
                  values(2, 3, 8)),
    "avg_pool2": (lambda: nn.AvgPool2d(2, divisor=3), "AvgPool2d", (2,), {"divisor_override": 3}, values(2, 3, 5, 5)),
    "avg_pool3": (lambda: nn.AvgPool3d(2, 1), "AvgPool3d", (2, 1), {}, values(1, 2, 3, 4, 4)),
    "adaptive_avg1": (lambda: nn.AdaptiveAvgPool1d(3), "AdaptiveAvgPool1d", (3,), {}, values(2, 3, 8)),
    "adaptive_avg2": (lambda: nn.AdaptiveAvgPool2d((2, 3)), "AdaptiveAvgPool2d", ((2, 3),), {}, values(2, 3, 5, 7)),
    "adaptive_avg3": (lambda: nn.AdaptiveAvgPool3d(2), "AdaptiveAvgPool3d", (2,), {}, values(1, 2, 3, 4, 5)),
    "adaptive_max1": (lambda: nn.AdaptiveMaxPool1d(3), "AdaptiveMaxPool1d", (3,), {}, values(2, 3, 8)),
    "adaptive_max2": (lambda: nn.AdaptiveMaxPool2d((2, 3)), "AdaptiveMaxPool2d", ((2, 3),), {}, values(2, 3, 5, 7)),
    "adaptive_max3": (lambda: nn.AdaptiveMaxPool3d(2), "AdaptiveMaxPool3d", (2,), {}, values(1, 2, 3, 4, 5)),
    "upsample": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "Upsample", (), {"scale_factor": 2, "mode": "bilinear"},
                 values(1, 2, 3, 4)),
    "flatten": (lambda: nn.Flatten(1, 2), "Flatten", (1, 2), {}, values(2, 3, 4, 5)),
    "identity": (lambda: nn.Identity(), "Identity", (), {}, values(2, 3)),
    "dropout_eval": (lambda: nn.Dropout(0.4).eval(), "Dropout", (0.4,), {}, values(2, 3)),
} | {
    f"padding_{mode}": (lambda mode=mode: nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode, **F64), "Conv2d", (2, 3, 3),
                        {"padding": (1, 2), "padding_mode": mode}, values(2, 2, 5, 6))
    for mode in ("reflect", "replicate", "circular")
}


def scramble(layer: Any) -> Any:
    """Give parameters and running statistics values that are not ones and zeros."""
    for name, x in layer.named_parameters().items():
        x.assign(x.data + 0.3 * np.random.default_rng(len(name)).standard_normal(x.shape))
    return layer


@needs_torch
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_equals_torch(name: str) -> None:
    import torch

    make, theirs, arguments, named, x = LAYERS[name]
    layer = scramble(make())
    other = getattr(torch.nn, theirs)(*arguments, **named).double()
    same_as_torch(layer, other, x)
    if layer.named_buffers():           # a second batch moves the running statistics on; then these are used
        same_as_torch(layer, other, 2.0 * x + 1.0)
        same_as_torch(layer.eval(), other, x)


CHANNELS_LAST = {
    "conv1": (lambda layout: nn.Conv1d(2, 3, 3, 2, 1, layout=layout, **F64), "NLC", values(2, 2, 9)),
    "conv2": (lambda layout: nn.Conv2d(4, 6, 3, padding="same", groups=2, layout=layout, **F64), "NHWC", values(2, 4, 5, 6)),
    "conv2_circular": (lambda layout: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", layout=layout, **F64), "NHWC",
                       values(2, 2, 5, 6)),
    "conv3": (lambda layout: nn.Conv3d(2, 3, 2, layout=layout, **F64), "NDHWC", values(1, 2, 3, 4, 3)),
    "transposed1": (lambda layout: nn.ConvTranspose1d(2, 3, 3, 2, 1, 1, layout=layout, **F64), "NLC", values(2, 2, 4)),
    "transposed2": (lambda layout: nn.ConvTranspose2d(2, 3, 2, 2, layout=layout, **F64), "NHWC", values(2, 2, 3, 4)),
    "transposed3": (lambda layout: nn.ConvTranspose3d(2, 3, 2, 2, layout=layout, **F64), "NDHWC", values(1, 2, 2, 2, 3)),
    "max_pool": (lambda layout: nn.MaxPool2d(2, layout=layout), "NHWC", values(2, 3, 4, 6)),
    "avg_pool": (lambda layout: nn.AvgPool2d(2, layout=layout), "NHWC", values(2, 3, 4, 6)),
    "adaptive": (lambda layout: nn.AdaptiveAvgPool2d((2, 3), layout=layout), "NHWC", values(2, 3, 4, 7)),
    "upsample": (lambda layout: nn.Upsample(size=(5, 7), mode="bilinear", layout=layout), "NHWC", values(2, 3, 4, 4)),
    "batch_norm": (lambda layout: nn.BatchNorm(3, layout=layout, **F64), "NHWC", values(2, 3, 4, 6)),
    "group_norm": (lambda layout: nn.GroupNorm(2, 4, layout=layout, **F64), "NHWC", values(2, 4, 3, 5)),
    "instance_norm": (lambda layout: nn.InstanceNorm(3, affine=True, track=True, layout=layout, **F64), "NLC", values(2, 3, 6)),
    "unet1": (lambda layout: nn.UNet1d(2, 3, 4, 2, 2, layout=layout, **F64), "NLC", values(2, 2, 8)),
    "unet2": (lambda layout: nn.UNet2d(1, 2, 4, 1, 2, padding_mode="circular", layout=layout, **F64), "NHWC", values(1, 1, 4, 6)),
}


@pytest.mark.parametrize("name", CHANNELS_LAST)
def test_channels_last_gives_what_channels_first_gives(name: str) -> None:
    make, layout, x = CHANNELS_LAST[name]
    first, last = scramble(make(None)), make(layout)
    last.load_state_dict(first.state_dict())
    a, b = hp.asarray(x, requires_grad=True), hp.asarray(np.moveaxis(x, 1, -1).copy(), requires_grad=True)
    one, other = first(a), last(b)
    same(other, np.moveaxis(one.data, 1, -1))
    (one * hp.cos(one)).sum().backward()
    (other * hp.cos(other)).sum().backward()
    assert a.grad is not None and b.grad is not None
    same(b.grad, np.moveaxis(a.grad.data, 1, -1))
    for p, q in zip(first.parameters(), last.parameters(), strict=True):
        same(q.grad, p.grad.data)
    for name, value in first.named_buffers().items():
        same(last.named_buffers()[name], value.data)


ANY = {**{name: (make, x) for name, (make, *_, x) in LAYERS.items()}, "feed_forward": (lambda: nn.FeedForward(3, **F64), values(2, 3)),
       "swiglu": (lambda: nn.SwiGLU(3, **F64), values(2, 3)), "mlp": (lambda: nn.MLP([3, 5, 2], **F64), values(2, 3)),
       "unet1": (lambda: nn.UNet1d(1, 2, 4, 2, 2, **F64), values(2, 1, 8)),
       "unet2": (lambda: nn.UNet2d(1, 2, 4, 1, 2, **F64), values(1, 1, 4, 4)),
       "sequential": (lambda: nn.Sequential(nn.Linear(3, 2, **F64), hp.tanh, nn.Activation(hp.leaky_relu, slope=0.3)), values(2, 3))}


@pytest.mark.parametrize("name", ANY)
def test_state_goes_from_one_layer_to_another(name: str) -> None:
    make, x = ANY[name]
    one, other = scramble(make()), make()
    one(x)                                                            # moves running statistics
    other.load_state_dict({key: np.array(value) for key, value in one.state_dict().items()})
    assert list(other.state_dict()) == list(one.state_dict())
    np.testing.assert_array_equal(one.eval()(x).data, other.eval()(x).data)


@pytest.mark.parametrize("name", [name for name, (make, _) in ANY.items() if make().parameters()])
def test_functional_gradient_equals_backward(name: str) -> None:
    make, x = ANY[name]
    layer = scramble(make())
    gradient = hp.grad(lambda m: hp.sum(hp.square(m(x))))(layer)
    hp.sum(hp.square(layer(x))).backward()
    for key, value in layer.named_parameters().items():
        same(gradient.named_parameters()[key], value.grad.data, key)


def test_blocks_are_what_they_say() -> None:
    x = hp.asarray(values(2, 3, 4))
    block = nn.FeedForward(4, 6, hp.relu, **F64)
    up = np.maximum(x.data @ block.up.weight.data.T + block.up.bias.data, 0.0)
    same(block(x), up @ block.down.weight.data.T + block.down.bias.data)
    gated = nn.SwiGLU(4, 6, **F64)
    a, b = x.data @ gated.gate.weight.data.T, x.data @ gated.up.weight.data.T
    same(gated(x), (a / (1.0 + np.exp(-a)) * b) @ gated.down.weight.data.T)
    assert nn.SwiGLU(48).up.outputs == 128
    mlp = nn.MLP([4, 5, 5, 2], hp.sin, **F64)
    h = x.data
    for layer in mlp.layers[:-1]:
        h = np.sin(h @ layer.weight.data.T + layer.bias.data)
    same(mlp(x), h @ mlp.layers[-1].weight.data.T + mlp.layers[-1].bias.data)
    chain = nn.Sequential(nn.Linear(4, 3, **F64), hp.tanh)
    assert len(chain) == 2 and chain[-1] is hp.tanh
    same(chain(x), np.tanh(chain[0](x).data))


def test_a_periodic_unet_commutes_with_shifts_by_its_coarsest_cell() -> None:
    model, x = nn.UNet1d(1, 1, 4, 2, 2, padding_mode="circular", **F64), values(1, 1, 16)
    same(model(np.roll(x, 4, -1)), np.roll(model(x).data, 4, -1))
    assert not np.allclose(model(np.roll(x, 1, -1)).data, np.roll(model(x).data, 1, -1))


def test_batch_norm_in_training_and_evaluation() -> None:
    layer, x = nn.BatchNorm(3, momentum=0.25, **F64), values(8, 3) * [1.0, 2.0, 3.0] + [5.0, 0.0, -5.0]
    out = layer(x)
    np.testing.assert_allclose(out.data.mean(0), 0.0, atol=1e-14)
    np.testing.assert_allclose(layer.running_mean.data, 0.25 * x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(layer.running_var.data, 0.75 + 0.25 * x.var(0, ddof=1), rtol=1e-13)
    assert int(layer.num_batches_tracked) == 1
    before = layer.running_mean.data.copy()
    alone = layer.eval()(x[:1])
    np.testing.assert_allclose(alone.data, (x[:1] - before) / np.sqrt(layer.running_var.data + 1e-5), rtol=1e-13)
    np.testing.assert_array_equal(layer.running_mean.data, before)
    with pytest.raises(ShapeError, match="more than one value for each channel"):
        layer.train()(x[:1])


def test_running_statistics_follow_under_grad_and_graphs_keep_theirs() -> None:
    layer, x = nn.BatchNorm(2, **F64), values(5, 2)
    hp.grad(lambda m: hp.sum(hp.square(m(x))))(layer)
    assert int(layer.num_batches_tracked) == 1
    np.testing.assert_allclose(layer.running_mean.data, 0.1 * x.mean(0), rtol=1e-13)
    layer.eval()
    scale = 1.0 / np.sqrt(layer.running_var.data + 1e-5)
    given = hp.asarray(x, requires_grad=True)
    out = layer(given).sum()
    layer.train()(3.0 * x)                  # moves the statistics after they were used
    out.backward()
    assert given.grad is not None
    np.testing.assert_allclose(given.grad.data, np.broadcast_to(scale, x.shape), rtol=1e-13)
    with pytest.raises(InputError, match="inside vmap"):
        hp.vmap(layer)(values(2, 5, 2))


def test_dropout_zeros_a_share_and_keeps_the_mean() -> None:
    layer = nn.Dropout(0.3, hp.random.Generator(3))
    x = hp.asarray(np.ones((100, 100)), requires_grad=True)
    out = layer(x)
    gone = out.data == 0.0
    assert abs(gone.mean() - 0.3) < 0.02                # 4 standard deviations of a mean of 10^4 draws
    np.testing.assert_allclose(out.data[~gone], 1.0 / 0.7, rtol=1e-12)
    out.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data == 0.0, gone)
    again = nn.Dropout(0.3, hp.random.Generator(3))
    np.testing.assert_array_equal(again(x).data, out.data)
    assert (layer(x).data == 0.0).sum() != gone.sum() or not np.array_equal(layer(x).data == 0.0, gone)
    assert layer.eval()(x) is x
    assert not nn.Dropout(1.0)(x).data.any() and np.array_equal(nn.Dropout(0.0)(x).data, x.data)


def test_the_seed_decides_what_layers_begin_with() -> None:
    nn.seed(4)
    one = nn.MLP([3, 4, 2])
    nn.seed(4)
    other = nn.MLP([3, 4, 2])
    third = nn.MLP([3, 4, 2])
    own = nn.MLP([3, 4, 2], generator=hp.random.Generator(4))
    for a, b, c, d in zip(one.parameters(), other.parameters(), third.parameters(), own.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.data, d.data)
        assert not np.array_equal(a.data, c.data)
    nn.seed(0)


def test_dtypes() -> None:
    assert nn.Linear(2, 2).weight.dtype == np.float32
    x = values(2, 3, 4)
    for layer in (nn.Linear(4, 2), nn.LayerNorm(4), nn.RMSNorm(4)):
        assert layer(x.astype(np.float32)).dtype == np.float32
        half = layer.to(dtype="bfloat16")
        out = half(hp.asarray(x, dtype="bfloat16"))
        assert out.dtype == hp.bfloat16
        out.sum().backward()
        assert {p.grad.dtype for p in half.parameters()} == {hp.bfloat16}


X = values(2, 3, 6)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.Linear(0, 2), InputError, r"Linear\(inputs\)=0 must be an integer, 1 or more"),
    (lambda: nn.Linear(2, 2.5), InputError, r"Linear\(outputs\)=2.5 must be an integer"),
    (lambda: nn.Linear(2, 3)(X), ShapeError, r"x has shape \(2, 3, 6\); its last axis must have length 2"),
    (lambda: nn.Linear(2, 3, generator=7), InputError, "must be a hyperion.random.Generator"),
    (lambda: nn.Embedding(5, 2)([1, 5]), IndexingError, "outside the vocabulary of 5 rows"),
    (lambda: nn.Embedding(5, 2)([-6]), IndexingError, "outside the vocabulary of 5 rows"),
    (lambda: nn.Embedding(5, 2)([0.5]), DtypeError, "indices are float32; they must be integers"),
    (lambda: nn.Embedding(5, 2, padding=5), InputError, "padding=5 is outside the 5 rows"),
    (lambda: nn.Conv1d(4, 2, 3)(X), ShapeError, r"has 3 channels; it must have 4"),
    (lambda: nn.Conv2d(3, 2, 3)(values(2, 6)), ShapeError, "it must have 4 axes"),
    (lambda: nn.Conv1d(3, 2, 3, groups=2), ShapeError, "groups=2 must divide inputs=3 and outputs=2"),
    (lambda: nn.Conv1d(3, 2, 0), InputError, "kernel=0 must be 1 or more"),
    (lambda: nn.Conv1d(3, 2, 9)(X), ShapeError, "kernel reaches over"),
    (lambda: nn.Conv1d(3, 2, 3, padding_mode="mirror"), InputError, "padding_mode='mirror' is unknown"),
    (lambda: nn.Conv1d(3, 2, 3, layout="NHWC"), InputError, "layout='NHWC' is unknown for 1 axes"),
    (lambda: nn.ConvTranspose1d(2, 2, 3)(X), ShapeError, "has 3 channels; it must have 2"),
    (lambda: nn.ConvTranspose1d(3, 4, 3, groups=2), ShapeError, "groups=2 must divide inputs=3"),
    (lambda: nn.MaxPool1d(0), InputError, "kernel=0 must be 1 or more"),
    (lambda: nn.MaxPool1d(9)(X), ShapeError, "a window reaches over 9"),
    (lambda: nn.LayerNorm(5)(X), ShapeError, r"its last axes must be \(5,\)"),
    (lambda: nn.LayerNorm(()), InputError, "must name one axis or more"),
    (lambda: nn.LayerNorm(5, eps=-1.0), InputError, "eps=-1.0 must be a number, 0 or more"),
    (lambda: nn.RMSNorm((3, 5))(X), ShapeError, r"its last axes must be \(3, 5\)"),
    (lambda: nn.LayerNorm(6)(np.zeros((2, 6), int)[:, :5]), ShapeError, "last axes"),
    (lambda: nn.GroupNorm(2, 3), ShapeError, "groups=2 must divide channels=3"),
    (lambda: nn.GroupNorm(2, 4)(X), ShapeError, "has 3 channels; it must have 4"),
    (lambda: nn.GroupNorm(1, 3)(X.astype(int)), DtypeError, "it must be floating"),
    (lambda: nn.BatchNorm(4)(X), ShapeError, "has 3 channels; it must have 4"),
    (lambda: nn.BatchNorm(3, momentum=2.0), InputError, "momentum"),
    (lambda: nn.BatchNorm(3)(X[:0]), ShapeError, "more than one value for each channel"),
    (lambda: nn.InstanceNorm(3)(X[:, :, 0]), ShapeError, r"it must be \(batch, channels, \*space\)"),
    (lambda: nn.Dropout(1.5), InputError, "probability.*=1.5 must be a number from 0 to 1"),
    (lambda: nn.Dropout(-0.1), InputError, "must be a number from 0 to 1"),
    (lambda: nn.Dropout(0.5)([1, 2]), DtypeError, "x is int64; it must be floating"),
    (lambda: nn.Flatten(2, 1)(X), ShapeError, "both must be axes of it"),
    (lambda: nn.Sequential(nn.Identity(), 3), InputError, "part 1 is a int"),
    (lambda: nn.Sequential(nn.Identity())[1], IndexingError, "place 1 is outside its 1 parts"),
    (lambda: nn.Activation("tanh"), InputError, "must be callable"),
    (lambda: nn.MLP([3]), InputError, "two or more numbers"),
    (lambda: nn.MLP([3, 3], "tanh"), InputError, r"MLP\(activation\)='tanh' must be a function"),
    (lambda: nn.FeedForward(3, activation="gelu"), InputError, r"FeedForward\(activation\)='gelu' must be a function"),
    (lambda: nn.UNet1d(3, 1, width=8, activation=None), InputError, r"UNet1d\(activation\)=None must be a function"),
    (lambda: nn.UNet1d(3, 1, width=8, levels=2)(X), ShapeError, "multiple of 4"),
    (lambda: nn.UNet1d(3, 1, width=9, groups=2), ShapeError, "groups=2 must divide width=9"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
