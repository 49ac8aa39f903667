"""Module: a network or a part of one. A plain Python class; its parameters are found by attribute, and it is a tree of them."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from hyperion.autograd import Tensor, as_tensor, asarray
from hyperion.autograd.dtypes import as_dtype, complex_dtype, is_complex, is_inexact
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


def _of_kind(dtype: Any, kind: Any) -> Any:
    """Return the dtype of a kind's precision that an array can take without losing its imaginary part."""
    return complex_dtype(kind) if is_complex(dtype) and not is_complex(kind) else kind


class Module:
    """Base of networks and their parts. Write `__init__`, which sets attributes, and `forward`; call the object.

    Attributes that are Tensors with requires_grad are parameters; other Tensors are buffers (running statistics); Modules, and lists,
    tuples and dicts that hold Modules or Tensors, are parts. Names are paths: "blocks.0.attention.query.weight".
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
        kinds = self.__dict__.setdefault("_kinds", {})
        for path, tensor in _tensors(name, value):
            if kinds.get(path) != "parameter":
                kinds[path] = "parameter" if tensor.requires_grad else "buffer"
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        count = sum(x.size for x in self.parameters())
        return f"{type(self).__name__}, {count:,} parameters"

    # Parts by name

    def __tree__(self) -> dict[str, Any]:
        """Return all parameters by path, each once; see hyperion.autograd.trees."""
        return dict(self.named_parameters())

    def __with_tree__(self, parts: dict[str, Any]) -> "Module":
        """Return a copy with other parameters, each in all the places where the old one stood; everything else is shared."""
        own = self.named_parameters()
        return _rebuilt(self, {id(own[path]): part for path, part in parts.items()}, {})

    def _own(self) -> Iterator[tuple[str, Tensor, str]]:
        """Yield path, Tensor and kind of the Tensors that are not in a Module below: "parameter", "frozen" or "buffer"."""
        kinds = self.__dict__.get("_kinds", {})
        for name, value in self.__dict__.items():
            for path, tensor in _tensors(name, value):
                if path not in kinds:       # put into a list after it was set
                    kinds[path] = "parameter" if tensor.requires_grad else "buffer"
                yield path, tensor, kinds[path]

    def children(self) -> dict[str, "Module"]:
        """Return the Modules it is made of, by path."""
        return {path: part for name, value in self.__dict__.items() for path, part in _modules(name, value)}

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield itself and all Modules below, each once, with their first paths."""
        seen = {id(self)}
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            yield path, module
            inner: list[tuple[str, Module]] = []
            for name, child in module.children().items():
                if id(child) not in seen:
                    seen.add(id(child))
                    inner.append((f"{path}.{name}" if path else name, child))
            stack.extend(reversed(inner))

    def _named(self, *wanted: str) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for path, tensor, kind in module._own():
                if kind in wanted and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{prefix}.{path}" if prefix else path] = tensor
        return found

    def named_parameters(self) -> dict[str, Tensor]:
        """Return all parameters by path; one that is used in two places comes once, by its first path."""
        return self._named("parameter")

    def parameters(self) -> list[Tensor]:
        """Return all parameters, each once."""
        return list(self.named_parameters().values())

    def named_buffers(self) -> dict[str, Tensor]:
        """Return all buffers and frozen parameters by path: Tensors that are part of the state but not trained."""
        return self._named("buffer", "frozen")

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
        fresh: dict[str, Any] = {}
        for path, x in given.items():
            if x.shape == own[path].shape:
                fresh[path] = _converted(x, own[path], path, problems)
        if problems:
            raise FileError(f"{type(self).__name__}.load_state_dict: the state does not fit:\n  " + "\n  ".join(problems))
        parameters = self.named_parameters()
        changed: dict[int, Tensor] = {}
        for path, array in fresh.items():
            if path in parameters:
                parameters[path].assign(Tensor(array))
            else:
                changed[id(own[path])] = Tensor(array)
        self._replace(changed)

    def _replace(self, changed: dict[int, Tensor]) -> None:
        """Put other Tensors in the places of those with given ids, in place."""
        for _, module in self.named_modules():
            for name, value in list(module.__dict__.items()):
                if not name.startswith("_"):
                    module.__dict__[name] = _swapped(value, changed)

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
        changed: dict[int, Tensor] = {}
        for value in {**self.named_parameters(), **self.named_buffers()}.values():
            moved = value.detach()
            moved = moved if kind is None or not is_inexact(moved.dtype) else moved.astype(_of_kind(moved.dtype, kind))
            moved = moved if device is None else moved.to(device)
            changed[id(value)] = parameter(moved) if value.requires_grad else moved
        self._replace(changed)
        return self

    def freeze(self: Self, frozen: bool = True) -> Self:
        """Make its parameters constants (or parameters again), in place; they stay part of the state. Return it."""
        before, after = ("parameter", "frozen") if frozen else ("frozen", "parameter")
        changed = {id(x): x.detach() if frozen else parameter(x.detach()) for x in self._named(before).values()}
        for _, module in self.named_modules():
            kinds = module.__dict__.get("_kinds", {})
            for path, tensor, kind in list(module._own()):
                if kind == before and id(tensor) in changed:
                    kinds[path] = after
        self._replace(changed)
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


def _items(value: Any) -> Any:
    """Return the keys and values of a list, tuple or dict."""
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()


def _modules(name: str, value: Any) -> Iterator[tuple[str, Module]]:
    """Yield the Modules in an attribute, by path."""
    if name.startswith("_"):
        return
    if isinstance(value, Module):
        yield name, value
    for key, item in _items(value):
        yield from _modules(f"{name}.{key}", item)


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the Tensors in an attribute, by path."""
    if name.startswith("_"):
        return
    if isinstance(value, Tensor):
        yield name, value
    for key, item in _items(value):
        yield from _tensors(f"{name}.{key}", item)


def _swapped(value: Any, changed: dict[int, Any], rebuild: Callable[[Module], Module] | None = None) -> Any:
    """Return a value with other Tensors in the places of those with given ids; itself if nothing in it changes.

    rebuild: what to do with Modules in it; None: leave them.
    """
    if isinstance(value, Tensor):
        return changed.get(id(value), value)
    if isinstance(value, Module):
        return value if rebuild is None else rebuild(value)
    new = {key: _swapped(item, changed, rebuild) for key, item in _items(value)}
    if all(new[key] is item for key, item in _items(value)):
        return value
    if isinstance(value, dict):
        return type(value)(new)
    items = list(new.values())
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _rebuilt(module: Module, changed: dict[int, Any], done: dict[int, Module]) -> Module:
    """Return a copy of a Module and of those below with other Tensors."""
    if id(module) in done:
        return done[id(module)]
    made = done[id(module)] = copy.copy(module)
    for name, value in module.__dict__.items():
        if not name.startswith("_"):
            made.__dict__[name] = _swapped(value, changed, lambda part: _rebuilt(part, changed, done))
    return made


def _converted(value: Tensor, own: Tensor, path: str, problems: list[str]) -> Any:
    """Return a value of a state in the dtype and device of the Tensor it is for, or note why it cannot be."""
    array = np.array(devices.to_numpy(value.detach().data))
    if array.dtype.kind == "c" and own.dtype.kind != "c":
        problems.append(f"wrong dtype: {path} is {array.dtype}, must be {own.dtype}")
        return None
    with np.errstate(over="ignore"):
        fresh = array.astype(own.dtype, copy=False)
    if is_inexact(own.dtype) and is_inexact(array.dtype) and bool((np.isfinite(array) & ~np.isfinite(fresh)).any()):
        problems.append(f"too large: {path} has values that {own.dtype} does not hold")
        return None
    return devices.to_device(fresh, own.device)


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
