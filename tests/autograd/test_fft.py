"""Fourier, cosine and sine transforms: values against SciPy and PyTorch, laws, derivatives, and what is refused."""

import importlib.util
from typing import Any

import numpy as np
import pytest
import scipy.fft

import hyperion as hp
from hyperion.autograd.ops import fft
from hyperion.errors import DtypeError, HyperionError, InputError, ShapeError
from hyperion.testing import dot_test

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")
rng = np.random.default_rng(5)
X = rng.standard_normal((3, 5, 4))
Z = X + 1j * rng.standard_normal(X.shape)
NORMS = ("backward", "ortho", "forward")


def same(result: Any, expected: Any, tolerance: float = 1e-13) -> None:
    assert result.shape == np.shape(expected)
    assert result.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(result.data, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("n", [None, 1, 3, 8])
def test_one_axis_against_scipy(n: int | None, axis: int, norm: str) -> None:
    for name, x in (("fft", Z), ("ifft", Z), ("fft", X), ("rfft", X), ("irfft", Z), ("hfft", Z), ("ihfft", X)):
        same(getattr(fft, name)(x, n=n, axis=axis, norm=norm), getattr(scipy.fft, name)(x, n=n, axis=axis, norm=norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("s", "axes"), [(None, None), (None, (0, 2)), (None, (2, 0)), ((4, 7), (0, 1)), ((2, 3), (2, 1)), ((3, 3), None)])
def test_several_axes_against_scipy(s: Any, axes: Any, norm: str) -> None:
    for name, x in (("fftn", Z), ("ifftn", Z), ("rfftn", X), ("irfftn", Z), ("hfftn", Z), ("ihfftn", X)):
        same(getattr(fft, name)(x, s=s, axes=axes, norm=norm), getattr(scipy.fft, name)(x, s=s, axes=axes, norm=norm))
    for name, x in (("fft2", Z), ("ifft2", Z), ("rfft2", X), ("irfft2", Z), ("hfft2", Z), ("ihfft2", X)):
        same(getattr(fft, name)(x, norm=norm), getattr(scipy.fft, name)(x, norm=norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["dct", "idct", "dst", "idst"])
def test_cosine_and_sine_transforms_against_scipy(name: str, kind: int, norm: str) -> None:
    ours, theirs = getattr(fft, name), getattr(scipy.fft, name)
    for n, axis in ((None, -1), (3, 1), (7, 0)):
        same(ours(X, type=kind, n=n, axis=axis, norm=norm), theirs(X, type=kind, n=n, axis=axis, norm=norm))
    ours, theirs = getattr(fft, name + "n"), getattr(scipy.fft, name + "n")
    same(ours(X, type=kind, axes=(0, 2), norm=norm), theirs(X, type=kind, axes=(0, 2), norm=norm))


@pytest.mark.parametrize("kind", ["dct", "dst"])
@pytest.mark.parametrize("variant", [1, 4])
def test_transforms_that_cupy_lacks_are_the_same_by_fft(kind: str, variant: int) -> None:
    for axis in range(3):
        expected = getattr(scipy.fft, kind)(X, type=variant, axis=axis, norm="ortho")
        np.testing.assert_allclose(fft.trigonometric_by_fft(np, X, axis, kind, variant), expected, atol=1e-13)


def test_the_namespace_is_the_one_users_see() -> None:
    assert all(getattr(hp.fft, name) is getattr(fft, name) for name in fft.__all__)


def test_precision_is_kept() -> None:
    for x in (X.astype(np.float32), Z.astype(np.complex64)):
        assert fft.fft(x).dtype == np.complex64
        assert fft.irfft(x).dtype == np.float32
    assert fft.rfft(X.astype(np.float32)).dtype == np.complex64
    assert fft.rfft(X.astype(np.float16)).dtype == np.complex64
    assert fft.rfft(np.arange(4)).dtype == np.complex64
    assert fft.dct(X.astype(np.float32)).dtype == np.float32
    assert fft.fft(np.zeros((0, 4))).shape == (0, 4)


def test_large_arrays_take_several_threads_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_THREADS", "3")
    x = rng.standard_normal((64, 1024))
    same(fft.rfft2(x), scipy.fft.rfft2(x), 1e-10)      # sums of 65536 terms


# Laws

@pytest.mark.parametrize("n", [5, 8])
def test_the_shift_theorem(n: int) -> None:
    x = rng.standard_normal(n)
    moved = fft.fft(hp.shift(x, 2, 0, periodic=True))
    same(moved, (fft.fft(x).data * np.exp(-2j * np.pi * 2 * np.arange(n) / n)), 1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_parseval_and_inverses(norm: str) -> None:
    scale = {"backward": 1.0 / 20.0, "ortho": 1.0, "forward": 20.0}[norm]
    energy = np.sum(np.abs(fft.fftn(Z, axes=(1, 2), norm=norm).data) ** 2) * scale
    np.testing.assert_allclose(energy, np.sum(np.abs(Z) ** 2), rtol=1e-13)
    same(fft.ifftn(fft.fftn(Z, norm=norm), norm=norm), Z)
    same(fft.irfft(fft.rfft(X, axis=1, norm=norm), n=5, axis=1, norm=norm), X)
    same(fft.irfftn(fft.rfftn(X, norm=norm), norm=norm), X)
    same(fft.hfft(fft.ihfft(X, norm=norm), norm=norm), X)
    for kind in (1, 2, 3, 4):
        same(fft.idctn(fft.dctn(X, type=kind, norm=norm), type=kind, norm=norm), X)
        same(fft.idstn(fft.dstn(X, type=kind, norm=norm), type=kind, norm=norm), X)


def test_the_convolution_theorem() -> None:
    a, v = rng.standard_normal(9), rng.standard_normal(4)
    product = fft.rfft(a, n=12) * fft.rfft(v, n=12)
    same(fft.irfft(product, n=12), hp.convolve(a, v).data, 1e-12)


# Derivatives

@pytest.mark.parametrize("norm", NORMS)
def test_transposes(norm: str) -> None:
    for name, x in (("fft", Z), ("ifft", Z), ("rfft", X), ("irfft", Z), ("hfft", Z), ("ihfft", X), ("dct", X), ("idst", X), ("fft", X)):
        for n in (None, 3, 6, 7):
            dot_test(lambda x, name=name, n=n: getattr(fft, name)(x, n=n, axis=1, norm=norm), (x,))
    for name, x in (("fftn", Z), ("rfftn", X), ("irfftn", Z), ("hfftn", Z), ("ihfftn", X)):
        for s, axes in ((None, None), ((6, 3), (2, 0)), ((2, 7), (0, 1))):
            dot_test(lambda x, name=name, s=s, axes=axes: getattr(fft, name)(x, s=s, axes=axes, norm=norm), (x,))
    for name in ("fftshift", "ifftshift"):
        dot_test(lambda x, name=name: getattr(fft, name)(x, axes=(1,)), (Z,))


@needs_torch
@pytest.mark.parametrize("norm", NORMS)
def test_gradients_against_torch(norm: str) -> None:
    import torch

    for name, x in (("fft", Z), ("ifft", Z), ("rfft", X), ("irfft", Z), ("hfft", Z), ("ihfft", X)):
        for n in (None, 3, 7):
            leaf = torch.tensor(x, requires_grad=True)
            theirs = getattr(torch.fft, name)(leaf, n=n, dim=1, norm=norm)
            weights = rng.standard_normal(tuple(theirs.shape))
            (theirs.abs() ** 2 * torch.tensor(weights)).sum().backward()
            ours = hp.grad(lambda x, name=name, n=n, w=weights: hp.sum(hp.abs(getattr(fft, name)(x, n=n, axis=1, norm=norm)) ** 2 * w))(x)
            same(ours, leaf.grad.numpy().conj(), 1e-11)       # PyTorch's gradient is the conjugate of ours


def test_the_gradient_of_a_spectrum_to_second_order() -> None:
    def energy(x: Any) -> Any:
        spectrum = fft.rfft(x)
        return hp.sum(hp.real(spectrum * hp.conj(spectrum)))

    # The energy of the half-spectrum is a quadratic form: its Hessian does not depend on x.
    u = rng.standard_normal(6)
    (first,), (second,) = hp.hvp(energy, (rng.standard_normal(6),), (u,)), hp.hvp(energy, (np.zeros(6) + 1.0,), (u,))
    same(first, second.data, 1e-12)
    np.testing.assert_allclose(np.dot(u, first.data), 2.0 * np.sum(np.abs(np.fft.rfft(u)) ** 2), rtol=1e-12)


# Frequencies and shifts

def test_frequencies_and_shifts() -> None:
    for n in (1, 2, 5, 8):
        same(fft.fftfreq(n, d=0.25, dtype="float64"), np.fft.fftfreq(n, 0.25))
        same(fft.rfftfreq(n, d=0.25, dtype="float64"), np.fft.rfftfreq(n, 0.25))
    assert fft.fftfreq(3).dtype == np.float32
    for axes in (None, 0, (0, 2), [1]):
        same(fft.fftshift(X, axes=axes), np.fft.fftshift(X, axes))
        same(fft.ifftshift(fft.fftshift(X, axes=axes), axes=axes), X)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: fft.fft(X, norm="unitary"), InputError, "norm='unitary' is unknown; use \"backward\""),
    (lambda: fft.fft(X, n=0), ShapeError, "n=0 is the length of the transform; it must be 1 or more"),
    (lambda: fft.fft(X, n=2.5), InputError, "n=2.5 must be an integer"),
    (lambda: fft.fft(X, axis=3), ShapeError, "axis=3 is outside"),
    (lambda: fft.fft(1.0), ShapeError, "must have at least one axis"),
    (lambda: fft.fft(np.zeros((3, 0))), ShapeError, "is empty"),
    (lambda: fft.rfft(Z), DtypeError, "rfft.x.: x is complex128; it must be real"),
    (lambda: fft.ihfft(Z), DtypeError, "ihfft.x.: x is complex128; it must be real"),
    (lambda: fft.dct(Z), DtypeError, "dct.x.: x is complex128; it must be real"),
    (lambda: fft.irfft(Z[:, :, :1]), ShapeError, "gives 0 samples; give n or s"),
    (lambda: fft.fftn(X, s=(2, 2), axes=(0,)), ShapeError, "has 2 lengths for 1 axes"),
    (lambda: fft.fftn(X, s=(2, 2, 2, 2)), ShapeError, "more lengths than x"),
    (lambda: fft.fftn(X, axes=(0, 0)), ShapeError, "each once"),
    (lambda: fft.fftn(X, axes=()), ShapeError, "at least one axis"),
    (lambda: fft.rfftn(X, s=()), ShapeError, r"s=\(\) is empty"),
    (lambda: fft.fft(X, norm=["ortho"]), InputError, "norm=..ortho.. is unknown"),
    (lambda: fft.dct(X, type=np.ones(2)), InputError, "is unknown; use 1, 2, 3 or 4"),
    (lambda: fft.fftn(X, s=(0,)), ShapeError, "s=0 is the length"),
    (lambda: fft.dct(X, type=5), InputError, "type=5 is unknown"),
    (lambda: fft.dct(X, type=1, n=1), ShapeError, "it must be 2 or more"),
    (lambda: fft.fftfreq(0), ShapeError, "must be 1 or more"),
    (lambda: fft.fftfreq(4, d=0.0), InputError, "d=0.0 is the spacing"),
    (lambda: fft.fftfreq(4, dtype="int32"), DtypeError, "must be floating"),
    (lambda: fft.fftshift(X, axes=4), ShapeError, "axis=4 is outside"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
