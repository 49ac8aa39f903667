"""What masks tell kernels: intervals or bits say the same as the bools, and blocks are what they are called."""

import numpy as np
import pytest

from hyperion import nn
from hyperion.autograd import masks, visibility
from tests.autograd.test_attention import IDS, MASKS, expected_table


def table_of(form, batch=2, heads=4):
    keys = np.arange(form.keys)
    if isinstance(form, visibility.Intervals):
        seen = (form.first[..., None] <= keys) & (keys < form.last[..., None])
    else:
        seen = form.words[..., keys // 32] >> (keys % 32).astype(np.uint32) & 1
    return np.broadcast_to(seen, (batch, heads, form.queries, form.keys)).astype(bool)


def form_of(mask, queries, keys, batch=2, heads=4):
    mask = None if mask is None else masks.as_mask(mask)
    arrays = () if mask is None else [x.data for x in mask.arrays]
    return visibility.visibility(np, None if mask is None else mask.bare(), arrays, batch, heads, queries, keys)


@pytest.mark.parametrize("name", MASKS)
def test_forms_say_what_masks_say(name):
    form = form_of(MASKS[name], 7, 7)
    np.testing.assert_array_equal(table_of(form), expected_table(name))
    simple = {"none", "causal", "window", "left", "right", "document", "document and causal", "prefix", "prefixes"}
    assert isinstance(form, visibility.Intervals) == (name in simple)
    if isinstance(form, visibility.Intervals):
        assert (form.band is not None) == (name in {"none", "causal", "window", "left", "right"})
        assert form.first.dtype == form.last.dtype == np.int32
        assert form.first.flags.c_contiguous and 0 <= form.first.min() and form.last.max() <= 7


@pytest.mark.parametrize("mask", [
    nn.Causal(), nn.Causal(offset=3), nn.SlidingWindow(40, 3), nn.SlidingWindow(None, 70), nn.PrefixLM(50) & nn.SlidingWindow(30, 30),
    nn.Document(np.repeat([0, 4, -1, 2], [70, 33, 20, 90])), nn.Document(np.repeat([0, 1, 0], [70, 50, 93])),
    nn.BlockSparse(np.tri(4, dtype=bool) ^ np.tri(4, k=-2, dtype=bool), 64), np.zeros((150, 213), bool), np.ones((150, 213), bool),
])
@pytest.mark.parametrize("size", [(64, 32), (48, 64), (128, 128)])
def test_blocks_are_what_they_are_called(mask, size):
    form = form_of(mask, 150, 213, 1, 1)
    table, kinds = table_of(form, 1, 1)[0, 0], form.kinds(*size)[0, 0]
    assert kinds.shape == (-(-150 // size[0]), -(-213 // size[1]))
    for i, j in np.ndindex(kinds.shape):
        part = table[i * size[0]:(i + 1) * size[0], j * size[1]:(j + 1) * size[1]]
        assert kinds[i, j] in ((visibility.EMPTY, visibility.PARTIAL) if not part.any() else
                               (visibility.FULL,) if part.all() else (visibility.PARTIAL,))
        assert not (kinds[i, j] == visibility.PARTIAL and not part.any() and isinstance(form, visibility.Bits))
    kinds[:, -1] = np.minimum(kinds[:, -1], visibility.PARTIAL) if 213 % size[1] else kinds[:, -1]
    for turned in (False, True):
        counts, lists = (x[0, 0] for x in form.lists(*size, turned))
        for row, count, entries in zip(kinds.T if turned else kinds, counts, lists, strict=True):
            assert [2 * j + (kind == 1) for j, kind in enumerate(row) if kind] == entries[:count].tolist()
    beyond = form_of(mask, 150, 213, 1, 1).lists(150, 128)[1][0, 0, 0]
    assert all(entry & 1 for entry in beyond if entry // 2 == 1)       # 213 keys: the second block reaches beyond them


def test_documents_of_several_rows_and_of_the_last_queries():
    form = form_of(nn.Document(IDS), 3, 7, heads=1)
    assert isinstance(form, visibility.Intervals)
    same = (IDS[:, -3:, None] == IDS[:, None, :]) & (IDS >= 0)[:, None, :]
    np.testing.assert_array_equal(table_of(form, 2, 1)[:, 0], same)


def test_a_form_is_made_once_for_the_same_arrays():
    mask = nn.Document(IDS)
    assert form_of(mask, 7, 7) is form_of(mask, 7, 7)
    assert form_of(mask, 7, 7) is not form_of(nn.Document(IDS + 1), 7, 7)
