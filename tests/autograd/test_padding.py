"""The modes of padding: against NumPy, their transposes, batches, and what is refused."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd.ops import stencils
from hyperion.errors import DtypeError, HyperionError, InputError, ShapeError
from hyperion.testing import dot_test

rng = np.random.default_rng(10)
A = rng.standard_normal((2, 3, 4))
PAIRS = ((1, 0), (0, 2), (3, 1))
MODES: list[tuple[str, Any]] = [
    ("edge", "edge"), ("replicate", "edge"), ("reflect", "reflect"), ("symmetric", "symmetric"), ("wrap", "wrap"), ("circular", "wrap"),
]


@pytest.mark.parametrize(("mode", "theirs"), MODES)
def test_modes_against_numpy(mode: str, theirs: Any) -> None:
    for widths in (0, 2, (9, 4), PAIRS):        # wider than the axes: reflections and periods repeat
        for x in (A, A[:1], A + 2j, (10.0 * A).astype(np.int64), A > 0.0):
            out = hp.pad(x, widths, mode=mode)
            assert out.dtype == x.dtype
            np.testing.assert_array_equal(out.data, np.pad(x, widths, mode=theirs))
    dot_test(lambda x: hp.pad(x, ((9, 4), (0, 3), (1, 0)), mode=mode), (A + 1j * A[::-1],))
    same = np.stack([hp.pad(part, 2, mode=mode).data for part in A])
    np.testing.assert_array_equal(hp.vmap(lambda x: hp.pad(x, 2, mode=mode))(A).data, same)


def test_constants() -> None:
    for value in (1.5, -np.inf, 2, True):
        np.testing.assert_array_equal(hp.pad(A, PAIRS, value=value).data, np.pad(A, PAIRS, constant_values=value))
    np.testing.assert_array_equal(hp.pad(A + 1j, 1, value=2j).data, np.pad(A + 1j, 1, constant_values=2j))
    np.testing.assert_array_equal(hp.pad(np.arange(3), 1, value=7).data, [7, 0, 1, 2, 7])
    np.testing.assert_array_equal(hp.grad(lambda x: hp.sum(hp.pad(x, 1, value=5.0) ** 2))(A).data, 2.0 * A)
    assert hp.pad(A.astype(np.float32), 1, value=5.0).dtype == np.float32


def test_the_transpose_of_a_periodic_pad_adds_the_periods() -> None:
    out = hp.vjp(lambda x: hp.pad(x, (0, 6), mode="wrap"), np.zeros(3))[1](np.arange(9.0))[0]
    np.testing.assert_array_equal(out.data, np.arange(9.0).reshape(3, 3).sum(0))


def test_every_table_turned_around_twice_is_itself() -> None:
    for rule in (("reflect", 4, 9), ("adaptive", 3), ("linear", 9, 5 / 9, False), ("cubic", 3, 5 / 3, False), ("window", 3, 2, 1, 1, 3, 1)):
        table = stencils.TABLES[rule[0]](5, *rule[1:])
        index, weights = stencils.turn(stencils.turn(table, 5), len(table[0]))
        np.testing.assert_allclose(matrix(index, weights, 5), matrix(*table, 5), atol=1e-15)


def matrix(index: Any, weights: Any, n: int) -> Any:
    out = np.zeros((len(index), n))
    for row, places, factors in zip(out, index, weights, strict=True):
        np.add.at(row, places, factors)
    return out


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: hp.pad(A, 1, mode="mirror"), InputError, "mode='mirror' is unknown; use one of constant"),
    (lambda: hp.pad(A, -1, mode="wrap"), InputError, "widths=-1 must be integers, 0 or more"),
    (lambda: hp.pad(A[:, :0], 1, mode="reflect"), ShapeError, "an axis without elements has nothing to copy"),
    (lambda: hp.pad(A[:, :0], 1, mode="edge"), ShapeError, "an axis without elements has nothing to copy"),
    (lambda: hp.pad(A, 1, value=1j), DtypeError, "value=1j does not fit x of dtype float64"),
    (lambda: hp.pad(np.arange(3), 1, value=0.5), DtypeError, "value=0.5 does not fit x of dtype int64"),
    (lambda: hp.pad(A, 1, value=np.ones(2)), DtypeError, "it must be a Python number"),
])
def test_what_is_refused(call: Any, error: type[HyperionError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_an_axis_without_elements_may_stay_without_padding() -> None:
    assert hp.pad(A[:, :0], ((1, 1), (0, 0), (0, 2)), mode="wrap").shape == (4, 0, 6)
