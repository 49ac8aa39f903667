"""Trees: dicts, lists, tuples, named tuples, dataclasses and Modules whose leaves are Tensors, arrays or numbers. None is an empty tree.

Any class can be a container: `__tree__()` returns its parts as a dict, `__with_tree__(parts)` a copy of the object with other parts.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hyperion.errors import TreeError

__all__ = ["Structure", "contents", "flatten", "flatten_like", "paths", "tree_map", "unflatten"]


class Structure:
    """The shape of a tree without its leaves. Two are equal if trees of one can be matched with trees of the other.

    kind: the container type; None for a leaf.  keys: dict keys, field names or positions.  children: one Structure per key.
    model: the object that a copy is made of, for a container with parts that are no leaves; it does not count in comparisons.
    """

    __slots__ = ("children", "keys", "kind", "model")

    def __init__(
        self, kind: type[Any] | None, keys: "tuple[Any, ...]" = (), children: "tuple[Structure, ...]" = (), model: Any = None,
    ) -> None:
        self.kind = kind
        self.keys = keys
        self.children = children
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and (self.kind, self.keys, self.children) == (other.kind, other.keys, other.children)

    def __hash__(self) -> int:
        return hash((self.kind, self.keys, self.children))

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        inner = ", ".join(f"{key}: {child!r}" for key, child in zip(self.keys, self.children, strict=True))
        return f"{self.kind.__name__}({inner})"


LEAF = Structure(None)


def _is(kind: Any, *kinds: type) -> bool:
    return issubclass(kind, kinds)


def contents(tree: Any) -> tuple[type[Any] | None, tuple[Any, ...], tuple[Any, ...]]:
    """Return the kind of a container, its keys and its values; kind None for a leaf."""
    kind: Any = tree.__class__
    if tree is None:
        return kind, (), ()
    if _is(kind, dict):
        return kind, tuple(tree), tuple(tree.values())
    if _is(kind, tuple, list):
        return kind, tuple(range(len(tree))), tuple(tree)
    if hasattr(kind, "__tree__"):
        parts: dict[str, Any] = tree.__tree__()
        return kind, tuple(parts), tuple(parts.values())
    if hasattr(kind, "__dataclass_fields__"):
        names = tuple(field.name for field in dataclasses.fields(kind))
        return kind, names, tuple(getattr(tree, name) for name in names)
    return None, (), ()


def _part(path: str, kind: Any, key: Any) -> str:
    return f"{path}.{key}" if dataclasses.is_dataclass(kind) or hasattr(kind, "__tree__") else f"{path}[{key!r}]"


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Return the leaves of a tree from first to last, and its structure.

    >>> flatten({"w": [1.0, 2.0], "b": 3.0})
    ([1.0, 2.0, 3.0], dict(w: list(0: *, 1: *), b: *))
    """
    leaves: list[Any] = []
    return leaves, _collect(tree, leaves)


def _collect(tree: Any, leaves: list[Any]) -> Structure:
    """Add the leaves of a tree to a list, and return its structure."""
    kind, keys, values = contents(tree)
    if kind is None:
        leaves.append(tree)
        return LEAF
    model = tree if hasattr(kind, "__tree__") else None
    return Structure(kind, keys, tuple([_collect(value, leaves) for value in values]), model)


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """Return the tree of a structure with given leaves.

    A dataclass is rebuilt without its constructor, since leaves may stand for something else than its checks expect.
    Raises: TreeError if the number of leaves differs.

    >>> leaves, structure = flatten({"w": [1.0, 2.0], "b": 3.0})
    >>> unflatten(structure, [10.0, 20.0, 30.0])
    {'w': [10.0, 20.0], 'b': 30.0}
    """
    needed = sum(1 for _ in paths(structure))
    if len(leaves) != needed:
        raise TreeError(f"unflatten(structure, leaves): got {len(leaves)} leaves, but the structure {structure!r} has {needed}")
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure.kind is None:
        return next(leaves)
    values = [_build(child, leaves) for child in structure.children]
    kind: Any = structure.kind
    if kind is type(None):
        return None
    if _is(kind, dict):
        return kind(zip(structure.keys, values, strict=True))
    if _is(kind, tuple, list):
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    if structure.model is not None:
        return structure.model.__with_tree__(dict(zip(structure.keys, values, strict=True)))
    made = kind.__new__(kind)
    for name, value in zip(structure.keys, values, strict=True):
        object.__setattr__(made, name, value)
    return made


def paths(structure: Structure, start: str = "") -> Iterator[str]:
    """Yield where each leaf is, as it would be typed after the name of the tree.

    >>> list(paths(flatten({"w": [1.0, 2.0], "b": 3.0})[1]))
    ["['w'][0]", "['w'][1]", "['b']"]
    """
    if structure.kind is None:
        yield start
    for key, child in zip(structure.keys, structure.children, strict=True):
        yield from paths(child, _part(start, structure.kind, key))


def flatten_like(structure: Structure, tree: Any, name: str = "tree") -> list[Any]:
    """Return the leaves of a tree in the order of a structure that it must match. Keys of a dict may come in another order.

    name: how the tree is called in the error.
    Raises: TreeError that names the place where they differ.

    >>> flatten_like(flatten({"w": 1.0, "b": 2.0})[1], {"b": 20.0, "w": 10.0})
    [10.0, 20.0]
    """
    leaves: list[Any] = []
    _match(structure, tree, name, leaves)
    return leaves


def _match(structure: Structure, tree: Any, path: str, leaves: list[Any]) -> None:
    kind, keys, values = contents(tree)
    if structure.kind is None:
        if kind is not None:
            raise TreeError(f"{path} is a {kind.__name__}, but the tree it must match has a leaf there; give one value")
        leaves.append(tree)
        return
    if kind is not structure.kind:
        raise TreeError(f"{path} is a {type(tree).__name__}, but the tree it must match has a {structure.kind.__name__} there")
    if set(keys) != set(structure.keys):
        raise TreeError(f"{path} has the entries {list(keys)}, but the tree it must match has {list(structure.keys)}; they must agree")
    found = dict(zip(keys, values, strict=True))
    for key, child in zip(structure.keys, structure.children, strict=True):
        _match(child, found[key], _part(path, kind, key), leaves)


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return a tree of function(leaf, ...) for each leaf of a tree and the leaves at the same place in others.

    Raises: TreeError that names the place where the trees differ.

    >>> tree_map(lambda x, y: x + y, {"w": 1.0, "b": [2.0]}, {"w": 10.0, "b": [20.0]})
    {'w': 11.0, 'b': [22.0]}
    """
    leaves, structure = flatten(tree)
    rows = [flatten_like(structure, other, f"tree {i + 2}") for i, other in enumerate(others)]
    return unflatten(structure, [function(*row) for row in zip(leaves, *rows, strict=True)])
