"""What all optimisers share: parameters as a tree with names, and both habits of use.

PyTorch's habit keeps tracked Tensors and calls `step`; the functional habit calls `advance(value_and_grad)` and reads
`optimizer.parameters`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, trees
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Leaf
from hyperion.errors import DtypeError, InputError, NonFiniteError
from hyperion.gpu import device

__all__ = ["Optimizer"]


class Optimizer(ABC):
    """Base of the optimisers.

    parameters: tree (a Tensor, dict, list, ...) of Tensors or arrays, what `model.parameters()` gives, or (name, Tensor) pairs.
    Raises: InputError if there are none, one comes twice, or one was computed (is no leaf of the graph); DtypeError if one is not floating.
    """

    stalled = False     # True when the last iteration found no better point

    def __init__(self, parameters: Any):
        self._leaves, self._structure, self._names = read_parameters(parameters)

    @property
    @abstractmethod
    def parameters(self) -> Any:
        """The tree of the current parameters: the Tensors that were passed, or arrays where arrays were passed."""

    @abstractmethod
    def step(self, closure: Callable[[], Any] | None = None) -> float | None:
        """Make one iteration on tracked Tensors (PyTorch's habit) and return the loss, or None without a closure.

        closure: () -> loss; it clears the gradients, computes the loss and calls `.backward()`.
        """

    @abstractmethod
    def advance(self, value_and_grad: Callable[[Any], tuple[Any, Any]]) -> float:
        """Make one iteration with a function of the tree of parameters that returns (value, tree of gradients); return the value."""

    @abstractmethod
    def restart(self, forget: bool = False) -> None:
        """Say that the function changes (another batch): its value is computed anew. forget: drop what was learnt of its shape too."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the state as a tree of NumPy arrays and numbers. The parameters are not part of it."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of `state_dict`; with the same parameters, the next step is bit-identical to the one not taken then."""

    def zero_grad(self) -> None:
        """Forget the gradients of the parameters."""
        for leaf in self._leaves:
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                leaf.grad = None

    def _assignable(self) -> bool:
        return all(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in self._leaves)

    def _refuse_unless_assignable(self) -> None:
        if not self._assignable():
            raise InputError("step(): not all parameters are Tensors with requires_grad=True; make them so, or use advance()")


def read_parameters(parameters: Any) -> tuple[list[Any], trees.Structure, list[str]]:
    """Return the leaves of parameters as given, their structure and their names, or refuse them."""
    parameters = listed(parameters)
    if _are_named(parameters):
        names = [name for name, _ in parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"parameters: the names {', '.join(twice)} come more than once; names must differ")
        parameters = dict(parameters)
        leaves, structure = trees.flatten(parameters)
    else:
        leaves, structure = trees.flatten(parameters)
        names = [f"parameters{path}" for path in trees.paths(structure)]
    if not leaves:
        raise InputError("parameters: the tree is empty; pass at least one Tensor or array")
    if len(names) != len(leaves):
        raise InputError("parameters: (name, Tensor) pairs must hold one Tensor each")
    _refuse_unfit(leaves, names)
    return leaves, structure, names


def listed(parameters: Any) -> Any:
    """Return what `model.parameters()` and other iterators give as a list; trees and leaves as they are."""
    is_tree = isinstance(parameters, Tensor | list | tuple | dict) or hasattr(parameters, "dtype")
    return parameters if is_tree or not isinstance(parameters, Iterable) else list(parameters)


def _are_named(parameters: Any) -> bool:
    return isinstance(parameters, list | tuple) and len(parameters) > 0 and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in parameters)


def _refuse_unfit(leaves: list[Any], names: list[str]) -> None:
    computed = [name for name, leaf in zip(names, leaves, strict=True)
                if isinstance(leaf, Tensor) and leaf.node is not None and not isinstance(leaf.node, Leaf)]
    if computed:
        raise InputError(f"parameters: {', '.join(computed)} were computed from other Tensors, so no gradient is kept there and they "
                         "cannot be assigned; pass Tensors made with requires_grad=True, or x.detach()")
    first: dict[int, str] = {}
    twice = []
    for name, leaf in zip(names, leaves, strict=True):
        if isinstance(leaf, Tensor) and leaf.node is not None:
            if id(leaf.node) in first:
                twice.append(f"{name} is {first[id(leaf.node)]}")
            first.setdefault(id(leaf.node), name)
    if twice:
        raise InputError(f"parameters: {', '.join(twice)}; a parameter that comes twice would be stepped twice: pass it once")
    kinds = [f"{name} is {raw(leaf).dtype}" for name, leaf in zip(names, leaves, strict=True) if not is_inexact(raw(leaf).dtype)]
    if kinds:
        raise DtypeError(f"parameters: {', '.join(kinds)}; optimisers need floating-point parameters, use .astype('float32')")


def raw(leaf: Any) -> Any:
    """Return the array of a Tensor, array or number; anything else is refused."""
    if isinstance(leaf, Tensor):
        return leaf.data
    if hasattr(leaf, "dtype"):
        return leaf
    try:
        return np.asarray(leaf)
    except ValueError as error:
        raise InputError(f"parameters: a {type(leaf).__name__} is no array ({error}); pass Tensors or arrays") from error


def number(value: Any) -> float:
    """Return a loss as a Python float."""
    if isinstance(value, Tensor):
        value = value.item()
    return float(value)


def is_finite(array: Any) -> bool:
    """Tell whether all values of an array are finite."""
    return bool(device.namespace(array).isfinite(array).all())


def finite_or_refuse(value: float, what: str) -> float:
    """Return the value; a NaN or infinite one cannot be optimised from."""
    if not math.isfinite(value):
        raise NonFiniteError(f"{what}: the value is {value}; optimisation needs a finite one at its start, check parameters and data")
    return value
