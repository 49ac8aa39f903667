"""What a call of a function depends on: its arguments, and what it finds around it; as a key, as places of arrays, and as things to watch.

The walk goes through arguments (trees, Modules, optimisers) and through the variables that the function and the functions it calls look up.
It stops at the doors of libraries. What it finds is sorted into three kinds:

arrays      Tensors and NumPy arrays: inputs of the program, read anew in every run
statics     numbers, text, structure: part of the key; where one is another, another program serves
places      (container, key, value): what must still stand there for a program to be run again without another walk
"""

import argparse
import functools
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched
from hyperion.autograd.freezing import uses
from hyperion.autograd.graph import Leaf
from hyperion.autograd.random.generator import Generator
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.gpu import device

__all__ = ["Surroundings", "kind_of"]

ATOMS = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis), np.dtype)
LIBRARIES = frozenset({"hyperion", "numpy", "scipy", "ml_dtypes", "cupy", "cupyx", "torch", "jax", "__future__"})
SHELLS = ("_kinds",)        # attributes of Modules that follow from the others


class Surroundings:
    """The walk through the arguments of one call and what is around the function.

    key: hashable; equal for calls that one program serves.  tensors: those found, each once, in the order of the walk.
    origins: of each the number of its place, or the leaf whose gradient it is; None for an argument.
    places: what was found where: (container, key, value).  cells: the same of the variables of closures.
    sizes: (container, length).  tracked: why the function must run as it is, or an empty text.  apart: the same, if the cause are
    several devices.  place: the device of the Tensors.
    computed: whether a Tensor was computed from one that requires a gradient, or a transform goes through it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.parts: list[Any] = []
        self.tensors: list[Tensor] = []
        self.origins: list[Any] = []            # of the Tensors: the number of the place where each was found, the leaf whose grad it is
        self.repeated: set[int] = set()         # ids of Tensors that were met more than once
        self.places: list[tuple[Any, Any, Any]] = []
        self.cells: list[tuple[Any, Any]] = []
        self.sizes: list[tuple[Any, int]] = []
        self.tracked = ""
        self.computed = False
        self.apart = ""
        self.place = "cpu"
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []
        self._function(function)

    @property
    def key(self) -> tuple[Any, ...]:
        """What the call looks like, without the values of arrays."""
        return tuple(self.parts)

    def argument(self, value: Any) -> Any:
        """Visit an argument; return it with NumPy arrays as Tensors."""
        if isinstance(value, np.ndarray | np.generic):
            value = as_tensor(value)
        kind = kind_of(value)
        named = hasattr(kind, "_fields") and issubclass(kind, tuple)
        if kind in (list, tuple) or named:
            self.parts.append((kind, len(value)))
            items = [self.argument(x) for x in value]
            return kind(*items) if named else kind(items)       # pyright: ignore[reportUnknownVariableType]
        if kind is dict:
            self.parts.append((dict, tuple(value)))
            return {name: self.argument(x) for name, x in value.items()}
        self.visit(value)
        return value

    def visit(self, value: Any) -> None:
        """Visit anything."""
        kind = kind_of(value)
        if kind in ATOMS:
            self.parts.append((kind, value.hex() if kind is float else repr(value) if kind is complex else value))
        elif kind is Tensor or issubclass(kind, Tensor):
            self._tensor(value)
        elif id(value) in self._seen:
            self.parts.append(("again", self._seen[id(value)]))
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif issubclass(kind, np.ndarray):
            self._same(value)
        else:
            self._object(value, kind)

    def _enter(self, value: Any) -> bool:
        """Note an object as seen; False if it was before."""
        if id(value) in self._seen:
            self.parts.append(("again", self._seen[id(value)]))
            return False
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return True

    def _same(self, value: Any) -> None:
        """Take an object as it is: another one is another program."""
        self._kept.append(value)
        self.parts.append(("is", id(value)))

    def _object(self, value: Any, kind: Any) -> None:
        if kind in (list, tuple, set, frozenset):
            if not self._enter(value):
                return
            self.parts.append((kind, len(value)))
            if kind is list:
                self.sizes.append((value, len(value)))
                for i, item in enumerate(value):
                    self._place(value, i, item)
            else:
                for item in value:
                    self.visit(item)
        elif kind is dict or issubclass(kind, dict):
            if self._enter(value):
                self._dict(value, kind)
        elif isinstance(value, functools.partial):
            self.visit([value.func, value.args, value.keywords])        # pyright: ignore[reportUnknownMemberType]
        elif isinstance(value, types.MethodType):
            self.visit(value.__self__)
            self.visit(value.__func__)
        elif isinstance(value, Generator):
            self._same(value)
        elif isinstance(value, types.ModuleType | type | types.BuiltinFunctionType | np.ufunc):
            self._same(value)
            if isinstance(value, type) and not _is_library(value.__module__):
                self._class(value)
        elif hasattr(value, "__dict__"):
            self._instance(value, kind)
        else:
            self._same(value)

    def _dict(self, value: dict[Any, Any], kind: Any) -> None:
        self.parts.append((kind, len(value)))
        self.sizes.append((value, len(value)))
        for name, item in list(value.items()):
            self.parts.append(name if isinstance(name, str | int) else ("key", id(name)))
            self._place(value, name, item)

    def _instance(self, value: Any, kind: Any) -> None:
        if not self._enter(value):
            return
        own: dict[str, Any] = value.__dict__
        library = _is_library(kind.__module__) and kind not in (types.SimpleNamespace, argparse.Namespace)
        if hasattr(kind, "__tree__") or not library:        # Modules, and classes of the user's
            self.parts.append((kind, len(own)))
            self.sizes.append((own, len(own)))
            for name, item in list(own.items()):
                if name not in SHELLS:
                    self.parts.append(name)
                    self._place(own, name, item)
            self._class(kind)
            return
        self.parts.append(("is", id(value)))                # a finished object of a library: only Tensors in it, and what holds them
        for name, item in list(own.items()):
            if _holds_tensors(item):
                self._place(own, name, item)

    def _place(self, container: Any, name: Any, value: Any) -> None:
        self.places.append((container, name, value))
        if isinstance(value, Tensor):
            self._tensor(value, len(self.places) - 1)
        else:
            self.visit(value)

    def _tensor(self, x: Any, origin: Any = None) -> None:
        if isinstance(x, Batched):
            self.tracked = "it is called inside vmap"
            return
        if id(x) in self._seen:
            self.parts.append(("again", self._seen[id(x)]))
            self.repeated.add(id(x))
            return
        if isinstance(x.data, device.Standin):
            self.tracked = "it is called inside another function that is being recorded"
            return
        self._seen[id(x)] = len(self._seen)
        leaf = isinstance(x.node, Leaf)
        if x.node is not None and (not leaf or x.node.done):
            self.computed = True
        if not self.tensors:
            self.place = x.device
        elif x.device != self.place:
            self.tracked = self.apart = f"its Tensors are on {self.place} and on {x.device}"
        self.parts.append((Tensor, x.shape, x.dtype, leaf, x.device))
        self.tensors.append(x)
        self.origins.append(origin)
        if leaf:
            g = x.node.grad     # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
            if g is None:
                self.parts.append(None)
            else:
                self._tensor(g, x)

    # What a function looks up

    def _class(self, kind: type) -> None:
        """Visit what the methods of a class of the user's look up."""
        for one in kind.__mro__:
            if _is_library(one.__module__) or not self._enter(one):
                continue
            for name, item in list(vars(one).items()):
                inner: Any = getattr(item, "__func__", item)        # of a static or class method
                if isinstance(inner, types.FunctionType):
                    self._function(inner)
                elif type(inner) in ATOMS and name not in ("__doc__", "__module__", "__qualname__", "__firstlineno__"):
                    self._place(vars(one), name, inner)

    def _function(self, function: Any) -> None:
        """Visit the variables of a function: defaults, the closure's, and those of its module that its code names."""
        if not isinstance(function, types.FunctionType):
            if isinstance(function, functools.partial | types.MethodType) or hasattr(function, "__dict__"):
                self.visit(function)
            else:
                self._same(function)
            return
        if not self._enter(function):
            return
        self._kept.append(function.__code__)
        self.parts.append(("code", id(function.__code__)))
        if _is_library(str(function.__globals__.get("__name__", ""))) and not function.__closure__:
            return
        for item in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(item)
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:          # no value yet
                self.parts.append("empty")
                continue
            self.cells.append((cell, content))
            self.visit(content)
        if hasattr(function, "__wrapped__"):
            self.visit(function.__wrapped__)        # pyright: ignore[reportFunctionMemberAccess]
        outer: dict[str, Any] = function.__globals__
        if _is_library(str(outer.get("__name__", ""))):
            return
        for name in sorted(uses(function.__code__)[1] & outer.keys()):
            found = outer[name]
            self._place(outer, name, found)
            if isinstance(found, types.ModuleType) and not _is_library(found.__name__):
                self._module(found, function.__code__.co_names)

    def _module(self, module: types.ModuleType, names: Sequence[str]) -> None:
        """Visit what code may take from a module of the user's: `settings.rate`."""
        for name in sorted(set(names) & vars(module).keys()):
            self._place(vars(module), name, vars(module)[name])


def kind_of(value: Any) -> Any:
    """Return the class of a value."""
    return value.__class__


def _holds_tensors(value: Any) -> bool:
    kind = kind_of(value)
    return issubclass(kind, Tensor) or hasattr(kind, "__tree__") or (kind in (list, tuple) and any(map(_holds_tensors, value)))


@functools.lru_cache(maxsize=10000)
def _is_library(name: str) -> bool:
    """Tell whether a module is of Hyperion, of Python or of a library that functions may call without being looked into."""
    root = name.partition(".")[0]
    return root in LIBRARIES or (root in sys.stdlib_module_names and root != "__main__")
