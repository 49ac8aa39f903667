"""Spectral convolutions against the transforms written out, and what must hold on any grid."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators
from hyperion.autograd.ops import modes as ops
from hyperion.errors import DtypeError, InputError, ShapeError

CASES = [((8,), (16,)), ((8,), (9,)), ((7,), (16,)), ((16,), (16,)), ((4, 6), (8, 9)), ((5, 4), (7, 8)), ((8, 8), (8, 8)), ((1, 2), (3, 4)),
         ((4, 3, 4), (5, 6, 4))]        # modes, space: even and odd sizes, all modes of a grid
LAYER_CASES = [((6,), (16,)), ((4, 6), (8, 9)), ((4, 4, 4), (5, 4, 6))]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def rows_of(modes, space):
    """The places of the kept frequencies in NumPy's half-spectrum."""
    signs = [(np.arange(m) - m // 2) % n for m, n in zip(modes[:-1], space[:-1], strict=True)]
    return np.ix_(*signs, np.arange(modes[-1] // 2 + 1))


def written_out(x, weight, bias, modes):
    """rfftn, the kept frequencies times matrices, irfftn: the layer in NumPy, the other way about."""
    space = x.shape[2:]
    axes = tuple(range(2, x.ndim))
    spectrum = np.fft.rfftn(x, axes=axes)
    mixed = np.zeros((x.shape[0], weight.shape[-1], *spectrum.shape[2:]), complex)
    rows = (slice(None), slice(None), *rows_of(modes, space))
    letters = "xyz"[:len(modes)]
    mixed[rows] = np.einsum(f"bi{letters},{letters}io->bo{letters}", spectrum[rows], weight)
    return np.fft.irfftn(mixed, s=space, axes=axes) + bias


def layer_of(modes, inputs=3, outputs=2, **options):
    return operators.SpectralConv(inputs, outputs, modes, dtype="float64", generator=hp.random.Generator(3), **options)


@pytest.mark.parametrize("modes, space", CASES)
def test_modes_are_those_of_the_fast_transform(modes, space):
    x = normal(2, 3, *space)
    expected = np.fft.rfftn(x, axes=tuple(range(2, x.ndim)), norm="forward")[(slice(None), slice(None), *rows_of(modes, space))]
    found = hp.fourier_modes(x, modes).numpy()
    np.testing.assert_allclose(np.moveaxis(found, (-2, -1), (0, 1)), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("modes, space", CASES)
def test_products_and_the_fast_transform_agree(modes, space, inverse):
    """Both ways of both operations; and each operation is the other's transpose."""
    kept = (*modes[:-1], modes[-1] // 2 + 1)
    x, y = normal(2, *space), normal(*kept, 2) + 1j * normal(*kept, 2, seed=1)
    slow, fast = ops._modes(np, x, kept, inverse), ops._modes_by_fft(np, x, kept, inverse)
    np.testing.assert_allclose(slow, fast, rtol=0, atol=1e-12)
    back, fast_back = ops._from_modes(np, y, kept, space, inverse), ops._from_modes_by_fft(np, y, kept, space, inverse)
    np.testing.assert_allclose(back, fast_back, rtol=0, atol=1e-12)
    assert np.sum(back * x) == pytest.approx(np.real(np.sum(y * slow)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("modes, space", LAYER_CASES)
def test_layer_is_the_formula_written_out(modes, space):
    layer, x = layer_of(modes), normal(4, 3, *space)
    expected = written_out(x, layer.weight.detach().numpy(), layer.bias.detach().numpy(), modes)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("modes, space", LAYER_CASES)
def test_layer_and_its_gradients_are_those_of_torch(modes, space):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; the layer is then compared with NumPy only")
    layer, x, weights = layer_of(modes), hp.asarray(normal(4, 3, *space), requires_grad=True), normal(4, 2, *space, seed=5)
    hp.sum(layer(x) ** 3 * weights).backward()

    tx, tw, tb = (torch.tensor(a.detach().numpy(), requires_grad=True) for a in (x, layer.weight, layer.bias))
    axes = tuple(range(2, tx.ndim))
    spectrum = torch.fft.rfftn(tx, dim=axes)
    rows = (slice(None), slice(None), *(torch.from_numpy(r) for r in rows_of(modes, space)))
    letters = "xyz"[:len(modes)]
    mixed = torch.zeros((4, 2, *spectrum.shape[2:]), dtype=torch.complex128)
    mixed[rows] = torch.einsum(f"bi{letters},{letters}io->bo{letters}", spectrum[rows], tw)
    out = torch.fft.irfftn(mixed, s=space, dim=axes) + tb
    torch.sum(out ** 3 * torch.from_numpy(weights)).backward()
    np.testing.assert_allclose(layer(x).detach().numpy(), out.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(layer.bias.grad.numpy(), tb.grad.numpy(), rtol=1e-10, atol=1e-10)
    # PyTorch's gradient is the conjugate: dL/dx + i dL/dy
    np.testing.assert_allclose(np.conj(layer.weight.grad.numpy()), tw.grad.numpy(), rtol=1e-10, atol=1e-10)


def test_derivatives_of_any_order():
    layer = layer_of((4, 4), 2, 2)

    def through(x):
        return hp.sum(layer(x) ** 3)

    x, v, w = (hp.asarray(normal(1, 2, 5, 6, seed=seed)) for seed in range(3))
    left, right = (hp.sum(a * hp.hvp(through, (x,), (b,))[0]) for a, b in ((v, w), (w, v)))
    assert float(left) == pytest.approx(float(right), rel=1e-12)
    coefficients = hp.jet(through, (x,), (v,), 3)
    nested = hp.jvp(lambda x: hp.jvp(lambda x: hp.jvp(through, (x,), (v,))[1], (x,), (v,))[1], (x,), (v,))[1]
    assert float(coefficients[3]) == pytest.approx(float(nested), rel=1e-10)


def test_vmap_over_examples_is_the_batch():
    layer, x = layer_of((4, 4)), normal(4, 3, 6, 7)
    each = hp.vmap(lambda one: layer(hp.expand_dims(one, 0))[0])(hp.asarray(x))
    np.testing.assert_allclose(each.detach().numpy(), layer(x).detach().numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("fine", [13, 32, 64])
def test_band_limited_functions_are_mapped_alike_on_every_grid(fine):
    """The coarse grid's points are among the fine one's, or the images are compared by their coefficients."""
    layer, coefficients = layer_of((8, 8)), normal(6, 4, 2, 3) + 1j * normal(6, 4, 2, 3, seed=1)
    out = [layer(hp.from_fourier_modes(coefficients, (n, n))) for n in (12, fine)]
    np.testing.assert_allclose(
        hp.fourier_modes(out[0], (8, 8)).detach().numpy(), hp.fourier_modes(out[1], (8, 8)).detach().numpy(), rtol=0, atol=1e-13)


def test_layer_commutes_with_translations():
    layer, x = layer_of((6, 6)), normal(2, 3, 8, 9)
    np.testing.assert_allclose(layer(np.roll(x, (3, 2), (2, 3))).detach().numpy(), np.roll(layer(x).detach().numpy(), (3, 2), (2, 3)),
                               rtol=0, atol=1e-13)


def test_float32_stays_single_and_halves_come_back_as_halves():
    layer = operators.SpectralConv(1, 1, 4)
    assert layer(np.ones((1, 1, 8), np.float32)).dtype == np.float32
    assert layer(np.ones((1, 1, 8), np.float16)).dtype == np.float16


def test_tucker_is_the_product_of_its_factors():
    layer = layer_of((4, 6), 3, 2, rank=(2, 3, 3, 1))
    core, factors = layer.weight.core.detach().numpy(), [f.detach().numpy() for f in layer.weight.factors]
    whole = np.einsum("abcd,xa,yb,ic,od->xyio", core, *factors)
    np.testing.assert_allclose(layer.weight().detach().numpy(), whole, rtol=0, atol=1e-14)
    x = normal(2, 3, 8, 8)
    np.testing.assert_allclose(layer(x).detach().numpy(), written_out(x, whole, layer.bias.detach().numpy(), (4, 6)), rtol=0, atol=1e-12)
    assert set(layer.state_dict()) == {"bias", "weight.core", *(f"weight.factors.{i}" for i in range(4))}


def test_a_fraction_of_the_parameters():
    weight = operators.Tucker((12, 7, 32, 32), 0.1)
    whole = 12 * 7 * 32 * 32
    assert sum(p.size for p in weight.parameters()) == pytest.approx(0.1 * whole, rel=0.2)
    assert weight.core.shape == (6, 4, 17, 17)          # as neuraloperator 2.0 chooses, its axes in another order


def test_pointwise_is_a_convolution_of_one_sample():
    layer, x, added = operators.Pointwise(3, 2, dtype="float64"), normal(4, 3, 5, 6), normal(4, 2, 5, 6)
    conv = nn.Conv2d(3, 2, 1, dtype="float64")
    conv.load_state_dict({"weight": layer.weight.data[:, :, None, None], "bias": layer.bias.data[:, 0]})
    np.testing.assert_allclose(layer(x, added).detach().numpy(), conv(x).detach().numpy() + added, rtol=0, atol=1e-13)


def test_what_cannot_be():
    layer = operators.SpectralConv(3, 2, (4, 4))
    with pytest.raises(ShapeError, match="as many samples as there are modes"):
        layer(np.ones((1, 3, 8, 3)))
    with pytest.raises(ShapeError, match="2 axes of space"):
        layer(np.ones((1, 3, 8)))
    with pytest.raises(ShapeError, match="has 2 channels; it must have 3"):
        layer(np.ones((1, 2, 8, 8)))
    with pytest.raises(DtypeError, match="must be real"):
        layer(np.ones((1, 3, 8, 8), complex))
    with pytest.raises(ShapeError, match="a sample or more"):
        layer(np.ones((1, 3, 8, 0)))
    for modes in (0, (4, -1), 2.5, (), (2, 2, 2, 2), True):
        with pytest.raises(InputError, match="modes"):
            operators.SpectralConv(1, 1, modes)
    for rank in (0.0, 1.5, "a", (1, 2), (9, 1, 1)):
        with pytest.raises(InputError, match="rank"):
            operators.SpectralConv(1, 1, 8, rank=rank)
    with pytest.raises(InputError, match="inputs"):
        operators.SpectralConv(0, 1, 4)
    with pytest.raises(ShapeError, match="at most 4 can be told apart"):
        hp.fourier_modes(np.ones(4), 6)
    with pytest.raises(ShapeError, match="9 modes along axis 0 of space, of 8 samples"):       # its frequencies, 0 to 4, are those of 8
        hp.fourier_modes(np.ones(8), 9)
    assert hp.fourier_modes(np.ones(9), 9).shape == hp.fourier_modes(np.ones(8), 8).shape == (5,)
    with pytest.raises(ShapeError, match="axes of frequency"):
        hp.from_fourier_modes(np.ones(3, complex), (4, 4))
    with pytest.raises(DtypeError, match="must be complex"):
        hp.from_fourier_modes(np.ones(3), 4)
    with pytest.raises(ShapeError, match="bias"):
        hp.pointwise(np.ones((1, 2, 3)), np.ones((4, 2)), bias=np.ones(3))
