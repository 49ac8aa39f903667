"""Attention to keys and values in pages against attention to each text alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import hyperion as hp
from hyperion import nn
from hyperion.cpu import attention as native
from hyperion.errors import DtypeError, GraphError, InputError, ShapeError


def made(page: int, lengths: list[int], kept: int = 2, group: int = 2, queries: int = 1, dtype: Any = np.float64) -> list[Any]:
    """Return q, a pool in which the texts' pages lie in disorder (what is unused holds large numbers), the table, and the lengths."""
    random = np.random.default_rng(sum(lengths) + page)
    counts = [-(-length // page) for length in lengths]
    order = random.permutation(sum(counts) + 2)
    table = np.zeros((len(lengths), max(counts, default=0) + 1), np.int64)
    for row, count in enumerate(counts):
        table[row, :count], order = order[:count], order[count:]
    shape = sum(counts) + 2, kept, page
    pools = [random.standard_normal((*shape, size)).astype(dtype) for size in (8, 5)]
    return [random.standard_normal((len(lengths), kept * group, queries, 8)).astype(dtype), *pools, table, np.array(lengths)]


def alone(q: Any, keys: Any, values: Any, table: Any, lengths: Any, window: int | None) -> Any:
    outs = []
    for row, length in enumerate(lengths):
        k, v = (x[table[row]].swapaxes(0, 1).reshape(x.shape[1], -1, x.shape[3])[None, :, :length] for x in (keys, values))
        outs.append(hp.attention(q[row:row + 1], k, v, scale=0.4, mask=nn.SlidingWindow(window)).numpy())
    return np.concatenate(outs)


@settings(max_examples=40, deadline=None)
@given(some.sampled_from([1, 5, 64, 128]), some.lists(some.integers(0, 300), min_size=1, max_size=4), some.integers(1, 3),
       some.integers(1, 3), some.sampled_from([None, 0, 7, 100]), some.sampled_from(["float32", "float64", "bfloat16"]))
def test_pages_are_as_good_as_texts_alone(page: int, lengths: list[int], group: int, queries: int, window: int | None, dtype: str) -> None:
    given_ = made(page, lengths, 2, group, queries)
    half = dtype == "bfloat16"
    q, keys, values = (hp.asarray(x).astype(dtype) for x in given_[:3])
    found = hp.paged_attention(q, keys, values, *given_[3:], scale=0.4, window=window)
    assert str(found.dtype) == dtype
    exact = alone(*(x.astype("float64").numpy() for x in (q, keys, values)), *given_[3:], window)
    tolerance = 2.0**-7 if half else 100 * np.finfo(dtype).eps              # of values near 1: one rounding; sums of 300 terms
    np.testing.assert_allclose(found.astype("float64").numpy(), exact, rtol=tolerance, atol=tolerance)


def test_the_kernel_reads_pages_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    forward = native.forward
    monkeypatch.setattr(native, "forward", lambda q, k, v, terms: calls.append(terms.pages) or forward(q, k, v, terms))
    monkeypatch.setattr(native, "THRESHOLD", 1)
    if native.serves(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1))):
        hp.paged_attention(*made(64, [100, 3]))
        assert len(calls) == 1 and calls[0] is not None
    hp.paged_attention(*made(6, [100, 3]))
    assert sum(pages is not None for pages in calls) <= 1         # pages of 6 tokens are put together


@pytest.mark.gpu
@pytest.mark.parametrize("page", [16, 64])
def test_the_gpu_gives_what_the_cpu_gives(page: int) -> None:
    arrays = made(page, [100, 3, 64], queries=2)
    there = [hp.asarray(x, device="cuda:0") for x in arrays]
    np.testing.assert_allclose(hp.paged_attention(*there).to("cpu").numpy(), hp.paged_attention(*arrays).numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("change, error, text", [
    ({0: np.ones((2, 4, 8))}, ShapeError, "must be \\(batch, heads, queries"),
    ({0: np.ones((2, 3, 1, 8))}, ShapeError, "the heads of keys divide those of q"),
    ({0: np.ones((2, 4, 1, 8), int)}, DtypeError, "all must be floating"),
    ({3: np.zeros((2, 2))}, DtypeError, "both must be integer"),
    ({3: np.zeros((1, 2), int)}, ShapeError, "for 2 texts; they must be"),
    ({3: np.full((2, 2), 99)}, InputError, "the pool has pages 0 to"),
    ({4: np.array([3, 99])}, InputError, "99 keys, and a text has room for 10"),
    ({0: hp.asarray(np.ones((2, 4, 1, 8)), requires_grad=True)}, GraphError, "there is no gradient; use hp.attention"),
])
def test_wrong_input(change: dict[int, Any], error: type[Exception], text: str) -> None:
    arrays = made(5, [3, 4])
    for i, x in change.items():
        arrays[i] = x
    with pytest.raises(error, match=text):
        hp.paged_attention(*arrays)
    with pytest.raises(InputError, match="window=-1 must be 0 or more"):
        hp.paged_attention(*made(5, [3, 4]), window=-1)
    with pytest.raises(InputError, match="must be a finite number"):
        hp.paged_attention(*made(5, [3, 4]), scale=np.nan)
