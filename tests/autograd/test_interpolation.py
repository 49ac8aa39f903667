"""Resizing, sampling at places, pixels and channels: against PyTorch, as laws, and what is refused."""

import importlib.util
import itertools
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.errors import DtypeError, HyperionError, InputError, ShapeError
from hyperion.testing import dot_test, taylor_test

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")
rng = np.random.default_rng(8)
MODES = {
    1: ("nearest", "nearest-exact", "linear", "area"), 2: ("nearest", "nearest-exact", "bilinear", "bicubic", "area"),
    3: ("nearest", "nearest-exact", "trilinear", "area"),
}
CASES = [(rank, mode) for rank, modes in MODES.items() for mode in modes]


def same(result: Any, expected: Any, tolerance: float = 1e-12) -> None:
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(np.asarray(result.data), expected, rtol=tolerance, atol=tolerance)


def compare_with_torch(ours: Any, theirs: Any, *inputs: Any) -> None:
    import torch

    leaves = [torch.tensor(x, requires_grad=True) for x in inputs]
    value = theirs(*leaves)
    weights = rng.standard_normal(tuple(value.shape))
    (value * torch.tensor(weights)).sum().backward()
    same(ours(*inputs), value.detach().numpy())
    gradients = hp.grad(lambda *xs: hp.sum(ours(*xs) * weights), argnums=tuple(range(len(inputs))))(*inputs)
    for g, leaf in zip(gradients, leaves, strict=True):
        same(g, leaf.grad.numpy(), 1e-11)


@needs_torch
@pytest.mark.parametrize(("rank", "mode"), CASES)
def test_resizing_against_torch(rank: int, mode: str) -> None:
    import torch

    F: Any = torch.nn.functional
    x = rng.standard_normal((2, 3, *(5, 7, 4)[:rank]))
    for corners in (None,) if mode in ("nearest", "nearest-exact", "area") else (False, True):
        for size in (1, 2, 5, 8, 13):
            compare_with_torch(
                lambda x, n=size, c=corners: hp.interpolate(x, n, mode=mode, align_corners=bool(c)),
                lambda x, n=size, c=corners: F.interpolate(x, n, mode=mode, align_corners=c), x)
        for factor in (0.5, 2, 1.7, 2.3):
            compare_with_torch(
                lambda x, s=factor, c=corners: hp.interpolate(x, scale_factor=s, mode=mode, align_corners=bool(c)),
                lambda x, s=factor, c=corners: F.interpolate(x, scale_factor=s, mode=mode, align_corners=c), x)


@needs_torch
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [False, True])
def test_sampling_against_torch(rank: int, mode: str, padding: str, corners: bool) -> None:
    import torch

    x = rng.standard_normal((2, 3, *(5, 4, 6)[:rank]))
    grid = rng.uniform(-1.7, 1.7, (2, *(3, 4, 2)[:rank], rank))
    if mode == "bicubic" and rank == 3:
        with pytest.raises(ShapeError, match="is for 2 axes of space"):
            hp.grid_sample(x, grid, mode, padding, corners)
        return
    F: Any = torch.nn.functional
    compare_with_torch(
        lambda x, grid: hp.grid_sample(x, grid, mode, padding, corners), lambda x, grid: F.grid_sample(x, grid, mode, padding, corners),
        x, grid)


@needs_torch
def test_pixels_and_channels_against_torch() -> None:
    import torch

    F: Any = torch.nn.functional
    compare_with_torch(lambda x: hp.pixel_shuffle(x, 2), lambda x: F.pixel_shuffle(x, 2), rng.standard_normal((2, 12, 3, 4)))
    compare_with_torch(lambda x: hp.pixel_unshuffle(x, 3), lambda x: F.pixel_unshuffle(x, 3), rng.standard_normal((2, 2, 6, 9)))
    x = rng.standard_normal((2, 12, 3))
    same(hp.channel_shuffle(x, 3), F.channel_shuffle(torch.tensor(x), 3).numpy())


# Laws

@pytest.mark.parametrize(("rank", "mode"), CASES)
def test_a_constant_stays_and_the_transpose_is_exact(rank: int, mode: str) -> None:
    shape = (1, 2, *(5, 7, 4)[:rank])
    same(hp.interpolate(np.full(shape, 3.0), 6, mode=mode), np.full((*shape[:2], *(6,) * rank), 3.0))
    same(hp.interpolate(np.full(shape, 3.0), shape[2:], mode=mode), np.full(shape, 3.0))
    z = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    dot_test(lambda x: hp.interpolate(x, 9, mode=mode), (z,))
    dot_test(lambda x: hp.interpolate(x, scale_factor=0.6, mode=mode), (z.real,))


def test_linear_functions_are_kept_by_linear_modes() -> None:
    ramp = np.arange(6.0)[None, None]
    same(hp.interpolate(ramp, 11, mode="linear", align_corners=True), np.linspace(0.0, 5.0, 11)[None, None])
    plane = np.arange(6.0)[:, None] + 10.0 * np.arange(5.0)
    grid = rng.uniform(-1.0, 1.0, (1, 20, 1, 2))
    expected = (grid[0, :, 0, 1] + 1.0) * 2.5 + 10.0 * (grid[0, :, 0, 0] + 1.0) * 2.0
    same(hp.grid_sample(plane[None, None], grid, align_corners=True)[0, 0, :, 0], expected)


def test_sampling_at_the_centres_of_cells_gives_the_cells() -> None:
    x = rng.standard_normal((1, 2, 3, 5))
    rows, columns = (2.0 * np.arange(3) + 1.0) / 3 - 1.0, (2.0 * np.arange(5) + 1.0) / 5 - 1.0
    grid = np.stack(np.meshgrid(columns, rows), axis=-1)[None]
    for mode, padding in itertools.product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")):
        same(hp.grid_sample(x, grid, mode, padding), x)


def test_pixel_shuffles_are_inverse() -> None:
    x = rng.standard_normal((2, 3, 18, 4, 5))
    same(hp.pixel_unshuffle(hp.pixel_shuffle(x, 3), 3), x)
    same(hp.channel_shuffle(hp.channel_shuffle(x[0], 6), 3), x[0])


def test_derivatives_batches_and_dtypes() -> None:
    x, grid = rng.standard_normal((1, 2, 4, 5)), rng.uniform(-0.9, 0.9, (1, 6, 1, 2))
    steps = (rng.standard_normal(x.shape), 1e-3 * rng.standard_normal(grid.shape))
    assert min(taylor_test(lambda t: hp.grid_sample(t[0], t[1], "bicubic") ** 2, (x, grid), steps, order=2)) > 2.8
    xs, grids = rng.standard_normal((3, 1, 2, 4, 5)), rng.uniform(-1.2, 1.2, (3, 1, 6, 1, 2))
    same(hp.vmap(hp.grid_sample)(xs, grids), np.stack([hp.grid_sample(a, g).data for a, g in zip(xs, grids, strict=True)]))
    same(hp.vmap(lambda x: hp.interpolate(x, 7, mode="bicubic"))(xs), np.stack([hp.interpolate(a, 7, mode="bicubic").data for a in xs]))
    for dtype in ("float16", "float32"):
        assert hp.interpolate(x.astype(dtype), 7, mode="bilinear").dtype == dtype
        assert hp.grid_sample(x.astype(dtype), grid.astype(dtype)).dtype == dtype
    assert hp.grid_sample(x + 1j, grid).dtype == np.complex128
    turned = np.moveaxis(x, 1, -1)
    same(hp.interpolate(turned, 3, mode="bilinear", layout="NHWC"), np.moveaxis(hp.interpolate(x, 3, mode="bilinear").data, 1, -1))


X, G = np.ones((2, 4, 6, 6)), np.zeros((2, 3, 3, 2))


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.interpolate(X, 3, mode="linaer"), InputError, "mode='linaer' is unknown; did you mean 'linear'"),
    (lambda: hp.interpolate(X, 3, mode="linear"), ShapeError, "mode='linear' is for 1 axes of space"),
    (lambda: hp.interpolate(X), InputError, "give either size or scale_factor"),
    (lambda: hp.interpolate(X, 3, 2.0), InputError, "give either size or scale_factor"),
    (lambda: hp.interpolate(X, 0), InputError, "size=0 must be 1 or more"),
    (lambda: hp.interpolate(X, (3, 3, 3)), InputError, "has 3 numbers"),
    (lambda: hp.interpolate(X, scale_factor=0.01), InputError, r"size=\(0, 0\) must be 1 or more"),
    (lambda: hp.interpolate(X, scale_factor=-1.0), InputError, "scale_factor=-1.0 must be a number above 0"),
    (lambda: hp.interpolate(X, scale_factor=(2.0,)), InputError, "or one for each of the 2 axes"),
    (lambda: hp.interpolate(X, 3, align_corners=True), InputError, "align_corners has no meaning"),
    (lambda: hp.interpolate(X[0, 0], 3), ShapeError, "one axis of space or more"),
    (lambda: hp.interpolate(X[:, :, :0], 3), ShapeError, "must not be empty"),
    (lambda: hp.interpolate(np.ones((1, 1, 3), int), 3), DtypeError, "x is int64"),
    (lambda: hp.grid_sample(X, G, "cubic"), InputError, "mode='cubic' is unknown"),
    (lambda: hp.grid_sample(X, G, padding_mode="wrap"), InputError, "padding_mode='wrap' is unknown"),
    (lambda: hp.grid_sample(X, G[:1]), ShapeError, "grid_sample: x has shape"),
    (lambda: hp.grid_sample(X, G[..., :1]), ShapeError, "grid_sample: x has shape"),
    (lambda: hp.grid_sample(X, np.zeros((2, 3, 3, 2), int)), DtypeError, "grid is int64"),
    (lambda: hp.pixel_shuffle(X, 3), ShapeError, r"channels \* 9, height, width\) for factor=3"),
    (lambda: hp.pixel_shuffle(X, 0), InputError, "factor=0 must be 1 or more"),
    (lambda: hp.pixel_unshuffle(X, 4), ShapeError, "both multiples of 4"),
    (lambda: hp.channel_shuffle(X, 3), ShapeError, "channels a multiple of 3"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
