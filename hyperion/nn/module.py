"""Module: a network or a part of one. A plain Python class; its parameters are found by attribute, and it is a tree of them."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from hyperion.autograd import Tensor, as_tensor, asarray
from hyperion.autograd.dtypes import as_dtype, is_inexact
from hyperion.errors import FileError, InputError
from hyperion.gpu import device as devices

__all__ = ["Module", "capture", "parameter"]

Self = TypeVar("Self", bound="Module")


def parameter(value: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a value as a parameter: a Tensor that requires a gradient and holds a copy.

    >>> parameter([1.0, 2.0]).requires_grad
    True
    """
    return asarray(value, dtype=dtype, device=device, requires_grad=True)


class Module:
    """Base of networks and their parts. Write `__init__`, which sets attributes, and `forward`; call the object.

    Attributes that are Tensors with requires_grad are parameters; other floating Tensors are buffers (running statistics); Modules, and
    lists, tuples and dicts that hold Modules or parameters, are parts. Names are paths: "blocks.0.attention.query.weight".
    A Module is a tree of its parameters: `hp.grad(loss)(model, x)` gives a Module of gradients, `hp.tree_map` works, and
    `loss.backward(); optimizer.step()` works on `model.parameters()`.
    Every public function of a part is a method here; subclasses add only `__init__` and `forward`.

    >>> import hyperion as hp
    >>> class Affine(Module):
    ...     def __init__(self):
    ...         self.weight = parameter([2.0])
    ...         self.bias = parameter([1.0])
    ...     def forward(self, x):
    ...         return self.weight * x + self.bias
    >>> model = Affine()
    >>> model(3.0)
    Tensor (1,) float32, cpu, tracked: [7.]
    >>> hp.grad(lambda m: m(3.0).sum())(model).weight
    Tensor (1,) float32, cpu: [3.]
    """

    training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output. Written by each Module."""
        raise NotImplementedError(f"{type(self).__name__} has no forward; write forward(self, ...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return forward(...), passed through the hooks."""
        out = self.forward(*args, **kwargs)
        for hook in self.__dict__.get("_hooks", ()):
            changed = hook(self, args, out)
            out = out if changed is None else changed
        return out

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            kinds = self.__dict__.setdefault("_kinds", {})
            if kinds.get(name) != "parameter":
                kinds[name] = "parameter" if value.requires_grad else "buffer"
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        count = sum(x.size for x in self.parameters())
        return f"{type(self).__name__}, {count:,} parameters"

    # Parts by name

    def __tree__(self) -> dict[str, Any]:
        """Return parameters and Modules among the attributes, by path; see hyperion.autograd.trees."""
        parts: dict[str, Any] = {}
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                if self.__dict__["_kinds"][name] == "parameter":
                    parts[name] = value
            elif not name.startswith("_"):
                parts.update(_parts(name, value))
        return parts

    def __with_tree__(self, parts: dict[str, Any]) -> "Module":
        """Return a copy with other parts; everything else is shared."""
        made = copy.copy(self)
        fresh: dict[int, Any] = {}
        for path, part in parts.items():
            _place(made, path.split("."), part, fresh)
        return made

    def children(self) -> dict[str, "Module"]:
        """Return the Modules it is made of, by path."""
        return {name: part for name, part in self.__tree__().items() if isinstance(part, Module)}

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield itself and all Modules below, with their paths."""
        yield prefix, self
        for name, child in self.children().items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> dict[str, Tensor]:
        """Return all parameters by path; one that is used in two places comes once, by its first path."""
        found: dict[str, Tensor] = {}
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, part in module.__tree__().items():
                if isinstance(part, Tensor) and id(part) not in seen:
                    seen.add(id(part))
                    found[f"{prefix}.{name}" if prefix else name] = part
        return found

    def parameters(self) -> list[Tensor]:
        """Return all parameters, each once."""
        return list(self.named_parameters().values())

    def named_buffers(self) -> dict[str, Tensor]:
        """Return all buffers and frozen parameters by path: Tensors that are part of the state but not trained."""
        found: dict[str, Tensor] = {}
        for prefix, module in self.named_modules():
            for name, kind in module.__dict__.get("_kinds", {}).items():
                if kind != "parameter" and isinstance(module.__dict__.get(name), Tensor):
                    found[f"{prefix}.{name}" if prefix else name] = module.__dict__[name]
        return found

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers by path, as raw arrays that share memory."""
        return {name: x.data for name, x in {**self.named_parameters(), **self.named_buffers()}.items()}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Give parameters and buffers the values of a state; dtype and device stay those of the Module.

        strict: refuse missing and extra names; otherwise these are left alone.
        Raises: FileError that lists every missing and extra name and every wrong shape at once; then nothing was changed.
        """
        own = {**self.named_parameters(), **self.named_buffers()}
        problems: list[str] = []
        if strict:
            problems += [f"missing: {name} {own[name].shape}" for name in own if name not in state]
            problems += [f"unknown: {name}" for name in state if name not in own]
        given = {name: as_tensor(value) for name, value in state.items() if name in own}
        problems += [
            f"wrong shape: {name} is {x.shape}, must be {own[name].shape}" for name, x in given.items() if x.shape != own[name].shape
        ]
        if problems:
            raise FileError(f"{type(self).__name__}.load_state_dict: the state does not fit:\n  " + "\n  ".join(problems))
        for prefix, module in self.named_modules():
            for name, kind in list(module.__dict__.get("_kinds", {}).items()):
                path = f"{prefix}.{name}" if prefix else name
                if path in given and kind != "parameter":
                    object.__setattr__(module, name, given[path].detach().astype(own[path].dtype).to(own[path].device))
        parameters = self.named_parameters()
        for path, value in given.items():
            if path in parameters:
                fresh = np.array(devices.to_numpy(value.data)).astype(own[path].dtype, copy=False)
                parameters[path].assign(devices.to_device(fresh, own[path].device))

    # What it is set to

    def train(self: Self, mode: bool = True) -> Self:
        """Set training behaviour (dropout, batch statistics) in it and all its parts; return it."""
        for _, module in self.named_modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self: Self) -> Self:
        """Set evaluation behaviour; return it."""
        return self.train(False)

    def to(self: Self, device: str | None = None, dtype: Any = None) -> Self:
        """Move all floating Tensors to a device or dtype, in place; make optimisers afterwards. Return it."""
        kind = None if dtype is None else as_dtype(dtype)
        done: dict[int, Tensor] = {}
        for _, module in self.named_modules():
            for name, value in _tensors(module):
                if id(value) not in done:
                    moved = value.detach()
                    moved = moved if kind is None or not is_inexact(moved.dtype) else moved.astype(kind)
                    moved = moved if device is None else moved.to(device)
                    done[id(value)] = parameter(moved) if value.requires_grad else moved
                _place(module, name.split("."), done[id(value)], None)
        return self

    def freeze(self: Self, frozen: bool = True) -> Self:
        """Make its parameters constants (or parameters again), in place; they stay part of the state. Return it."""
        for _, module in self.named_modules():
            kinds = module.__dict__.get("_kinds", {})
            for name, kind in kinds.items():
                if kind == ("parameter" if frozen else "frozen"):
                    value = module.__dict__[name].detach()
                    object.__setattr__(module, name, value if frozen else parameter(value))
                    kinds[name] = "frozen" if frozen else "parameter"
        return self

    # Looking inside

    def register_forward_hook(self, hook: Callable[["Module", tuple[Any, ...], Any], Any]) -> Callable[[], None]:
        """Call hook(module, args, output) after every forward; what it returns, if not None, is the output instead.

        Returns: a function that removes the hook.
        """
        hooks: list[Any] = self.__dict__.setdefault("_hooks", [])
        hooks.append(hook)
        return lambda: hooks.remove(hook) if hook in hooks else None

    def note(self, name: str, value: Any) -> Any:
        """Show a value inside forward to `capture`, under a name; return it."""
        for keep in self.__dict__.get("_captures", ()):
            keep(name, value)
        return value


def _parts(name: str, value: Any) -> dict[str, Any]:
    """Return the Modules and parameters in an attribute, by path."""
    if isinstance(value, Module):
        return {name: value}
    if isinstance(value, Tensor):
        return {name: value} if value.requires_grad else {}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {path: part for key, item in items for path, part in _parts(f"{name}.{key}", item).items()}


def _place(owner: Any, path: list[str], part: Any, fresh: dict[int, Any] | None) -> Any:
    """Put a part at a path below a Module; containers on the way are copied (once: `fresh`) unless fresh is None."""
    key, *rest = path
    if isinstance(owner, Module):
        value = part if not rest else _place(_copied(owner.__dict__[key], fresh), rest, part, fresh)
        object.__setattr__(owner, key, value)
        return owner
    if isinstance(owner, dict):
        found = next(k for k in owner if str(k) == key)
        owner[found] = part if not rest else _place(_copied(owner[found], fresh), rest, part, fresh)
        return owner
    items = list(owner)
    items[int(key)] = part if not rest else _place(_copied(items[int(key)], fresh), rest, part, fresh)
    if isinstance(owner, list):
        owner[:] = items
        return owner
    return type(owner)(items)


def _copied(container: Any, fresh: dict[int, Any] | None) -> Any:
    if fresh is None or id(container) in fresh or isinstance(container, tuple):
        return container
    made = copy.copy(container)
    fresh[id(made)] = made
    return made


def _tensors(module: Module) -> list[tuple[str, Tensor]]:
    """Return the parameters and buffers of one Module, without those of its parts."""
    own = [(name, part) for name, part in module.__tree__().items() if isinstance(part, Tensor)]
    kinds = module.__dict__.get("_kinds", {})
    return own + [(name, module.__dict__[name]) for name, kind in kinds.items() if kind != "parameter"
                  and isinstance(module.__dict__.get(name), Tensor)]


@contextmanager
def capture(model: Module, *patterns: str) -> Iterator[dict[str, list[Any]]]:
    """Return a context that collects what Modules compute: their outputs, and what they `note` inside.

    patterns: paths of Modules ("blocks.0"), or of notes in them ("blocks.0.attention.weights"); * stands for one part of a path.
    Yields: a dict that fills with lists of values by path, in the order of computation.
    Raises: InputError if a pattern fits no Module.

    >>> class Twice(Module):
    ...     def forward(self, x):
    ...         return self.note("half", x) * 2.0
    >>> model = Twice()
    >>> with capture(model, "half") as found:
    ...     y = model(as_tensor(3.0))
    >>> found
    {'half': [Tensor () float32, cpu: 3.]}
    """
    found: dict[str, list[Any]] = {}
    undo: list[Callable[[], Any]] = []
    modules = dict(model.named_modules())
    for pattern in patterns:
        fits = [name for name in modules if _fits(pattern, name)]
        parents = [name for name in modules if name and _fits(pattern.rpartition(".")[0], name)]
        if "." not in pattern:
            parents.append("")
        if not fits and not parents:
            raise InputError(f"capture(model, {pattern!r}): no such path; there are {', '.join(name for name in modules if name)}")
        for name in fits:
            undo.append(modules[name].register_forward_hook(
                lambda _, args, out, name=name: found.setdefault(name, []).append(out)))
        for name in parents if not fits else ():
            captures: list[Any] = modules[name].__dict__.setdefault("_captures", [])
            wanted = pattern.rpartition(".")[2]

            def keep(note: str, value: Any, name: str = name, wanted: str = wanted) -> None:
                if wanted in ("*", note):
                    found.setdefault(f"{name}.{note}" if name else note, []).append(value)

            captures.append(keep)
            undo.append(lambda captures=captures, keep=keep: captures.remove(keep))
    try:
        yield found
    finally:
        for one in undo:
            one()


def _fits(pattern: str, name: str) -> bool:
    parts, names = pattern.split("."), name.split(".")
    return len(parts) == len(names) and all(part in ("*", given) for part, given in zip(parts, names, strict=True))
