"""Convolutions and their transposes: against PyTorch and NumPy, as laws, by every route they are computed, and what is refused."""

import importlib.util
import itertools
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd.ops import convolution
from hyperion.errors import DtypeError, HyperionError, InputError, ShapeError
from hyperion.testing import dot_test, taylor_test

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")
rng = np.random.default_rng(6)


def same(result: Any, expected: Any, tolerance: float = 1e-12) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(np.asarray(result.data), expected, rtol=tolerance, atol=tolerance)


def compare_with_torch(ours: Any, theirs: Any, *inputs: Any) -> None:
    """Compare values, gradients for random weights, and the derivative of those along random directions."""
    import torch

    leaves = [torch.tensor(x, requires_grad=True) for x in inputs]
    value = theirs(*leaves)
    weights = rng.standard_normal(tuple(value.shape))
    directions = [rng.standard_normal(np.shape(x)) for x in inputs]
    gradients = torch.autograd.grad((value * torch.tensor(weights)).sum(), leaves, create_graph=True)
    along = sum((g * torch.tensor(d)).sum() for g, d in zip(gradients, directions, strict=True))
    seconds = torch.autograd.grad(along, leaves, allow_unused=True) if along.requires_grad else [None] * len(leaves)

    def loss(*xs: Any) -> Any:
        return hp.sum(ours(*xs) * weights)

    same(ours(*inputs), value.detach().numpy())
    every = tuple(range(len(inputs)))
    for g, t in zip(hp.grad(loss, argnums=every)(*inputs), gradients, strict=True):
        same(g, t.detach().numpy(), 1e-11)
    for h, t, x in zip(hp.hvp(loss, inputs, tuple(directions)), seconds, inputs, strict=True):
        same(h, np.zeros_like(x) if t is None else t.numpy(), 1e-11)


SIZES, KERNELS = (9, 8, 5), (3, 2, 2)


@needs_torch
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_against_torch(rank: int, groups: int) -> None:
    import torch

    x = rng.standard_normal((2, 4, *SIZES[:rank]))
    for outputs, stride, padding, dilation in itertools.product((4, 8), (1, 2, 3), (0, 1), (1, 2)):
        w, b = rng.standard_normal((outputs, 4 // groups, *KERNELS[:rank])), rng.standard_normal(outputs)
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        theirs: Any = getattr(torch.nn.functional, f"conv{rank}d")
        ours = getattr(hp, f"conv{rank}d")
        compare_with_torch(lambda *a, f=ours, o=options: f(*a, **o), lambda *a, f=theirs, o=options: f(*a, **o), x, w, b)


@needs_torch
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_against_torch(rank: int, groups: int) -> None:
    import torch

    x = rng.standard_normal((2, 4, *SIZES[:rank]))
    w, b = rng.standard_normal((4, 6 // groups, *KERNELS[:rank])), rng.standard_normal(6)
    for stride, padding, dilation in itertools.product((1, 2, 3), (0, 1), (1, 2)):
        for more in range(max(stride, dilation)):
            options: dict[str, Any] = {
                "stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "output_padding": more,
            }
            theirs: Any = getattr(torch.nn.functional, f"conv_transpose{rank}d")
            ours = getattr(hp, f"conv_transpose{rank}d")
            compare_with_torch(lambda *a, f=ours, o=options: f(*a, **o), lambda *a, f=theirs, o=options: f(*a, **o), x, w, b)


@needs_torch
def test_other_routes_against_torch() -> None:
    import torch

    F: Any = torch.nn.functional
    x, w = rng.standard_normal((2, 6, 5, 4)), rng.standard_normal((4, 6, 1, 1))
    compare_with_torch(hp.conv2d, F.conv2d, x, w)                                                           # plain products
    compare_with_torch(lambda x, w: hp.conv2d(x, w, padding="same"), lambda x, w: F.conv2d(x, w, padding="same"), x,
                       rng.standard_normal((2, 6, 5, 3)))
    compare_with_torch(lambda x, w: hp.conv2d(x, w, padding="valid"), F.conv2d, x, rng.standard_normal((2, 6, 4, 3)))
    compare_with_torch(hp.conv2d, F.conv2d, x[0], w)                                                        # without a batch
    kernel = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    ours = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    compare_with_torch(lambda x: hp.unfold(x, **ours), lambda x: F.unfold(x, **kernel), x)
    columns = rng.standard_normal(hp.unfold(x, **ours).shape)
    compare_with_torch(lambda c: hp.fold(c, (5, 4), **ours), lambda c: F.fold(c, (5, 4), **kernel), columns)


def test_same_padding_of_an_even_kernel_has_one_zero_more_at_the_end() -> None:
    x, w = rng.standard_normal((1, 2, 5, 6)), rng.standard_normal((3, 2, 4, 2))
    same(hp.conv2d(x, w, padding="same", dilation=(1, 3)), direct(x, w, (1, 1), ((1, 2), (1, 2)), (1, 3), 1))


@pytest.mark.parametrize("block", [1, 700, 1 << 21])
def test_blocks_do_not_change_the_result(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = rng.standard_normal((3, 4, 7, 6)), rng.standard_normal((6, 2, 3, 2))
    places: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2), "groups": 2}
    out = direct(x, w, **places)
    g = rng.standard_normal(out.shape)
    monkeypatch.setattr(convolution, "BLOCK_CPU", block)
    same(hp.conv2d(x, w, **places), out)
    back_x, back_w = hp.vjp(lambda x, w: hp.conv2d(x, w, **places), x, w)[1](g)
    np.testing.assert_allclose(np.sum(back_x.data * x), np.sum(g * out), rtol=1e-12)
    np.testing.assert_allclose(np.sum(back_w.data * w), np.sum(g * out), rtol=1e-12)


def direct(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """The convolution by its formula."""
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    outputs, each = w.shape[0] // groups, w.shape[1]
    count = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], w.shape[2:], stride, dilation, strict=True)]
    out = np.zeros((x.shape[0], w.shape[0], *count), dtype=np.result_type(x, w))
    for o, c, i, j in itertools.product(range(w.shape[0]), range(each), range(w.shape[2]), range(w.shape[3])):
        rows = slice(i * dilation[0], i * dilation[0] + (count[0] - 1) * stride[0] + 1, stride[0])
        columns = slice(j * dilation[1], j * dilation[1] + (count[1] - 1) * stride[1] + 1, stride[1])
        out[:, o] += w[o, c, i, j] * padded[:, o // outputs * each + c, rows, columns]
    return out


@pytest.mark.parametrize(("x_type", "w_type"), [(complex, float), (float, complex), (complex, complex)])
def test_complex_numbers(x_type: Any, w_type: Any) -> None:
    x, w = rng.standard_normal((2, 3, 6, 5)).astype(x_type), rng.standard_normal((4, 3, 2, 3)).astype(w_type)
    x, w = x * (1.0 + 0.5j) if x_type is complex else x, w * (0.3 - 1j) if w_type is complex else w
    same(hp.conv2d(x, w, stride=(1, 2), padding=((1, 0), (0, 2))), direct(x, w, (1, 2), ((1, 0), (0, 2)), (1, 1), 1))
    dot_test(lambda x, w: hp.conv2d(x, w, stride=2, padding=1), (x, w))
    dot_test(lambda x, w: hp.conv_transpose2d(x, hp.permute_dims(w, (1, 0, 2, 3)), stride=2), (x, w))


def test_integers_and_half_precision() -> None:
    x, w = rng.integers(-5, 5, (1, 2, 6)), rng.integers(-5, 5, (3, 2, 3))
    out = hp.conv1d(x, w)
    assert out.dtype == np.int64
    same(out, hp.conv1d(x.astype(float), w.astype(float)).data)
    for dtype in ("float16", "bfloat16"):
        half = hp.conv1d(hp.asarray(x).astype(dtype), hp.asarray(w).astype(dtype))
        assert str(half.dtype) == dtype
        same(half.astype("float64"), out.data)      # whole numbers below 256 are exact in both
    assert hp.conv1d(x.astype(np.float32), w).dtype == np.float32


@pytest.mark.parametrize(("rank", "layouts"), [(1, ("NLC", "NWC")), (2, ("NHWC",)), (3, ("NDHWC",))])
def test_layouts(rank: int, layouts: tuple[str, ...]) -> None:
    x, w, b = rng.standard_normal((2, 4, *SIZES[:rank])), rng.standard_normal((6, 4, *KERNELS[:rank])), rng.standard_normal(6)
    turned = np.moveaxis(x, 1, -1)
    for layout in layouts:
        plain = layout[0] + "C" + layout[1:-1]
        for name, weight in ((f"conv{rank}d", w), (f"conv_transpose{rank}d", np.swapaxes(w, 0, 1))):
            f = getattr(hp, name)
            expected = f(x, weight, b, stride=2, padding=1, layout=plain).data
            same(f(turned, weight, b, stride=2, padding=1, layout=layout), np.moveaxis(expected, 1, -1))
            same(f(turned[0], weight, b, stride=2, padding=1, layout=layout), np.moveaxis(expected, 1, -1)[0])
    same(hp.conv(x, w, b), getattr(hp, f"conv{rank}d")(x, w, b).data)
    same(hp.conv_transpose(x, np.swapaxes(w, 0, 1)), getattr(hp, f"conv_transpose{rank}d")(x, np.swapaxes(w, 0, 1)).data)


# Laws

@pytest.mark.parametrize("options", [
    {"stride": 2, "padding": ((1, 0), (0, 2))}, {"dilation": 2, "padding": 2}, {"groups": 2}, {"stride": (1, 3), "groups": 2, "padding": 1},
])
def test_a_transposed_convolution_is_the_transpose(options: dict[str, Any]) -> None:
    x, w = rng.standard_normal((2, 4, 9, 7)), rng.standard_normal((6, 4 // options.get("groups", 1), 3, 3))
    out = hp.conv2d(x, w, **options)
    g = rng.standard_normal(out.shape)
    back = hp.vjp(lambda x: hp.conv2d(x, w, **options), x)[1](g)[0].data
    spread = hp.conv_transpose2d(g, w, **options).data        # as long as what the windows reach
    n, m = spread.shape[2:]
    np.testing.assert_allclose(back[:, :, :n, :m], spread, atol=1e-12)
    assert not back[:, :, n:].any()
    assert not back[:, :, :, m:].any()


def test_convolution_is_associative_and_commutes_with_shifts() -> None:
    x, v, w = rng.standard_normal(20), rng.standard_normal(5), rng.standard_normal(3)
    same(hp.convolve(hp.convolve(x, v), w), hp.convolve(x, hp.convolve(v, w)).data)
    same(hp.convolve(x, v), hp.convolve(v, x).data)
    image, kernel = rng.standard_normal((1, 2, 8, 8)), rng.standard_normal((3, 2, 3, 3))
    whole = hp.conv2d(image, kernel).data
    same(hp.conv2d(image[:, :, 2:, 1:], kernel), whole[:, :, 2:, 1:])


def test_derivatives_and_batches() -> None:
    x, w = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 2))
    assert min(taylor_test(lambda t: hp.conv2d(t[0], t[1], stride=2) ** 3, (x, w), (0.1 * x, 0.1 * w), order=2)) > 2.8
    xs, ws = rng.standard_normal((5, 2, 4, 6)), rng.standard_normal((5, 4, 2, 3))
    for flags in ((0, 0), (0, None), (None, 0)):
        a, v = (part if flag == 0 else part[0] for part, flag in zip((xs, ws), flags, strict=True))
        out = hp.vmap(lambda a, v: hp.conv1d(a, v, groups=2, padding=1), in_axes=flags)(a, v)
        for i in range(5):
            same(out[i], hp.conv1d(a[i] if flags[0] == 0 else a, v[i] if flags[1] == 0 else v, groups=2, padding=1).data)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolve_and_correlate_against_numpy(mode: Any) -> None:
    for n, m in itertools.product(range(1, 8), repeat=2):
        a, v = rng.standard_normal(n), rng.standard_normal(m) + 1j * rng.standard_normal(m)
        for left, right in ((a, v), (v, a), (a, v.real)):
            same(hp.convolve(left, right, mode), np.convolve(left, right, mode))
            same(hp.correlate(left, right, mode), np.correlate(left, right, mode))
    dot_test(lambda a, v: hp.correlate(a, v, mode), (np.ones(6), np.ones(3) * 1j))


X, W = np.ones((2, 4, 8, 6)), np.ones((6, 4, 3, 3))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.conv2d(X[:, :3], W), ShapeError, r"x has 3 channels; weight, shape \(6, 4, 3, 3\), with groups=1 takes 4"),
    (lambda: hp.conv2d(X, W[:, :2], groups=4), ShapeError, "with groups=4 takes 8"),
    (lambda: hp.conv2d(X, W[:, :1], groups=4), ShapeError, "has 6 outputs, which groups=4 does not divide"),
    (lambda: hp.conv2d(X, W, groups=0), InputError, "groups=0 must be 1 or more"),
    (lambda: hp.conv2d(X, W, stride=0), InputError, "stride=0 must be 1 or more"),
    (lambda: hp.conv2d(X, W, stride=(1, 2, 3)), InputError, "has 3 numbers; give one, or one for each of the 2 axes"),
    (lambda: hp.conv2d(X, W, stride=1.5), InputError, "stride=1.5 must be an integer"),
    (lambda: hp.conv2d(X, W, dilation=-1), InputError, "dilation=-1 must be 1 or more"),
    (lambda: hp.conv2d(X, W, padding=-1), InputError, "padding=-1 must be 0 or more"),
    (lambda: hp.conv2d(X, W, padding=((1, 2), (1, -1))), InputError, "must be 0 or more"),
    (lambda: hp.conv2d(X, W, padding="some"), InputError, 'padding=\'some\' is unknown; use "same"'),
    (lambda: hp.conv2d(X, W, padding="same", stride=2), InputError, "needs stride 1"),
    (lambda: hp.conv2d(X, W, dilation=4), ShapeError, r"the kernel reaches over \(9, 9\), more than the input with its padding, \(8, 6\)"),
    (lambda: hp.conv2d(X, W, layout="NHCW"), InputError, "layout='NHCW' is unknown for 2 axes of space"),
    (lambda: hp.conv2d(X, W, np.ones(5)), ShapeError, r"bias has shape \(5,\); it must have one number for each of the 6"),
    (lambda: hp.conv2d(X[0, 0], W), ShapeError, "it must have 4 axes"),
    (lambda: hp.conv2d(X, W[0]), ShapeError, "weight has shape .* it must have 4 axes"),
    (lambda: hp.conv(X, W[0, 0]), ShapeError, "at least 3 axes"),
    (lambda: hp.conv2d(X, W[:, :, :0]), ShapeError, "the kernel must have at least one place"),
    (lambda: hp.conv2d(X > 0, W), DtypeError, "x is bool"),
    (lambda: hp.conv_transpose2d(X, W), ShapeError, "x has 4 channels; weight, .* takes 6"),
    (lambda: hp.conv_transpose2d(X, W[:4], output_padding=1), InputError, "output_padding=1 must be less than stride=1"),
    (lambda: hp.conv_transpose2d(X, W[:4], padding="same"), InputError, "must be given as numbers"),
    (lambda: hp.conv_transpose2d(X, W[:4], padding=6), ShapeError, "use less padding"),
    (lambda: hp.unfold(X, 9), ShapeError, "more than the input"),
    (lambda: hp.unfold(X, 0), InputError, "kernel=0 must be 1 or more"),
    (lambda: hp.fold(np.ones((1, 12, 15)), (5, 5), 2), ShapeError, r"it must be \(batch, channels\*4, 16\)"),
    (lambda: hp.fold(np.ones((1, 12, 16)), 5, 2), InputError, "size=5 must be a tuple"),
    (lambda: hp.convolve(X, W), ShapeError, "both must have one axis"),
    (lambda: hp.convolve(np.ones(0), np.ones(3)), ShapeError, "and elements"),
    (lambda: hp.correlate(np.ones(3), np.ones(3), "half"), InputError, "mode='half' is unknown"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_empty_batches_and_channels() -> None:
    assert hp.conv2d(X[:0], W).shape == (0, 6, 6, 4)
    back = hp.grad(lambda w: hp.sum(hp.conv2d(X[:0], w)))(W)
    assert back.shape == W.shape
    assert not back.data.any()
    assert not hp.conv2d(X[:, :0], W[:, :0]).data.any()
