"""Shot batches: every pass covers all shots, the seed decides, the number alone tells the batch."""

import numpy as np
import pytest

from hyperion.errors import InputError
from hyperion.inversion import Batches


@pytest.mark.parametrize(("shots", "size"), [(16, 4), (16, 5), (7, 7), (7, 1), (5, 3)])
def test_each_pass_covers_every_shot_once(shots, size):
    batches = Batches(shots, size, seed=2)
    for lap in range(4):
        seen = np.concatenate([batches[lap * len(batches) + i] for i in range(len(batches))])
        assert sorted(seen) == list(range(shots))
        assert all(len(batches[lap * len(batches) + i]) <= size for i in range(len(batches)))


def test_passes_differ_and_seeds_differ():
    one, other = Batches(16, 4, seed=0), Batches(16, 4, seed=1)
    assert any(list(one[i]) != list(one[i + 4]) for i in range(4))
    assert any(list(one[i]) != list(other[i]) for i in range(4))


def test_a_batch_depends_on_its_number_only():
    assert list(Batches(16, 4, seed=5)[11]) == list(Batches(16, 4, seed=5)[11])


def test_no_size_means_all():
    assert list(Batches(3)[100]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("shots=0", lambda: Batches(0)),
        ("batch=9", lambda: Batches(8, 9)),
        ("batch=0", lambda: Batches(8, 0)),
        ("seed=-1", lambda: Batches(8, 2, seed=-1)),
        ("batch number", lambda: Batches(8, 2)[-1]),
    ],
)
def test_wrong_input_is_refused(match, call):
    with pytest.raises(InputError, match=match):
        call()


def test_parts_of_a_shot_are_refused():
    for call in (lambda: Batches(2.5, 1), lambda: Batches(5, 1.5), lambda: Batches(5, seed=0.5)):
        with pytest.raises(InputError, match="whole number"):
            call()
