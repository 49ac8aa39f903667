"""The summary of a network: shapes, parameters, operations counted from what is recorded, memory; and it leaves the network as it was."""

from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import InputError, ShapeError


class Heads(nn.Module):
    """Two uses of one layer, and products of its own."""

    def __init__(self) -> None:
        self.shared = nn.Linear(4, 4)
        self.embedding = nn.Embedding(10, 4).freeze()

    def forward(self, ids: Any) -> Any:
        x = self.embedding(ids)
        q, k = self.shared(x), self.shared(x)
        return hp.softmax(q @ k.mT) @ x


COSTS: dict[str, tuple[Any, Any, int]] = {
    "linear": (nn.Linear(3, 4), np.ones((5, 3), np.float32), 5 * 4 * (2 * 3 + 1)),
    "linear_plain": (nn.Linear(3, 4, bias=False), np.ones((2, 5, 3), np.float32), 2 * 5 * 4 * 2 * 3),
    "conv": (nn.Conv2d(4, 6, 3, groups=2, bias=False), np.ones((2, 4, 8, 8), np.float32), 2 * 2 * 6 * 6 * 6 * 2 * 9),
    "transposed": (nn.ConvTranspose1d(3, 2, 4, stride=2, bias=False), np.ones((1, 3, 5), np.float32), 2 * 3 * 5 * 2 * 4),
    "einsum": (nn.Activation(lambda x: hp.einsum("bi,bj->ij", x, x)), np.ones((5, 3), np.float32), 2 * 5 * 3 * 3),
    "fft": (nn.Activation(lambda x: hp.real(hp.fft.fft(x))), np.ones((4, 8), np.complex64), 5 * 32 * 3 + 32),
    "views": (nn.Flatten(), np.ones((2, 3, 4), np.float32), 0),
    "tanh": (nn.Activation(hp.tanh), np.ones((2, 3), np.float32), 6),
    "softmax": (nn.Activation(hp.softmax), np.ones((2, 3), np.float32), 6),
    "attention": (Heads(), np.zeros((2, 5), np.int64), 2 * (10 * 4 * 9) + 2 * (2 * 25 * 4) + 50 + 2 * (2 * 5 * 4 * 5)),
}


@pytest.mark.parametrize("name", COSTS)
def test_operations_are_counted(name: str) -> None:
    model, x, expected = COSTS[name]
    assert nn.summary(model, x).flops == expected


def test_each_module_has_its_own_numbers() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm(4), nn.Sequential(nn.Flatten(), nn.Linear(40, 3)), nn.Dropout(0.5))
    found = nn.summary(model, np.ones((5, 2, 10), np.float32))
    rows = {name: row for name, *row in found.rows}
    assert [row[:3] for row in rows.values()] == [
        ["Sequential", "(5, 3)", 28 + 8 + 123], ["Conv1d", "(5, 4, 10)", 28], ["BatchNorm", "(5, 4, 10)", 8], ["Sequential", "(5, 3)", 123],
        ["Flatten", "(5, 40)", 0], ["Linear", "(5, 3)", 123], ["Dropout", "(5, 3)", 0],
    ]
    assert rows["2"][3] == rows["2.1"][3] == 5 * 3 * 81
    assert rows[""][3] == found.flops == sum(rows[name][3] for name in ("0", "1", "2"))
    assert rows["2.0"][4] == 0 and rows["2.1"][4] == 5 * 3 * 4          # a view takes no memory; float32 does
    assert found.parameters == 159 and found.frozen == 9 and found.weight_bytes == 4 * (159 + 8) + 8
    lines = str(found).splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1 and "159 parameters" in lines[-1] and "    2.1" in str(found)


def test_the_network_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(2), nn.Dropout(0.5))
    model[1].eval()
    before = {name: (id(x), x.data.copy()) for name, x in {**model.named_parameters(), **model.named_buffers()}.items()}
    nn.summary(model, np.ones((4, 3), np.float32))
    for name, x in {**model.named_parameters(), **model.named_buffers()}.items():
        assert id(x) == before[name][0]
        np.testing.assert_array_equal(x.data, before[name][1])
    assert [module.training for _, module in model.named_modules()] == [True, True, False, True]
    assert not any("forward" in module.__dict__ for _, module in model.named_modules())
    with pytest.raises(ShapeError, match="last axis must have length 3"):
        nn.summary(model, np.ones((4, 5), np.float32))
    assert not any("forward" in module.__dict__ for _, module in model.named_modules())


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="model is a function"):
        nn.summary(lambda x: x, 1.0)            # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="without Tensors"):
        nn.summary(nn.Activation(lambda x: "text"), 1.0)
