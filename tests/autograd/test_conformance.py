"""The namespace against array-api-strict, which implements the array API standard and nothing else, on generated inputs.

Every function of the strict namespace is called with the same arrays here and there: shapes, dtypes and values must agree. Functions of one
or two arrays alone get arrays of every dtype, or pair of dtypes, that the strict one takes; the others have their calls in CALLS.
"""

import importlib.util
import inspect
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import hyperion as hp

if importlib.util.find_spec("array_api_strict") is None:
    pytest.skip("array-api-strict is not installed (extra test)", allow_module_level=True)

import array_api_strict as strict

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64", "complex128")
KINDS = ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric", ("bool", "integral"))
FLOATING, REAL = ("float32", "float64", "complex64", "complex128"), ("int8", "int64", "uint8", "uint64", "float32", "float64")
# Objects, and functions that set the strict namespace itself or answer with what only one namespace has.
APART = {"Device", "ArrayAPIStrictFlags", "set_array_api_strict_flags", "get_array_api_strict_flags", "reset_array_api_strict_flags",
         "__array_namespace_info__", "__version__", "__array_api_version__"}
# Values the standard fixes and NumPy, on which the strict namespace stands, has otherwise; the public suite checks ours.
OURS = {"floor_divide": (np.inf,), "expm1": (np.inf, np.nan), "log1p": (np.inf, np.nan)}
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -2.5, 1e30)

Call = tuple[tuple[Any, ...], dict[str, Any]]


def array(dtype: str, *shape: int, low: float = -3.0, high: float = 3.0, seed: int = 0) -> Any:
    """Return generated values of a dtype: integers from -20 to 20 (0 if unsigned)."""
    rng = np.random.default_rng([seed, len(shape), *shape, *dtype.encode()])
    kind = np.dtype(dtype).kind
    if kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if kind in "iu":
        return np.asarray(rng.integers(0 if kind == "u" else -20, 20, shape)).astype(dtype)
    x = rng.uniform(low, high, shape)
    return np.asarray(x + 1j * rng.uniform(low, high, shape) if kind == "c" else x).astype(dtype)


def elements(dtype: str, name: str, *shape: int) -> Any:
    """Return values for a function of single elements; floats in one row, with special values among them."""
    x = array(dtype, *shape)
    if np.dtype(dtype).kind == "f":
        few = [v for v in SPECIAL if not any(v == o or -v == o or (v != v and o != o) for o in OURS.get(name, ()))]
        x = np.append(x.ravel(), np.array(few)).astype(dtype)
    if name in ("bitwise_left_shift", "bitwise_right_shift"):
        return x % 7 if x.dtype.kind in "iu" else x         # places, 0 or more
    return x


def into(xp: Any, value: Any) -> Any:
    """Return a value with its NumPy arrays as arrays of a namespace, and names of dtypes as its dtypes."""
    if isinstance(value, np.ndarray):
        return xp.asarray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(into(xp, x) for x in value)
    return getattr(xp, value) if isinstance(value, str) and value in DTYPES else value


def call(xp: Any, function: Callable[..., Any], given: Call) -> Any:
    with np.errstate(all="ignore"):
        return function(*(into(xp, x) for x in given[0]), **{key: into(xp, x) for key, x in given[1].items()})


def compare(ours: Any, theirs: Any, what: str) -> None:
    """Check that two results agree: arrays in shape, dtype and value, others as they are."""
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs), what
        for x, y in zip(ours, theirs, strict=True):
            compare(x, y, what)
    elif isinstance(theirs, strict.asarray(0).__class__):
        assert isinstance(ours, hp.Tensor), what
        x, y = ours.numpy(), np.asarray(theirs._array)
        assert (x.shape, x.dtype) == (y.shape, y.dtype), what
        # Both end in the same libraries, by other roads: sums in another order, up to 60 elements.
        rtol = 1e-12 if y.dtype in (np.float64, np.complex128) else 2e-5
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol, err_msg=what)
    elif hasattr(theirs, "_np_dtype"):
        assert ours == theirs._np_dtype, what
    else:
        assert ours == theirs, what


def functions(namespace: Any, count: int) -> Iterator[str]:
    """Return the names of functions of so many arrays and nothing else."""
    for name in namespace.__all__:
        function = getattr(namespace, name)
        if name not in CALLS and name not in APART and inspect.isfunction(function):
            parameters = inspect.signature(function).parameters
            if list(parameters) == (["x"] if count == 1 else ["x1", "x2"]):
                yield name


def square(dtype: str, *shape: int) -> Any:
    """Return positive definite matrices."""
    x = array(dtype, *shape)
    return x @ np.conj(np.swapaxes(x, -1, -2)) + 5.0 * np.eye(shape[-1], dtype=dtype)


def each(*dtypes: str, shape: tuple[int, ...] = (3, 4), **params: Any) -> list[Call]:
    return [((array(dtype, *shape),), params) for dtype in dtypes]


def reductions(*dtypes: str, **params: Any) -> list[Call]:
    """Return calls over no axis, one and several, with and without keepdims."""
    return [
        ((array(dtype, 2, 3, 4),), {"axis": axis, "keepdims": keepdims, **params})
        for dtype, axis, keepdims in itertools.product(dtypes, (None, 1, -1, (0, 2)), (False, True))
    ]


def along(calls: list[Call]) -> list[Call]:
    """Return the calls that name at most one axis."""
    return [given for given in calls if not isinstance(given[1]["axis"], tuple)]


A, V, M = array("float64", 3, 4), array("float32", 5), array("int64", 2, 3, 4)
INDEX = np.array([2, 0, 2])
CALLS: dict[str, list[Call]] = {
    # creation
    "asarray": [
        (([[1, 2], [3, 4]],), {}), (([1.5, 2.5],), {"dtype": "float64"}), ((A,), {"copy": True}), ((True,), {}), ((M,), {"dtype": "int8"}),
    ],
    "arange": [((5,), {}), ((1, 10, 3), {}), ((5, 0, -2), {"dtype": "int16"}), ((0.0, 1.0, 0.25), {"dtype": "float32"}), ((3, 3), {})],
    "empty": [],        # its values are not fixed
    "empty_like": [],
    "eye": [((3,), {"dtype": "float32"}), ((2, 4), {"k": 1, "dtype": "int8"}), ((3, 2), {"k": -1, "dtype": "complex64"})],
    "full": [(((2, 3), 4), {}), ((2, True), {}), (((), 1.5), {"dtype": "float64"})],
    "full_like": [((A, 2), {}), ((M, 2.5), {"dtype": "float32"})],
    "linspace": [
        ((0.0, 1.0, 5), {"dtype": "float64"}), ((0, 10, 4), {"dtype": "float32", "endpoint": False}), ((1.0, 1.0, 1), {"dtype": "float64"}),
    ],
    "meshgrid": [((array("float32", 2), array("float32", 3), array("float32", 4)), {"indexing": indexing}) for indexing in ("xy", "ij")],
    "ones": [(((2, 3),), {"dtype": "float64"}), ((2,), {"dtype": "bool"})],
    "zeros": [(((2, 3),), {"dtype": "float64"}), ((2,), {"dtype": "uint8"})],
    "ones_like": [((A,), {}), ((M,), {"dtype": "complex128"})],
    "zeros_like": [((A,), {}), ((M,), {"dtype": "bool"})],
    "tril": [((x,), {"k": k}) for x in (A, M) for k in (-1, 0, 2)],
    "triu": [((x,), {"k": k}) for x in (A, M) for k in (-1, 0, 2)],
    "from_dlpack": [],      # takes arrays of other libraries: tests/autograd/test_exchange.py
    # dtypes
    "astype": [((array(a, 2, 3), b), {}) for a in ("bool", "int16", "float32") for b in DTYPES]
    + [((array("complex64", 3), "complex128"), {})],
    "can_cast": [((a, b), {}) for a in DTYPES for b in DTYPES if (a == "bool") == (b == "bool") and np.dtype(a).kind == np.dtype(b).kind],
    "finfo": [], "iinfo": [],       # test_limits_of_dtypes
    "isdtype": [((a, kind), {}) for a in DTYPES for kind in KINDS],
    "result_type": [((a, b), {}) for a, b in (("int8", "uint8"), ("float32", "complex128"), ("float64", "float32"), (A, V), (V, 2.0))],
    "broadcast_arrays": [((array("int8", 3, 1), array("float32", 4)), {})],
    "broadcast_shapes": [(((3, 1), (4,)), {}), (((), (2, 1, 5)), {})],
    "broadcast_to": [((array("int8", 3, 1), (2, 3, 4)), {}), ((array("bool"), (2,)), {})],
    # elements
    "clip": [((array(t, 3, 4), array(t, 4, seed=1), None), {}) for t in REAL]
    + [((x, *bounds), {}) for x, *bounds in ((A, -1.0, 1.0), (M, None, 3), (A, -1, None))],
    "where": [
        ((array("bool", 3, 1), array(a, 3, 4), array(b, 4)), {}) for a, b in (("int8", "int32"), ("float32", "float64"), ("bool", "bool"))
    ],
    "imag": each("complex64", "complex128"), "real": each("complex64", "complex128"),
    "isfinite": each(*DTYPES[1:]), "isinf": each(*DTYPES[1:]), "isnan": each(*DTYPES[1:]),
    "reciprocal": each(*FLOATING),
    "pow": [((array(a, 3, 4) % 5, array(b, 4) % 4), {}) for a, b in (("int8", "int8"), ("uint8", "int16"), ("int64", "int32"))]
    + [((array(t, 3, 4, low=0.1), array(t, 4)), {}) for t in FLOATING],
    # shapes
    "concat": [(([A, array("float32", 2, 4)],), {}), (([A, A],), {"axis": -1}), (([V, V],), {"axis": None})],
    "expand_dims": [((A,), {"axis": axis}) for axis in (0, 1, -1)],
    "flip": [((M,), {"axis": axis}) for axis in (None, 1, (0, -1))],
    "moveaxis": [((M, 0, -1), {}), ((M, (0, 1), (2, 0)), {})],
    "permute_dims": [((M, (2, 0, 1)), {})],
    "repeat": [((A, 2), {}), ((A, 3), {"axis": 1}), ((A, np.array([1, 0, 2])), {"axis": 0})],
    "reshape": [((A, (2, 6)), {}), ((A, (-1,)), {"copy": True}), ((A, (4, -1)), {})],
    "roll": [((M, 5), {}), ((M, 1), {"axis": 1}), ((M, (1, -2)), {"axis": (0, 2)})],
    "squeeze": [((array("float32", 1, 3, 1), 0), {}), ((array("float32", 1, 3, 1), (0, -1)), {})],
    "stack": [(([A, A],), {"axis": axis}) for axis in (0, 1, -1)],
    "tile": [((A, (2,)), {}), ((A, (2, 1, 3)), {})],
    "unstack": [((M,), {}), ((M,), {"axis": -1})],
    "take": [((A, INDEX), {"axis": 0}), ((V, INDEX), {})],
    "take_along_axis": [((A, array("uint8", 3, 2).astype("int64") % 4), {"axis": 1}), ((A, array("uint8", 3, 2).astype("int64") % 4), {})],
    "matrix_transpose": [((M,), {})],
    # sums, and others along axes
    **{name: reductions(*REAL, *FLOATING[2:]) for name in ("sum", "prod")},
    "mean": reductions(*FLOATING), **{name: reductions("float32", "float64", correction=c) for name, c in (("std", 1.0), ("var", 0.5))},
    **{name: reductions(*REAL) for name in ("max", "min")}, **{name: reductions("bool", *REAL, "complex64") for name in ("all", "any")},
    "count_nonzero": reductions("bool", *REAL, "complex64"),
    **{name: along(reductions(*REAL)) for name in ("argmax", "argmin")},
    "cumulative_sum": each("int8", shape=(4,))
    + [((array(t, 3, 4),), {"axis": 1, "include_initial": i}) for t in (*REAL, "complex64") for i in (False, True)],
    "cumulative_prod": [((array(t, 3, 4),), {"axis": -2, "include_initial": i}) for t in (*REAL, "complex64") for i in (False, True)],
    "diff": [((M,), {}), ((A,), {"axis": 0, "n": 2}), ((V,), {"prepend": V, "append": V})],
    # sorting, searching, sets
    "sort": [((array(t, 3, 4),), {"axis": axis, "descending": d}) for t in REAL for axis in (0, -1) for d in (False, True)],
    "argsort": [((array(t, 3, 6),), {"axis": axis, "descending": d}) for t in REAL for axis in (0, -1) for d in (False, True)],
    "nonzero": each("bool", *REAL, "complex64"),
    "searchsorted": [((np.sort(V), V), {"side": side}) for side in ("left", "right")]
    + [((V, A.astype("float32")), {"sorter": np.argsort(V)})],
    **{name: each("bool", *REAL, shape=(3, 20)) for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values")},
    "isin": [((M, M[0, 0]), {})],
    # products
    "matmul": [((array(t, 2, 3, 4), array(t, 4, 5)), {}) for t in (*REAL, *FLOATING[2:])] + [((V, V), {})],
    "tensordot": [((A, A), {"axes": 2}), ((A, A), {"axes": ((1,), (1,))}), ((V, V), {"axes": 0})],
    "vecdot": [((array(t, 3, 4), array(t, 4)), {}) for t in (*REAL, *FLOATING[2:])] + [((A, A), {"axis": -2})],
}
SYMMETRIC = [square(t, 2, 3, 3) for t in FLOATING]
LINALG: dict[str, list[Call]] = {
    **{name: CALLS[name] for name in ("matmul", "tensordot", "vecdot", "matrix_transpose")},
    **{name: [((x,), {}) for x in SYMMETRIC] for name in ("cholesky", "det", "inv", "slogdet", "eigvalsh", "svdvals", "matrix_rank")},
    "cross": [((array(t, 4, 3), array(t, 3, seed=1)), {}) for t in (*REAL, *FLOATING[2:])],
    "diagonal": [((M,), {"offset": offset}) for offset in (-1, 0, 1)],
    "trace": [((x,), {}) for x in (M, A, array("complex64", 3, 3))],
    "matrix_norm": [((array(t, 2, 3, 4),), {"ord": o, "keepdims": o == 1}) for t in FLOATING for o in ("fro", "nuc", 1, -2)],
    "matrix_power": [((x, n), {}) for x in SYMMETRIC for n in (-1, 0, 3)],
    "outer": [((V, V), {})],
    "pinv": [((array(t, 2, 3, 4),), {}) for t in FLOATING],
    "solve": [((x, array(str(x.dtype), 3, 2)), {}) for x in SYMMETRIC] + [((SYMMETRIC[1][0], array("float64", 3)), {})],
    "vector_norm": [((array(t, 2, 3, 4),), {"axis": axis, "ord": o}) for t in FLOATING
                    for axis, o in ((None, 2), (1, 1), ((0, 2), np.inf), (-1, 3))],
    "eigh": [], "qr": [], "svd": [],        # not unique: test_factors_multiply_to_the_matrix
}
LINE = [array(t, 3, 8) for t in FLOATING[2:]]
REALS = [array(t, 3, 8) for t in FLOATING[:2]]
FFT: dict[str, list[Call]] = {
    **{name: [((x,), {"n": n, "axis": axis, "norm": norm}) for x in (REALS if name in ("rfft", "ihfft") else LINE)
              for n, axis, norm in ((None, -1, "backward"), (5, 0, "ortho"), (12, 1, "forward"))]
       for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")},
    **{name: [((x,), {"s": s, "axes": axes, "norm": norm}) for x in (REALS if name == "rfftn" else LINE)
              for s, axes, norm in ((None, None, "backward"), ((4, 6), (0, 1), "ortho"), (None, (-1,), "forward"))]
       for name in ("fftn", "ifftn", "rfftn", "irfftn")},
    **{name: [((n,), {"d": 0.5, "dtype": "float64"}) for n in (5, 6)] for name in ("fftfreq", "rfftfreq")},
    **{name: [((A,), {"axes": axes}) for axes in (None, 1, (0, 1))] for name in ("fftshift", "ifftshift")},
}
ONE, TWO = list(functions(strict, 1)), list(functions(strict, 2))


def test_every_function_of_the_strict_namespace_is_compared() -> None:
    named = {*ONE, *TWO, *CALLS}
    assert {name for name in strict.__all__ if inspect.isfunction(getattr(strict, name))} - APART - named == set()
    assert set(strict.linalg.__all__) - set(LINALG) == set() and set(strict.fft.__all__) - set(FFT) == set()


@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_array(name: str) -> None:
    taken = 0
    for dtype, shape in itertools.product(DTYPES, ((3, 4), (), (0, 2))):
        given = ((elements(dtype, name, *shape),), {})
        try:
            theirs = call(strict, getattr(strict, name), given)
        except TypeError:
            continue
        compare(call(hp, getattr(hp, name), given), theirs, f"{name}({dtype}, shape {shape})")
        taken += 1
    assert taken


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_arrays(name: str) -> None:
    taken = 0
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = elements(a, name, 3, 4), elements(b, name, 4)
        for pair in ((x[..., None], y), (x, y[1]), (x[:0, ..., None], y)):
            try:
                theirs = call(strict, getattr(strict, name), (pair, {}))
            except (TypeError, ValueError):         # refused: the strict shifts look for negative places before they look at dtypes
                continue
            compare(call(hp, getattr(hp, name), (pair, {})), theirs, f"{name}({a}, {b})")
            taken += 1
    assert taken


@pytest.mark.parametrize(("name", "i"), [(name, i) for name, calls in CALLS.items() for i in range(len(calls))])
def test_other_functions(name: str, i: int) -> None:
    given = CALLS[name][i]
    compare(call(hp, getattr(hp, name), given), call(strict, getattr(strict, name), given), f"{name}, {given[1]}")


@pytest.mark.parametrize(("name", "i"), [(name, i) for name, calls in LINALG.items() for i in range(len(calls))])
def test_linear_algebra(name: str, i: int) -> None:
    given = LINALG[name][i]
    compare(call(hp, getattr(hp.linalg, name), given), call(strict, getattr(strict.linalg, name), given), f"linalg.{name}, {given[1]}")


@pytest.mark.parametrize(("name", "i"), [(name, i) for name, calls in FFT.items() for i in range(len(calls))])
def test_fourier_transforms(name: str, i: int) -> None:
    given = FFT[name][i]
    compare(call(hp, getattr(hp.fft, name), given), call(strict, getattr(strict.fft, name), given), f"fft.{name}, {given[1]}")


@pytest.mark.parametrize("i", range(len(FLOATING)))
def test_factors_multiply_to_the_matrix(i: int) -> None:
    symmetric, tall = SYMMETRIC[i], array(FLOATING[i], 2, 4, 3)
    rtol = 1e-12 if symmetric.dtype in (np.float64, np.complex128) else 1e-4        # 20 roundings, relative to the largest element
    values, vectors = hp.linalg.eigh(symmetric)
    compare(values, strict.linalg.eigh(strict.asarray(symmetric)).eigenvalues, "eigh")
    q, r = hp.linalg.qr(tall)
    u, s, vh = hp.linalg.svd(tall, full_matrices=False)
    compare(s, strict.linalg.svd(strict.asarray(tall), full_matrices=False).S, "svd")
    for product, whole in ((vectors * values[:, None, :] @ hp.conj(vectors.mT), symmetric), (q @ r, tall), (u * s[:, None, :] @ vh, tall)):
        assert product.dtype == whole.dtype
        np.testing.assert_allclose(product.data, whole, rtol=rtol, atol=rtol * np.abs(whole).max())


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_limits_of_dtypes(dtype: str) -> None:
    name = "finfo" if dtype in FLOATING else "iinfo"
    ours, theirs = getattr(hp, name)(getattr(hp, dtype)), getattr(strict, name)(getattr(strict, dtype))
    for field in ("bits", "max", "min", *(("eps", "smallest_normal") if name == "finfo" else ())):
        assert getattr(ours, field) == getattr(theirs, field) and type(getattr(ours, field)) in (int, float)
    assert ours.dtype == theirs.dtype._np_dtype


def test_constants_and_version() -> None:
    assert (hp.e, hp.pi, hp.inf, hp.newaxis) == (strict.e, strict.pi, strict.inf, strict.newaxis) and hp.nan != hp.nan
    assert hp.__array_api_version__ == "2024.12" and hp.ones(1).__array_namespace__(api_version="2024.12") is hp


@pytest.mark.parametrize("name", [
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift", "eq", "ne", "lt", "le",
        "gt", "ge",
])
def test_operators(name: str) -> None:
    operate = getattr(operator, name)
    taken = 0
    for dtype in DTYPES:
        x = array(dtype, 4, 4)
        x = x % 5 if x.dtype.kind in "iu" else x
        for pair in ((x, x.T + x.dtype.type(0)), (x, 2), (2, x), (x, 2.5), (x, True), (False, x)):
            try:
                theirs = call(strict, operate, (pair, {}))
            except (TypeError, ValueError):         # another dtype, or a matrix product with a number
                continue
            compare(call(hp, operate, (pair, {})), theirs, f"{dtype}: {name} {pair}")
            taken += 1
    assert taken
