"""Trees: containers in and out, and errors that name the place."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest

from hyperion.autograd import asarray, grad, tree_map, value_and_grad, vjp
from hyperion.autograd.trees import flatten, flatten_like, paths, unflatten
from hyperion.errors import InputError, TreeError


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    weight: Any
    bias: Any

    def __post_init__(self) -> None:
        if isinstance(self.weight, str):
            raise TypeError("constructor ran on a placeholder")


class Pair(NamedTuple):
    first: Any
    second: Any


TREE = {"layers": [Layer(1.0, 2.0), Layer(3.0, None)], "pair": Pair((4.0,), []), "last": 5.0}


def test_round_trip_keeps_types_order_and_empty_parts() -> None:
    leaves, structure = flatten(TREE)
    assert leaves == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert unflatten(structure, leaves) == TREE
    assert list(paths(structure)) == [
        "['layers'][0].weight", "['layers'][0].bias", "['layers'][1].weight", "['pair'][0][0]", "['last']"
    ]
    assert structure == flatten(tree_map(lambda x: -x, TREE))[1]
    assert hash(structure) == hash(flatten(TREE)[1])


def test_a_dataclass_is_rebuilt_without_its_constructor() -> None:
    _, structure = flatten(Layer(1.0, 2.0))
    assert unflatten(structure, ["placeholder", 0]).weight == "placeholder"


def test_a_leaf_alone_is_a_tree() -> None:
    assert flatten(3.0)[0] == [3.0]
    assert tree_map(lambda x, y: x + y, 3.0, 4.0) == 7.0


def test_order_of_dict_keys_does_not_matter_when_matching() -> None:
    assert tree_map(lambda x, y: (x, y), {"a": 1, "b": 2}, {"b": 20, "a": 10}) == {"a": (1, 10), "b": (2, 20)}


@pytest.mark.parametrize(("other", "where"), [
    ({"w": [1.0], "b": 2.0}, r"tree\['w'\] has the entries \[0\]"),
    ({"w": (1.0, 2.0), "b": 2.0}, r"tree\['w'\] is a tuple, .* list there"),
    ({"w": [1.0, 2.0]}, r"tree has the entries \['w'\], .*\['w', 'b'\]"),
    ({"w": [1.0, 2.0], "b": {}}, r"tree\['b'\] is a dict, .* leaf there"),
    ({"w": 1.0, "b": 2.0}, r"tree\['w'\] is a float, .* list there"),
])
def test_a_mismatch_names_the_place(other: Any, where: str) -> None:
    with pytest.raises(TreeError, match=where):
        flatten_like(flatten({"w": [1.0, 2.0], "b": 3.0})[1], other)


def test_a_wrong_number_of_leaves_is_refused() -> None:
    with pytest.raises(TreeError, match="got 1 leaves"):
        unflatten(flatten([1.0, 2.0])[1], [1.0])


def test_gradients_are_trees_like_the_argument() -> None:
    parameters = {"layer": Layer(np.array([1.0, 2.0]), np.array(3.0)), "scale": (np.array(4.0), None)}

    def loss(p: Any, x: Any) -> Any:
        return ((p["layer"].weight * x).sum() + p["layer"].bias) * p["scale"][0]

    value, gradient = value_and_grad(loss)(parameters, np.array([5.0, 6.0]))
    assert float(value) == 4.0 * (5.0 + 12.0 + 3.0)
    assert isinstance(gradient["layer"], Layer)
    np.testing.assert_array_equal(gradient["layer"].weight, [20.0, 24.0])
    assert (float(gradient["layer"].bias), float(gradient["scale"][0]), gradient["scale"][1]) == (4.0, 20.0, None)


def test_argnums_keywords_and_aux() -> None:
    def loss(x: Any, y: Any, *, power: int) -> Any:
        return (x * y) ** power, {"sum": x + y, "note": "kept"}

    both = value_and_grad(lambda x, y, power: loss(x, y, power=power), argnums=(0, 1), has_aux=True)
    (value, aux), (gx, gy) = both(3.0, 2.0, power=2)
    assert (float(value), float(gx), float(gy), float(aux["sum"]), aux["note"]) == (36.0, 24.0, 36.0, 5.0, "kept")
    assert not value.tracked and not aux["sum"].tracked
    assert float(grad(lambda x, y: x * y, argnums=-1)(3.0, 2.0)) == 3.0


@pytest.mark.parametrize("argnums", [2, -3, (), (0, 2), "x", 1.0, True])
def test_wrong_argnums_are_refused(argnums: Any) -> None:
    with pytest.raises(InputError, match="argnums="):
        grad(lambda x, y: x * y, argnums=argnums)(1.0, 2.0)


def test_pullback_of_a_tree_takes_a_tree() -> None:
    value, pullback = vjp(lambda x: {"double": 2.0 * x, "square": x * x}, asarray(3.0, dtype="float64"))
    assert float(value["square"]) == 9.0
    (g,) = pullback({"double": 1.0, "square": 10.0})
    assert float(g) == 62.0
    with pytest.raises(TreeError, match="cotangent has the entries"):
        pullback({"double": 1.0})
