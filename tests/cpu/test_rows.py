"""The row kernels: each against its reference, for any number of threads; extremes; stated errors; and primitives with and without them."""

import math
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.special

import hyperion as hp
from hyperion.cpu import find_compiler, rows
from hyperion.errors import CompilerError, SpeedWarning
from tests.cpu import fit_maths

ROOT = Path(__file__).resolve().parents[2]
NATIVE = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
DTYPES = (np.float32, np.float64)
NEVER = 1 << 60


@pytest.fixture
def small(monkeypatch):
    """The kernels serve arrays of any size."""
    monkeypatch.setattr(rows, "THRESHOLD", 1)
    monkeypatch.setattr(rows, "PARALLEL", 1)


def wide(value):
    """Return arguments in float64."""
    if isinstance(value, list):
        return [wide(part) for part in value]
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def several(result):
    return result if isinstance(result, tuple) else (result,)


@NATIVE
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", rows.reference)
def test_kernels_agree_with_their_references_and_threads_change_nothing(name, dtype, small, monkeypatch):
    # Sums of up to 70001 terms in 16 partial sums or more, and the relative error eps * |x - top| of exp(x - top), |x - top| up to 30.
    tolerance = 40 * np.finfo(dtype).eps
    for arguments in rows.cases(name, dtype):
        expected = several(rows.reference[name](*[wide(value) for value in arguments]))
        found = []
        for threads in ("1", "2"):
            monkeypatch.setenv("HYPERION_THREADS", threads)
            found.append(several(rows.variants[name](*arguments)))
        for one, two, exact in zip(*found, expected, strict=True):
            if exact is None:
                assert one is None and two is None
                continue
            assert one.dtype == dtype and one.shape == exact.shape
            np.testing.assert_array_equal(one, two)
            np.testing.assert_allclose(one, exact, rtol=0, atol=tolerance * max(1.0, float(np.max(np.abs(exact)))))


INF, NAN = math.inf, math.nan
EXTREME_ROWS = ([1.0, 2.0, NAN], [INF, 1.0, 2.0], [-INF, 1.0, 2.0], [-INF] * 3, [INF, INF, 0.0], [INF, -INF, 0.0], [1e30, -1e30, 0.0],
                [88.0, 89.0, 90.0], [-200.0, -300.0, -250.0], [0.0, -0.0, 1e-30])


@NATIVE
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cross_entropy", "norm"])
def test_rows_with_infinities_and_nan_are_as_in_numpy(name, dtype, small):
    x = np.tile(np.array(EXTREME_ROWS, dtype), (1, 7))
    options = {"cross_entropy": (np.arange(len(x)) % 3, 1), "norm": ([], (1,), 0.1, True)}.get(name, ())
    with np.errstate(all="ignore"):
        expected = several(rows.reference[name](x.astype(np.float64 if name != "norm" else dtype), *options))
    for found, exact in zip(several(rows.variants[name](x, *options)), expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=40 * np.finfo(dtype).eps, atol=1e-37)


@NATIVE
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*rows._MAPS, *rows._MAPS_BACK])
def test_activations_of_extremes_are_as_in_numpy(name, dtype, small):
    x = np.tile(np.array([0.0, -0.0, INF, -INF, NAN, 30.0, -30.0, 1e4, -1e4, 1e-30, -1e-30], dtype), 3)
    arguments = (np.ones_like(x), x) if name.endswith("_back") else (x,)
    with np.errstate(all="ignore"):
        expected = rows.reference[name](*[wide(value) for value in arguments])
        if dtype == np.float32:
            expected = expected.astype(np.float32)
    np.testing.assert_allclose(rows.variants[name](*arguments), expected, rtol=40 * np.finfo(dtype).eps, atol=1e-37)


@NATIVE
def test_gradients_of_rows_that_are_not_finite_are_nan_and_stay_in_their_rows(small):
    x = np.ones((4, 50), np.float32)
    x[1, 3] = NAN
    y = rows.softmax(x)
    back = rows.softmax_back(np.ones_like(y), y)
    assert np.isnan(back[1]).all() and np.isfinite(back[[0, 2, 3]]).all()


# Stated errors, in units in the last place (maths.h), where the results are not flushed to zero.
STATED = {"exp": (1.1, 1.0), "sigmoid": (2.2, 2.0), "tanh": (2.5, 2.2), "erf": (3.1, 2.8), "phi": (7.0, 7.0)}
RANGES = {"exp": (-86.6, 88.7, -707.6, 709.7), "sigmoid": (-86.6, 40, -707.6, 40), "tanh": (-10, 10, -20, 20), "erf": (-4.5, 4.5, -6, 6),
          "phi": (-12.9, 9, -37.4, 9)}
EXACT = {"exp": mpmath.exp, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "tanh": mpmath.tanh, "erf": mpmath.erf,
         "phi": lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2}
DOUBLE = {"exp": np.exp, "sigmoid": scipy.special.expit, "tanh": np.tanh, "erf": scipy.special.erf, "phi": scipy.special.ndtr}


def points(random, name, dtype, count):
    """Return numbers over the whole range, around 1 and towards 0."""
    low, high = RANGES[name][:2] if dtype == np.float32 else RANGES[name][2:]
    tiny = random.normal(size=count) * 10.0 ** random.uniform(-6, 0, count)
    x = np.concatenate([random.uniform(low, high, 5 * count), random.normal(size=4 * count), tiny]).astype(dtype)
    return x[(x > low) & (x < high)]


@NATIVE
@pytest.mark.parametrize("name", STATED)
def test_the_stated_errors_of_float32(name, small, random):
    x = points(random, name, np.float32, 100_000)
    exact = DOUBLE[name](x.astype(np.float64))
    errors = np.abs(rows.apply(name, x) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert errors.max() <= STATED[name][0]


@NATIVE
@pytest.mark.parametrize("name", STATED)
def test_the_stated_errors_of_float64(name, small, random):
    x = points(random, name, np.float64, 300)
    with mpmath.workdps(40):
        for value, found in zip(x.tolist(), rows.apply(name, x).tolist(), strict=True):
            assert abs(mpmath.mpf(found) - EXACT[name](mpmath.mpf(value))) <= STATED[name][1] * mpmath.mpf(math.ulp(found)), value


@pytest.mark.parametrize("real, digits", [("float", 9), ("double", 17)])
def test_the_polynomials_are_those_that_the_script_fits(real, digits):
    text = (ROOT / "hyperion" / "cpu" / "kernels" / "maths.h").read_text()
    for coefficients, error in fit_maths.fits(real).values():
        assert error < (2e-7 if real == "float" else 1e-16)
        for c in coefficients:
            assert mpmath.nstr(abs(c), digits) in text


def test_small_arrays_others_and_gaps_are_left_to_numpy_and_compile_nothing(monkeypatch):
    def refuse(*_):
        raise AssertionError("compiled")

    monkeypatch.setattr(rows, "_loaded", {})
    monkeypatch.setattr(rows, "load", refuse)
    enough = np.ones((2, rows.THRESHOLD), np.float32)
    for x in (enough[:1, 1:], np.ones((0, 5), np.float32), enough.astype(np.float16), enough.astype(np.complex64), enough.T, enough[:, ::2],
              enough.tolist(), 1.0):
        assert rows.softmax(x) is None and rows.apply("gelu", x) is None and rows.norm(x, (), (1,), 0.1, True) is None
    with pytest.raises(AssertionError, match="compiled"):
        rows.softmax(enough)


def test_without_a_compiler_numpy_serves_with_one_warning(monkeypatch):
    def refuse(*_):
        raise CompilerError("no C compiler found; install one")

    monkeypatch.setattr(rows, "_loaded", {})
    monkeypatch.setattr(rows, "load", refuse)
    x = hp.asarray(np.ones((4, rows.THRESHOLD), np.float32))
    with pytest.warns(SpeedWarning, match="several times slower: no C compiler found; install one") as caught:
        first = hp.softmax(x)
    assert len(caught) == 1
    assert np.array_equal(hp.softmax(x).data, first.data) and np.allclose(first.data, 1 / rows.THRESHOLD)
    assert rows.softmax(x.data.astype(np.float64)) is None


# Primitives

CLASSES = np.arange(24).reshape(2, 3, 4) % 5 - 1
PRIMITIVES = {
    "softmax": lambda x, w, b: hp.softmax(x), "log_softmax": lambda x, w, b: hp.log_softmax(x),
    "softmax, other axis": lambda x, w, b: hp.softmax(x, axis=1), "softmax, masked": lambda x, w, b: hp.softmax(x, where=x.detach() > -1.0),
    "gelu": lambda x, w, b: hp.gelu(x), "gelu by tanh": lambda x, w, b: hp.gelu(x, approximate=True), "silu": lambda x, w, b: hp.silu(x),
    "layer_norm": lambda x, w, b: hp.layer_norm(x, w, b), "layer_norm, weight": lambda x, w, b: hp.layer_norm(x, w),
    "layer_norm, bias": lambda x, w, b: hp.layer_norm(x, None, b), "layer_norm, plain": lambda x, w, b: hp.layer_norm(x),
    "layer_norm, two axes": lambda x, w, b: hp.layer_norm(x, x[0, 0] * 2.0, b + x[0, 0], axis=(-2, -1)),
    "layer_norm, first axis": lambda x, w, b: hp.layer_norm(x, axis=0), "rms_norm": lambda x, w, b: hp.rms_norm(x, w),
    "rms_norm, plain": lambda x, w, b: hp.rms_norm(x), "group_norm": lambda x, w, b: hp.group_norm(x, 3, w[:3], b[:3]),
    "batch_norm": lambda x, w, b: hp.batch_norm(x, weight=w[:3], bias=b[:3]),
    "cross-entropy": lambda x, w, b: hp.softmax_cross_entropy(x, CLASSES, ignore=-1)[0],
    "cross-entropy and total": lambda x, w, b: hp.stack(list(hp.softmax_cross_entropy(x, CLASSES, ignore=-1))),
    "total": lambda x, w, b: hp.softmax_cross_entropy(x, CLASSES, ignore=-1)[1],
    "transposed": lambda x, w, b: hp.softmax(hp.gelu(hp.swapaxes(x, -1, -2))),
}


@NATIVE
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", PRIMITIVES)
def test_primitives_give_the_same_with_and_without_kernels(form, dtype, monkeypatch, random):
    f = PRIMITIVES[form]
    arrays = [random.normal(size=shape).astype(dtype) for shape in ((2, 3, 4, 5), (5,), (5,))]
    results = []
    for threshold in (1, NEVER):
        monkeypatch.setattr(rows, "THRESHOLD", threshold)
        leaves = [hp.asarray(a, requires_grad=True) for a in arrays]
        y = f(*leaves)
        (y * hp.cos(hp.arange(y.size, dtype=dtype).reshape(y.shape))).sum().backward()
        by_sum = [hp.asarray(a, requires_grad=True) for a in arrays]
        f(*by_sum).sum().backward()         # a cotangent that is broadcast: no contiguous array
        found = [y.detach(), *(x.grad for x in leaves), *(x.grad for x in by_sum)]
        results.append([None if x is None else x.numpy() for x in found])
    for native, plain in zip(*results, strict=True):
        assert (native is None) == (plain is None)
        if plain is not None:
            assert native.dtype == plain.dtype == dtype and native.shape == plain.shape
            np.testing.assert_allclose(native, plain, rtol=0, atol=60 * np.finfo(dtype).eps * max(1.0, float(np.abs(plain).max())))


@NATIVE
def test_kernels_serve_what_they_are_meant_for(monkeypatch, small):
    """The comparison above would hold if nothing were hooked."""
    called = []
    names = ("softmax", "softmax_back", "log_softmax", "log_softmax_back", "entropy", "entropy_back", "norm", "norm_back",
             *(f"{name}{back}" for name in ("gelu", "gelu_tanh", "silu") for back in ("", "_back")))
    rows.softmax(np.ones((1, 5), np.float32))
    kernels = rows._loaded[np.dtype(np.float32)]

    def counted(name, function):
        return lambda *arguments: (called.append(name), function(*arguments))

    counting = {**kernels, **{name: counted(name, kernels[name]) for name in names}}
    monkeypatch.setattr(rows, "_loaded", {np.dtype(np.float32): counting})
    for f in PRIMITIVES.values():
        leaves = [hp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32), requires_grad=True)
                  for shape in ((2, 3, 4, 5), (5,), (5,))]
        f(*leaves).sum().backward()
    assert set(called) == set(names)


@NATIVE
def test_a_sweep_that_starts_at_an_operation_of_several_outputs_works_on_arrays(monkeypatch, small, random):
    def refuse(*_, **__):
        raise AssertionError("the rule on Tensors")

    for norm in (hp.layer_norm, hp.rms_norm):
        x = hp.asarray(random.normal(size=(4, 6)), requires_grad=True)
        g = hp.asarray(random.normal(size=(4, 6)))
        norm(x).backward(gradient=g, retain_graph=True)
        plain = x.grad.numpy()
        x.grad = None
        y = norm(x)
        with monkeypatch.context() as patch:
            patch.setattr(y.node.op, "vjp", refuse)
            y.backward(gradient=g)
        np.testing.assert_array_equal(x.grad.numpy(), plain)
        expected = hp.grad(lambda x, f=norm, g=g: hp.sum(f(x) * g))(x.detach()).numpy()
        np.testing.assert_allclose(plain, expected, rtol=0, atol=1e-13)


@NATIVE
def test_second_derivatives_take_the_rules_on_tensors(monkeypatch, small):
    x = hp.asarray(np.linspace(-2.0, 2.0, 7))

    def second(f):
        return hp.grad(lambda x: hp.grad(lambda x: f(x).sum())(x).sum())(x).numpy()

    np.testing.assert_allclose(second(hp.gelu), (2 - x.numpy() ** 2) * np.exp(-x.numpy() ** 2 / 2) / np.sqrt(2 * np.pi), atol=1e-14)
    native = second(lambda x: hp.softmax(x) ** 2)
    monkeypatch.setattr(rows, "THRESHOLD", NEVER)
    np.testing.assert_allclose(native, second(lambda x: hp.softmax(x) ** 2), atol=1e-14)


# Threads

@NATIVE
def test_calls_at_the_same_time_do_not_disturb_each_other(monkeypatch):
    monkeypatch.setenv("HYPERION_THREADS", "2")
    x = np.random.default_rng(0).normal(size=(300, 1000)).astype(np.float32)
    expected, wrong = rows.softmax(x), []

    def work():
        for _ in range(20):
            if not np.array_equal(rows.softmax(x), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@NATIVE
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_workers_of_its_own():
    program = """if True:
        import os, signal, sys, warnings
        import numpy as np
        from hyperion.cpu import rows
        x = np.random.default_rng(0).normal(size=(300, 1000)).astype(np.float32)
        expected = rows.softmax(x)
        warnings.simplefilter("ignore")                 # Python warns of forks beside threads: that is what is tested
        child = os.fork()
        if not child:
            signal.alarm(60)
            os._exit(0 if all(np.array_equal(rows.softmax(x), expected) for _ in range(5)) else 3)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HYPERION_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=120, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_references_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in rows.reference:
            for arguments in rows.cases(name, np.float64):
                rows.reference[name](*arguments)
