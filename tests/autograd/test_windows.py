"""Window functions and the short-time Fourier transform: against SciPy and PyTorch, as laws, and what is refused."""

import importlib.util
from typing import Any

import numpy as np
import pytest
import scipy.signal.windows

import hyperion as hp
from hyperion.errors import DtypeError, HyperionError, InputError, ShapeError
from hyperion.testing import dot_test

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")
rng = np.random.default_rng(9)

# Ours, SciPy's, and the arguments between size and sym.
WINDOWS: list[tuple[str, str, tuple[Any, ...]]] = [
    ("hann_window", "hann", ()), ("hamming_window", "hamming", ()), ("blackman_window", "blackman", ()),
    ("blackman_harris_window", "blackmanharris", ()), ("nuttall_window", "nuttall", ()), ("flat_top_window", "flattop", ()),
    ("bartlett_window", "bartlett", ()), ("cosine_window", "cosine", ()), ("parzen_window", "parzen", ()),
    ("gaussian_window", "gaussian", (1.7,)), ("general_gaussian_window", "general_gaussian", (1.5, 2.7)),
    ("kaiser_window", "kaiser", (8.6,)), ("kaiser_window", "kaiser", (0.0,)), ("tukey_window", "tukey", (0.3,)),
    ("tukey_window", "tukey", (0.0,)), ("tukey_window", "tukey", (1.0,)), ("general_cosine_window", "general_cosine", ([0.2, 0.3, 0.5],)),
    ("general_hamming_window", "general_hamming", (0.7,)),
]


@pytest.mark.parametrize(("name", "theirs", "arguments"), WINDOWS)
@pytest.mark.parametrize("sym", [True, False])
def test_windows_against_scipy(name: str, theirs: str, arguments: Any, sym: bool) -> None:
    for n in (0, 1, 2, 3, 8, 33):
        ours = getattr(hp, name)(n, *arguments, sym=sym, dtype="float64")
        np.testing.assert_allclose(ours.data, getattr(scipy.signal.windows, theirs)(n, *arguments, sym=sym), atol=1e-14)
        assert getattr(hp, name)(n, *arguments).dtype == np.float32


@pytest.mark.parametrize("sym", [True, False])
def test_the_exponential_window_against_scipy(sym: bool) -> None:
    for n in (1, 2, 8, 33):
        np.testing.assert_allclose(
            hp.exponential_window(n, 1.7, sym=sym, dtype="float64").data, scipy.signal.windows.exponential(n, None, 1.7, sym), atol=1e-14)
    np.testing.assert_allclose(hp.exponential_window(9, 2.0, center=0.0, dtype="float64").data, np.exp(-np.arange(9) / 2.0), atol=1e-14)


def test_a_large_beta_does_not_overflow() -> None:
    window = hp.kaiser_window(65, 2000.0, dtype="float64").data
    assert np.isfinite(window).all()
    assert window[32] == 1.0


def test_periodic_windows_add_up() -> None:
    # Hann and Bartlett at half overlap, Blackman at a third: what makes a short-time transform invertible.
    for name, overlap, level in (("hann_window", 2, 1.0), ("bartlett_window", 2, 1.0), ("blackman_window", 3, 1.26)):
        parts = getattr(hp, name)(24, sym=False, dtype="float64").data.reshape(overlap, -1)
        np.testing.assert_allclose(parts.sum(0), level, rtol=1e-14)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.hann_window(-1), InputError, "size=-1 must be 0 or more"),
    (lambda: hp.hann_window(2.5), InputError, "size=2.5 must be an integer"),
    (lambda: hp.cosine_window("x"), InputError, "size='x' must be an integer"),
    (lambda: hp.hann_window(4, dtype="int32"), DtypeError, "must be floating"),
    (lambda: hp.gaussian_window(4, 0.0), InputError, "std=0.0 must be a number above 0"),
    (lambda: hp.general_gaussian_window(4, -1.0, 1.0), InputError, "power=-1.0 must be a number above 0"),
    (lambda: hp.exponential_window(4, -2.0), InputError, "tau=-2.0 must be a number above 0"),
    (lambda: hp.exponential_window(4, 1.0, float("nan")), InputError, "center=nan must be a finite number"),
    (lambda: hp.kaiser_window(4, -2.0), InputError, "beta=-2.0 must be 0 or more"),
    (lambda: hp.tukey_window(4, 1.5), InputError, "alpha=1.5 must be from 0 to 1"),
    (lambda: hp.general_cosine_window(4, []), InputError, r"coefficients=\[\] must be a list or tuple of at least one number"),
    (lambda: hp.general_cosine_window(4, 0.5), InputError, "coefficients=0.5 must be a list or tuple"),
    (lambda: hp.general_hamming_window(4, "a"), InputError, "alpha='a' must be a finite number"),
])
def test_what_windows_refuse(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


# The short-time Fourier transform

X = rng.standard_normal((2, 3, 101))
Z = X + 1j * rng.standard_normal(X.shape)


@needs_torch
@pytest.mark.parametrize(("size", "hop", "length"), [(16, 4, 16), (15, 5, 15), (16, 3, 10), (8, 8, 8)])
@pytest.mark.parametrize("center", [True, False])
def test_stft_and_its_inverse_against_torch(size: int, hop: int, length: int, center: bool) -> None:
    import torch

    window = rng.uniform(0.5, 1.0, length)
    for mode in ("reflect", "constant"):
        for x in (X[0], Z[0]):
            half = x is X[0] or not np.iscomplexobj(x)
            theirs = torch.stft(torch.tensor(x), size, hop, length, torch.tensor(window), center, mode, False, half, True)
            ours = hp.stft(x, size, hop, window, center=center, pad_mode=mode)
            np.testing.assert_allclose(ours.data, theirs.numpy(), atol=1e-12)
            if length < size:
                continue            # PyTorch refuses windows that leave samples uncovered
            for samples in (None, 90):
                back = torch.istft(theirs, size, hop, length, torch.tensor(window), center, False, half, samples, not half)
                again = hp.istft(ours, size, hop, window, center=center, onesided=half, length=samples)
                np.testing.assert_allclose(again.data, back.numpy(), atol=1e-12)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_the_inverse_gives_the_signal_back(norm: str) -> None:
    for x, half in ((X, True), (Z, False)):
        spectra = hp.stft(x, 16, norm=norm)
        assert spectra.shape == (2, 3, 9 if half else 16, 26)
        np.testing.assert_allclose(hp.istft(spectra, 16, length=101, onesided=half, norm=norm).data, x, atol=1e-12)
    longer = hp.istft(hp.stft(X, 16), 16, length=130).data
    np.testing.assert_allclose(longer[..., :101], X, atol=1e-12)
    assert longer.shape[-1] == 130
    assert hp.stft(X.astype(np.float32), 16).dtype == np.complex64


def test_samples_that_no_window_sees_are_zero() -> None:
    out = hp.istft(hp.stft(np.ones(32), 8, 4, center=False), 8, 4, center=False).data
    assert out[0] == 0.0            # Hann's window begins with 0
    np.testing.assert_allclose(out[1:], 1.0, rtol=1e-12)


def test_stft_transposes_and_batches() -> None:
    window = rng.uniform(0.5, 1.0, 12)
    dot_test(lambda x, w: hp.stft(x, 16, 5, w), (X, window))
    spectra = hp.stft(X, 16, 5, window).data
    dot_test(lambda x, w: hp.istft(x, 16, 5, w), (spectra, window))
    np.testing.assert_allclose(hp.vmap(lambda x: hp.stft(x, 16))(X).data, hp.stft(X, 16).data, atol=1e-13)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.stft(X, 0), InputError, "size=0 must be 1 or more"),
    (lambda: hp.stft(X, 16, 0), InputError, "hop=0 must be 1 or more"),
    (lambda: hp.stft(X, 16, window=np.ones(17)), ShapeError, "one axis of 1 to 16 samples"),
    (lambda: hp.stft(X, 16, window=np.ones(4) + 1j), DtypeError, "window is complex128"),
    (lambda: hp.stft(Z, 16, onesided=True), InputError, "onesided=True needs a real x"),
    (lambda: hp.stft(X, 300), ShapeError, "it must be longer"),
    (lambda: hp.stft(X, 300, center=False), ShapeError, "shorter than a piece of size=300"),
    (lambda: hp.stft(1.0, 4), ShapeError, "must have an axis of samples"),
    (lambda: hp.stft(X, 16, pad_mode="mirror"), InputError, "mode='mirror' is unknown"),
    (lambda: hp.istft(X, 16), DtypeError, "it must be complex"),
    (lambda: hp.istft(Z, 16), ShapeError, r"for size=16 it must be \(..., 9, pieces\)"),
    (lambda: hp.istft(Z[:, :, :1].swapaxes(1, 2)[:, :1], 4, length=0), ShapeError, "for size=4"),
    (lambda: hp.istft(np.ones((5, 1)) + 0j, 8), ShapeError, "too few pieces"),
])
def test_what_the_short_time_transform_refuses(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
