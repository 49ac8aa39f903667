"""CUDA kernels against their references: on a GPU, and without one in an emulator that runs the same text; training steps on both."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, operators, optim
from hyperion.autograd.dtypes import as_dtype
from hyperion.cpu import rows as cpu_rows
from hyperion.gpu import device, layers, maps, modes, multitensor, products, reductions, rows
from hyperion.random import Generator
from tests.gpu import standin

TABLES = {"maps": maps, "modes": modes, "layers": layers}
KERNELS = [(table, name) for table, module in TABLES.items() for name in module.reference]
PLACES = ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)]


@pytest.fixture
def cupy(request, monkeypatch):
    """CuPy, or what passes for it in the emulator."""
    return standin.at(request.param, monkeypatch)


on_both = pytest.mark.parametrize("cupy", PLACES, indirect=True)


def there(cupy: Any, value: Any) -> Any:
    return cupy.asarray(value.copy()) if isinstance(value, np.ndarray) else value


def away(x: Any, reference: Any) -> float:
    return float(np.linalg.norm(x - reference) / max(np.linalg.norm(reference), 1e-300))


@on_both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("table", "name"), KERNELS)
def test_kernels_compute_what_their_references_say(cupy, table, name, dtype):
    module = TABLES[table]
    for arguments in module.cases(name, dtype):
        wide = [x.astype(np.result_type(x, np.float64)) if isinstance(x, np.ndarray) else x for x in arguments]
        out, expected = module.variants[name](*(there(cupy, x) for x in arguments)), module.reference[name](*wide)
        assert out.shape == expected.shape and out.dtype.itemsize in (np.dtype(dtype).itemsize, 2 * np.dtype(dtype).itemsize)
        # rounding of the functions, and of sums of up to 9,000 numbers; the slope of gelu_tanh cancels
        assert away(cupy.asnumpy(out), expected) < (3e-6 if dtype == "float32" else 1e-14)


@on_both
@pytest.mark.parametrize("name", ["gelu_tanh_back", "column_sums", "add_rows", "add_terms"])
def test_kernels_of_bfloat16_compute_in_float32_and_round_once(cupy, name):
    for arguments in maps.cases(name, "float32"):
        given = [x.astype(as_dtype("bfloat16")) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in arguments]
        exact = maps.reference[name](*(wide(x) if isinstance(x, np.ndarray) else x for x in given))
        out = maps.variants[name](*(there(cupy, x) for x in given))
        assert out.dtype == as_dtype("bfloat16") and out.shape == exact.shape
        # half a unit of 8 bits; float32 beside it
        np.testing.assert_allclose(wide(cupy.asnumpy(out)), exact, rtol=2.0**-8, atol=1e-4 * max(1.0, np.abs(exact).max()))


@on_both
@pytest.mark.parametrize("size", [1, 8, 77, 4096])
def test_bfloat16_and_float32_are_converted_as_numpy_does(cupy, size):
    special = [np.inf, -np.inf, np.nan, 0.0, 1e-40, 1 + 2.0**-8, 1 + 3 * 2.0**-8]
    x = np.concatenate([np.random.default_rng(size).standard_normal(size), special])
    single = x.astype(np.float32)
    half = maps.converted(cupy.asarray(single), as_dtype("bfloat16"))
    np.testing.assert_array_equal(wide(cupy.asnumpy(half)), wide(single.astype(as_dtype("bfloat16"))))
    back = maps.converted(half, np.float32)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(cupy.asnumpy(back), cupy.asnumpy(half).astype(np.float32))
    assert maps.converted(half, np.float64) is None and maps.converted(cupy.asarray(x), np.float32) is None


def parts(x: Any) -> list[Any]:
    return [part for part in (x if isinstance(x, tuple) else (x,)) if part is not None]


def moved(cupy: Any, value: Any, dtype: str) -> Any:
    """Return an argument of a kernel of rows as CuPy's arrays, floating ones in a dtype."""
    if isinstance(value, list):
        return [moved(cupy, x, dtype) for x in value]
    if not isinstance(value, np.ndarray):
        return value
    return cupy.asarray(value.astype(as_dtype(dtype)) if value.dtype.kind == "f" else value.copy())


def seen(cupy: Any, value: Any) -> Any:
    """Return an argument as the reference takes it: as it was rounded, in float64."""
    if isinstance(value, list):
        return [seen(cupy, x) for x in value]
    return value if value is None or isinstance(value, int | float | tuple | bool) else cupy.asnumpy(value).astype(
        np.int64 if value.dtype.kind == "i" else np.float64)


@on_both
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", rows.variants)
def test_rows_agree_with_the_references_of_the_cpu(cupy, name, dtype, monkeypatch):
    if cupy.ndarray is standin.ndarray:     # a row of one chunk and of several; single numbers and groups
        monkeypatch.setattr(cpu_rows, "SHAPES", ((1, 1), (5, 1), (2, 3, 16), (9, 33), (1, 2101), (1, 1032)))
    for arguments in cpu_rows.cases(name, "float64"):
        there_ = [moved(cupy, x, dtype) for x in arguments]
        found, expected = rows.variants[name](*there_), cpu_rows.reference[name](*(seen(cupy, x) for x in there_))
        for one, other in zip(parts(found), parts(expected), strict=True):
            # as on the CPU: sums of up to 70,001 terms, and exp(x - top) with |x - top| up to 30
            tolerance = 40 * float(np.finfo(cupy.asnumpy(one).dtype).eps) if dtype != "bfloat16" else 8e-3
            assert np.max(np.abs(cupy.asnumpy(one).astype(np.float64) - other)) < tolerance * max(1, np.max(np.abs(other)))


@on_both
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("shape", "axes"), [
    ((5,), (0,)), ((70000,), (0,)), ((3, 65536), (1,)), ((4, 5), (0,)), ((300, 7), (0,)), ((600, 64), (0,)), ((3, 5, 8), (1,)),
    ((2, 3, 4, 5), (1, 2)), ((2, 3, 4, 5), (0, 1, 2, 3)), ((2, 600, 12), (1,)), ((1, 1), (0, 1)),
])
def test_sums_over_any_axes(cupy, shape, axes, dtype):
    x = arrays([shape], dtype)[0]
    found, expected = reductions.total(cupy.asarray(x), axes), wide(x).sum(axis=axes)
    assert found.dtype == as_dtype(dtype) and found.shape == expected.shape
    scale = np.sqrt(np.prod([shape[i] for i in axes]))          # of the sum, and of its rounding in float32
    assert np.max(np.abs(wide(cupy.asnumpy(found)) - expected)) < scale * {"bfloat16": 2e-2, "float32": 2e-5, "float64": 1e-13}[dtype]


@on_both
def test_sums_of_other_arrays_are_left_to_cupy(cupy):
    x = cupy.asarray(np.ones((4, 6, 3)))
    for y, axes in ((x, (0, 2)), (x[:, ::2], (0,)), (cupy.asarray(np.ones((4, 3), np.int64)), (0,)), (cupy.asarray(np.ones((0, 3))), (0,))):
        assert reductions.total(y, axes) is None


@on_both
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_with_infinities_and_nan_are_those_of_numpy(cupy, name):
    inf, nan = np.inf, np.nan
    x = np.tile([[1.0, 2.0, nan], [inf, 1.0, 2.0], [-inf, 1.0, 2.0], [-inf] * 3, [inf, inf, 0.0], [inf, -inf, 0.0], [1e30, -1e30, 0.0]], 7)
    for columns in (3, 20, 21):             # one number at a time, and groups
        with np.errstate(all="ignore"):
            expected = cpu_rows.reference[name](x[:, :columns])
        found = cupy.asnumpy(rows.variants[name](cupy.asarray(np.ascontiguousarray(x[:, :columns]))))
        np.testing.assert_allclose(found, expected, rtol=1e-14)


@on_both
def test_kernels_leave_to_cupy_what_they_do_not_serve(cupy):
    gaps, integers, half = cupy.asarray(np.zeros((4, 6)))[:, ::2], cupy.asarray(np.arange(6)), cupy.asarray(np.zeros(3, np.float16))
    for x in (gaps, integers, half, np.zeros(3), cupy.asarray(np.zeros(0))):
        assert maps.apply_back("gelu", x, x) is None and maps.row_norms(x) is None and maps.column_sums(x) is None
        assert not maps.add_terms(x, None, None) and modes.combine(x, (1,)) is None
    assert products.multiply(integers.reshape(2, 3), integers.reshape(3, 2)) is None


def arrays(shapes: list[tuple[int, ...]], dtype: str, seed: int = 0) -> list[Any]:
    random, kind = np.random.default_rng(seed), as_dtype(dtype)
    parts = [random.standard_normal(s) + 1j * random.standard_normal(s) for s in shapes]
    return [x.astype(kind) if kind.kind == "c" else x.real.astype(kind) for x in parts]


# Rounding of one result, and of sums of up to 8 products.
ROUNDING = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-6, "complex64": 1e-6, "float64": 1e-14, "complex128": 1e-14}


@on_both
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("first", "second"), [
    ((3, 4), (4, 5)), ((1, 4), (4, 1)), ((3, 1), (1, 5)), ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)),
    ((2, 3, 1, 4), (2, 3, 4, 5)), ((2, 1, 1), (2, 1, 1)),
])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_matrix_products_of_any_layout(cupy, first, second, turned, dtype):
    shapes = [(*s[:-2], s[-1], s[-2]) if t else s for s, t in zip((first, second), turned, strict=True)]
    here = [np.swapaxes(x, -1, -2) if t else x for x, t in zip(arrays(shapes, dtype), turned, strict=True)]
    moved = [cupy.asarray(np.ascontiguousarray(np.swapaxes(x, -1, -2))).swapaxes(-1, -2) if t else cupy.asarray(x)
             for x, t in zip(here, turned, strict=True)]
    out = products.multiply(*moved)
    expected = wide(here[0]) @ wide(here[1])
    assert out.dtype == as_dtype(dtype) and out.shape == expected.shape
    np.testing.assert_array_equal(cupy.asnumpy(products.multiply(*moved, out)), cupy.asnumpy(out))     # it was added to itself
    assert away(wide(cupy.asnumpy(out)), 2 * expected) < ROUNDING[dtype]


def wide(x: Any) -> Any:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


@on_both
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("rows", [(), (1,), (3, 7), (130,)])
def test_affine_maps_and_their_derivatives(cupy, dtype, rows):
    values = arrays([(*rows, 24), (10, 24), (10,)], dtype)
    found = []
    for place in ("cpu", "cuda:0"):
        x, weight, bias = (hp.asarray(value, requires_grad=True, device=place) for value in values)
        out = hp.affine(x, weight, bias)
        hp.sum(out.astype("float32") ** 2).backward()
        found.append([wide(device.to_numpy(y.data)) for y in (out, x.grad, weight.grad, bias.grad)])
    for there_, here in zip(found[1], found[0], strict=True):
        assert away(there_, here) < 3 * max(ROUNDING[dtype], 1e-6)      # the loss is of float32; three roundings on the way


@on_both
@pytest.mark.parametrize(("batch", "points"), [(1, 1), (3, 5), (2, 640), (5, 7225)])
def test_sums_of_products(cupy, batch, points):
    x, y = arrays([(batch, 3, points), (batch, 4, points)], "float64")
    out = products.summed(cupy.asarray(x), cupy.asarray(y))
    assert away(cupy.asnumpy(out), np.einsum("bnp,bmp->nm", x, y)) < 1e-13


@on_both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_tensors_in_one_launch(cupy, dtype):
    shapes = [(5,), (0,), (3, 1000), (1,), (2048,), (2049,)]
    parameters, gradients, state = (arrays(shapes, dtype, seed) for seed in range(3))
    lines = "const real t0 = n0 * s0;\nconst real t1 = t0 + g;\nout[i] = p - n1 * t1;\nstate0[i] = t1;"
    numbers = [(0.5 + 0.1 * i, 0.25 * (i + 1)) for i in range(len(shapes))]
    moved = [[cupy.asarray(x.copy()) for x in group] for group in (parameters, gradients, state)]
    outs = [cupy.empty(shape, dtype) for shape in shapes]
    multitensor.MultiTensor(lines, 1, 2, np.dtype(dtype))(outs, moved[0], moved[1], [[s] for s in moved[2]], numbers)
    for p, g, s, out, later, (n0, n1) in zip(parameters, gradients, state, outs, moved[2], numbers, strict=True):
        momentum = (np.asarray(n0, dtype) * s + g).astype(dtype)
        np.testing.assert_allclose(cupy.asnumpy(later), momentum, rtol=1e-6, atol=1e-6)     # terms of size 1 that cancel
        np.testing.assert_allclose(cupy.asnumpy(out), p - np.asarray(n1, dtype) * momentum, rtol=1e-5, atol=1e-6)


@on_both
def test_complex_parameters_descend_along_the_conjugate(cupy):
    values, slopes = arrays([(30, 100), (7,)], "complex64", 1), arrays([(30, 100), (7,)], "complex64", 2)
    ends = []
    for place in ("cpu", "cuda:0"):
        parameters = [hp.asarray(x, requires_grad=True, device=place) for x in values]
        optimiser = optim.SGD(parameters, lr=0.5, momentum=0.9)
        for _ in range(2):
            for p, g in zip(parameters, slopes, strict=True):
                p.grad = hp.asarray(g, device=place)
            optimiser.step()
        ends.append([device.to_numpy(p.data) for p in parameters])
    for x, y, start, slope in zip(*ends, values, slopes, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(y, start - (0.5 + 0.5 * 1.9) * slope.conj(), rtol=1e-4, atol=1e-5)


@on_both
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_sums_of_squares_and_multiples_of_many_tensors(cupy, dtype):
    here = [*arrays([(5,), (3, 1000), (1,), (2049,)], dtype), np.ones(3)]
    moved = [*(cupy.asarray(x) for x in here[:-1]), here[-1], cupy.asarray(np.arange(3))]
    sums, products = multitensor.squares(moved), multitensor.scaled(moved, 0.25)
    assert list(sums) == list(products) == [0, 1, 2, 3]         # NumPy's arrays and integers are left out
    for i, x in enumerate(here[:-1]):
        np.testing.assert_allclose(sums[i], (np.abs(x.astype(complex)) ** 2).sum(), rtol=1e-12)
        np.testing.assert_array_equal(cupy.asnumpy(products[i]), x * x.dtype.type(0.25))


def trained(model: Any, place: str, space: tuple[int, ...], dtype: str) -> tuple[list[float], list[Any]]:
    """Return losses and last parameters of three steps."""
    x, y = (hp.asarray(a, device=place) for a in arrays([(2, 1, *space)] * 2, dtype))
    optimiser = optim.Adam(model.to(place).parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = nn.relative_l2(model(x), y)
        loss.backward()
        optim.clip_gradient_norm(model.parameters(), 0.5)
        optimiser.step()
        losses.append(float(loss.detach().to("cpu").numpy()))
    return losses, [device.to_numpy(p.data) for p in model.parameters()]


@on_both
@pytest.mark.parametrize("mlp", [0.5, None])
@pytest.mark.parametrize(("kept", "space"), [((8,), (20,)), ((6, 4), (12, 9)), ((4, 2, 4), (6, 4, 5))])
def test_operators_are_trained_as_on_the_cpu(cupy, kept, space, mlp):
    (losses, parameters), (expected, reference) = (
        trained(operators.FNO(kept, 6, 2, mlp=mlp, dtype="float64", generator=Generator(1)), place, space, "float64")
        for place in ("cuda:0", "cpu"))
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    for x, y in zip(parameters, reference, strict=True):     # Adam's first steps are signs: rounding of tiny gradients shows
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-8)
