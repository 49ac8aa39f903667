"""PyTorch functions and modules inside a Hyperion graph.

Each call is one operation. Torch records its own graph while that operation runs, and keeps it in the operation's parameter: the vjp is a
pass over that graph, recorded by torch in turn if Hyperion records, hence an operation of the same kind; so derivatives go to any order
without running the function again. The jvp is the transpose of the pullback, which is linear (Townsend 2017, "A new trick for calculating
Jacobian vector products"), or torch.func.jvp where torch cannot differentiate a backward pass.
"""

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hyperion.autograd.batching import at_levels
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Leaf, state
from hyperion.autograd.ops.shaping import stack
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.autograd.trees import flatten, unflatten
from hyperion.errors import GraphError, InputError
from hyperion.gpu import device
from hyperion.interop.exchange import plain, tensor_of, torch_module, torch_of

__all__ = ["from_torch"]

TENSOR = object()      # stands where a tensor goes in a result


def from_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of torch tensors, or a torch.nn.Module, as one of Tensors that takes part in Hyperion's graph, to any order.

    function: of trees of torch tensors and anything else; returns a tree of torch tensors. It may use module parameters and other torch
        tensors that require gradients: they stay torch's, and `loss.backward()` adds to their `.grad`, so torch's optimizers train them.
        It must not write into its arguments.
    Returns: a function of the same trees with Tensors or arrays in place of torch tensors. Derivatives of all kinds and orders; inside
        vmap it runs example by example. Memory is shared, not copied.
    Raises: InputError if PyTorch is not installed; when called, GraphError if `function` writes into an argument.

    >>> import torch
    >>> import hyperion as hp
    >>> net = torch.nn.Linear(2, 1)
    >>> loss = hp.sum(from_torch(net)(hp.asarray([[1.0, 2.0]])) * 3.0)
    >>> loss.backward()
    >>> net.weight.grad
    tensor([[3., 6.]])
    """
    torch = torch_module("interop.from_torch(function)")
    if not callable(function):
        raise InputError(f"from_torch(function): function is a {type(function).__name__}; give a function of torch tensors or a Module")
    parameters = _Parameters(function.parameters if isinstance(function, torch.nn.Module) else list)

    @functools.wraps(function.forward if isinstance(function, torch.nn.Module) else function)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) or device.is_array(leaf)]
        inputs = [as_tensor(leaves[i]) for i in places]
        result: list[Any] = []      # its structure, and its leaves without the tensors

        def flat(*tensors: Any) -> list[Any]:
            full = list(leaves)
            for i, x in zip(places, tensors, strict=True):
                full[i] = x
            new_args, new_kwargs = unflatten(structure, full)
            values, shape = flatten(function(*new_args, **new_kwargs))
            result[:] = [shape, [TENSOR if isinstance(x, torch.Tensor) else x for x in values]]
            return [x for x in values if isinstance(x, torch.Tensor)]

        found: Any = None
        for last in (False, True):
            used = parameters.current() if state.recording else []
            outside = [parameters.tensor(x) for x in used]
            run = _Call(flat, used, [x.data for x in outside], [x.tracked for x in inputs], state.recording, strict=not last)
            try:
                found = iter(torch_function(*outside, *inputs, call=run))
                break
            except _Unknown as error:
                met = error.references
            del run
            parameters.more += [x for x in (reference() for reference in met) if x is not None]
        return unflatten(result[0], [next(found) if x is TENSOR else x for x in result[1]])

    return call


# Torch tensors that require gradients and are no arguments: module parameters


class _ParameterLeaf(Leaf):
    """The place in Hyperion's graph of a torch tensor that requires a gradient. Its gradient is the torch tensor's."""

    __slots__ = ("source",)

    def __init__(self, source: Any) -> None:
        self.source: Any = None
        super().__init__()
        self.source = source

    @property
    def grad(self) -> Tensor | None:      # pyright: ignore[reportIncompatibleVariableOverride]
        """The torch tensor's `.grad`, conjugated if complex: the conventions differ."""
        return None if self.source is None or self.source.grad is None else tensor_of(self.source.grad.conj())

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if self.source is not None:
            # A copy, since torch's optimizers write into gradients.
            self.source.grad = None if value is None else plain(torch_of(value.data, copy=True).conj())


class _Parameters:
    """The torch tensors with gradients that a function uses besides its arguments, as Tensors that share their memory.

    listed: a function that lists those of a module.  more: those that a run has met besides.
    """

    def __init__(self, listed: Callable[[], Any]) -> None:
        self.listed = listed
        self.more: list[Any] = []
        self.made: dict[int, tuple[Any, Any, Tensor]] = {}      # by identity: the torch tensor, its state then, and the Tensor

    def current(self) -> list[Any]:
        """Return the torch tensors that require gradients now."""
        return [x for x in (*self.listed(), *self.more) if x.requires_grad]

    def tensor(self, x: Any) -> Tensor:
        """Return the Tensor of one; a new one after an optimizer has changed its values."""
        now = (x._version, x.data_ptr())
        if id(x) not in self.made or self.made[id(x)][1] != now:
            self.made[id(x)] = (x, now, Tensor(tensor_of(x).data, _ParameterLeaf(x)))
        return self.made[id(x)][2]


class _Unknown(Exception):
    """A run met torch tensors that require gradients and were not known; the call is repeated with them as inputs.

    references: weak ones, so that tensors which the function itself made are gone when its run is dropped, and are not taken for others.
    """

    def __init__(self, tensors: list[Any]) -> None:
        super().__init__()
        self.references = [weakref.ref(x) for x in tensors]


def _nodes_of(outputs: Sequence[Any]) -> Iterator[Any]:
    """Yield the nodes of torch's graph that outputs depend on."""
    stack = [x.grad_fn for x in outputs if x.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for after, _ in node.next_functions:
            if after is not None and after not in seen:
                seen.add(after)
                stack.append(after)


def _leaves_of(outputs: Sequence[Any]) -> list[Any]:
    """Return the torch tensors that require gradients and that others were computed from."""
    found = [x for x in outputs if x.grad_fn is None and x.requires_grad]
    found += [node.variable for node in _nodes_of(outputs) if hasattr(node, "variable")]
    return list({id(x): x for x in found}.values())


# What the operation runs: a torch function, or a derivative of one. Each is a pure function of arrays


class _Run:
    """A function of torch tensors that is run on arrays; torch's graph of the latest run is kept if `graph`.

    arrays, inputs, outputs: of the latest run: raw arrays, and the ends of torch's graph.
    """

    def __init__(self, root: "_Call | None", graph: bool) -> None:
        self.above = root
        self.graph = graph
        self.arrays: tuple[Any, ...] = ()
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    @property
    def root(self) -> Any:
        """The call of the function itself."""
        return self if self.above is None else self.above      # not kept as a reference to itself: that would be a cycle

    def __repr__(self) -> str:
        return self.root.name

    def __call__(self, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the results as arrays."""
        self.need(arrays)
        found = tuple([tensor_of(x).data for x in self.outputs])
        if not self.graph:
            self.arrays, self.inputs, self.outputs = (), [], []
        return found

    def need(self, arrays: tuple[Any, ...], wanted: Sequence[int] = ()) -> None:
        """Run, unless the latest run was with these arrays and has a graph that reaches the inputs `wanted`."""
        same = len(self.arrays) == len(arrays) and all(a is b for a, b in zip(arrays, self.arrays, strict=True))
        if same and self.inputs and all(_reached(self.inputs[i]) for i in wanted):
            return
        self.inputs, self.outputs = self.compute(arrays, wanted)
        self.arrays = arrays

    def compute(self, arrays: tuple[Any, ...], wanted: Sequence[int]) -> tuple[list[Any], list[Any]]:
        """Return inputs and outputs as torch tensors, joined by torch's graph if one is kept or inputs are wanted."""
        raise NotImplementedError

    def fresh(self) -> "_Run":
        """Return the same without a graph of its own."""
        raise NotImplementedError


class _Call(_Run):
    """A torch function, on the arrays of its parameters and then those of its arguments.

    function: of the arguments as torch tensors; returns a list of torch tensors.
    parameters, values: torch tensors it uses besides, and the arrays that share their memory.
    active: whether each argument may be differentiated.  strict: other torch tensors that require gradients raise _Unknown.
    used: numbers of the parameters that the outputs depend on.
    """

    def __init__(
        self, function: Callable[..., list[Any]], parameters: Sequence[Any], values: Sequence[Any], active: Sequence[bool], graph: bool,
        strict: bool = False,
    ) -> None:
        super().__init__(None, graph)
        self.strict = strict
        self.function = function
        self.parameters = list(parameters)
        self.values = list(values)
        self.active = list(active)
        self.used: set[int] = set()
        self.name = getattr(function, "__qualname__", "torch function").partition(".")[0]

    def fresh(self) -> "_Call":
        return _Call(self.function, self.parameters, self.values, self.active, self.graph, self.strict)

    def compute(self, arrays: tuple[Any, ...], wanted: Sequence[int]) -> tuple[list[Any], list[Any]]:
        torch = torch_module("interop")
        count = len(self.parameters)
        if any(a is not b for a, b in zip(arrays, self.values, strict=False)):
            raise GraphError("from_torch(function): its parameters were replaced by other values; make them arguments of the function")
        graph = self.graph or bool(wanted)
        inputs = [torch_of(data) for data in arrays[count:]]
        for i, x in enumerate(inputs):
            x.requires_grad_(graph and _differentiable(x) and (self.active[i] or count + i in wanted))
        versions = [x._version for x in inputs]
        with torch.set_grad_enabled(graph):
            outputs = self.function(*inputs)
        if versions != [x._version for x in inputs]:
            raise GraphError(
                "from_torch(function): the function wrote into an argument, whose memory is shared with a Tensor, and Tensors do not "
                "change; clone() it first"
            )
        leaves = {id(x): x for x in _leaves_of(outputs)} if graph else {}
        known = {id(x): i for i, x in enumerate(self.parameters)}
        unknown = [x for key, x in leaves.items() if key not in known and all(x is not y for y in inputs)]
        if unknown and self.strict:
            raise _Unknown(unknown)
        self.used = {known[key] for key in leaves if key in known}
        return [*self.parameters, *inputs], list(outputs)


class _Pull(_Run):
    """The pullback of a run: on its arrays and then cotangents of the outputs `seeds`; gives those of the inputs `wanted`."""

    def __init__(self, parent: _Run, seeds: tuple[int, ...], wanted: tuple[int, ...], graph: bool) -> None:
        super().__init__(parent.root, graph)
        self.parent = parent
        self.seeds = seeds
        self.wanted = wanted

    def fresh(self) -> "_Pull":
        return _Pull(self.parent, self.seeds, self.wanted, self.graph)

    def compute(self, arrays: tuple[Any, ...], wanted: Sequence[int]) -> tuple[list[Any], list[Any]]:
        count = len(arrays) - len(self.seeds)
        graph = self.graph or bool(wanted)
        self.parent.need(arrays[:count], (*self.wanted, *(i for i in wanted if i < count)))
        cotangents = [torch_of(data).requires_grad_(graph) for data in arrays[count:]]
        outputs, inputs = [self.parent.outputs[i] for i in self.seeds], [self.parent.inputs[i] for i in self.wanted]
        return [*self.parent.inputs, *cotangents], _transposed(outputs, inputs, cotangents, graph)


class _Push(_Run):
    """The directional derivative of a run: on its arrays and then tangents of the inputs `moving`; gives those of the outputs `results`."""

    def __init__(self, parent: _Run, moving: tuple[int, ...], results: tuple[int, ...], graph: bool) -> None:
        super().__init__(parent.root, graph)
        self.parent = parent
        self.moving = moving
        self.results = results

    def fresh(self) -> "_Push":
        return _Push(self.parent, self.moving, self.results, self.graph)

    def compute(self, arrays: tuple[Any, ...], wanted: Sequence[int]) -> tuple[list[Any], list[Any]]:
        torch = torch_module("interop")
        count = len(arrays) - len(self.moving)
        graph = self.graph or bool(wanted)
        self.parent.need(arrays[:count], (*self.moving, *(i for i in wanted if i < count)))
        tangents = [torch_of(data).requires_grad_(graph) for data in arrays[count:]]
        outputs, inputs = [self.parent.outputs[i] for i in self.results], [self.parent.inputs[i] for i in self.moving]
        seeds = [torch.zeros_like(x, requires_grad=True) for x in outputs]
        try:
            back = _transposed(outputs, inputs, seeds, True)
            found = _transposed(back, seeds, tangents, graph)
        except RuntimeError as error:
            found = self._forward(inputs, tangents, error)
        return [*self.parent.inputs, *tangents], found

    def _forward(self, inputs: list[Any], tangents: list[Any], error: RuntimeError) -> list[Any]:
        """Return the tangents by torch's forward mode, where a backward pass cannot be differentiated."""
        torch = torch_module("interop")
        parent = self.parent
        if not isinstance(parent, _Call):
            raise GraphError(f"from_torch({self}): PyTorch cannot differentiate its derivative forward: {error}") from error
        count = len(parent.parameters)

        def moved(*parts: Any) -> tuple[Any, ...]:
            full = parent.inputs[count:]
            for i, x in zip(self.moving, parts, strict=True):
                full[i - count] = x
            outputs = parent.function(*full)
            return tuple(outputs[i] for i in self.results)

        try:
            return list(torch.func.jvp(moved, tuple(inputs), tuple(tangents))[1])
        except RuntimeError as second:
            raise GraphError(
                f"from_torch({self}): PyTorch can neither differentiate its backward pass ({error}) nor run it in forward mode "
                f"({second}); use vjp or grad"
            ) from second


def _transposed(outputs: list[Any], inputs: list[Any], cotangents: list[Any], graph: bool) -> list[Any]:
    """Return cotangents of inputs, without conjugation (torch conjugates what it is given and what it returns)."""
    torch = torch_module("interop")
    ends = [(x, g.conj()) for x, g in zip(outputs, cotangents, strict=True) if x.requires_grad]
    starts = [x for x in inputs if x.requires_grad]
    if any(node.name() == "torch::autograd::Error" for node in _nodes_of([x for x, _ in ends])):
        # Torch itself would leave out what comes through it, and return the rest as the derivative.
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")
    found: Any = iter(())
    if ends and starts:
        found = iter(torch.autograd.grad(
            [x for x, _ in ends], starts, [g for _, g in ends], create_graph=graph, retain_graph=True, allow_unused=True
        ))
    gradients = [next(found, None) if x.requires_grad else None for x in inputs]
    return [torch.zeros_like(x, requires_grad=False) if g is None else g.conj() for g, x in zip(gradients, inputs, strict=True)]


def _differentiable(x: Any) -> bool:
    return x.is_floating_point() or x.is_complex()


def _reached(x: Any) -> bool:
    return x.requires_grad or not _differentiable(x)


# The operation and its rules


def _forward(xp: Any, *arrays: Any, call: _Run) -> tuple[Any, ...]:
    with at_levels(()):      # a Hyperion function within the torch function sees none of the vmaps around
        return call(arrays)


def _vjp(g: Sequence[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, call: _Run) -> list[Tensor | None]:
    given = [cotangent for cotangent in g if cotangent is not None]
    unused = set(range(len(call.root.parameters))) - call.root.used
    wanted = tuple(i for i, x in enumerate(inputs) if x.tracked and i not in unused)
    seeds = tuple(i for i, cotangent in enumerate(g) if cotangent is not None)
    record = state.recording and any(x.tracked for x in (*inputs, *given))
    found = torch_function(*inputs, *given, call=_Pull(call, seeds, wanted, record))
    cotangents: list[Tensor | None] = [None] * len(inputs)
    for i, cotangent in zip(wanted, found, strict=True):
        cotangents[i] = cotangent
    return cotangents


def _jvp(tangents: Sequence[Tensor | None], out: Sequence[Tensor], *inputs: Tensor, call: _Run) -> tuple[Tensor | None, ...]:
    given = [tangent for tangent in tangents if tangent is not None]
    moving = tuple(i for i, tangent in enumerate(tangents) if tangent is not None)
    results = tuple(i for i, x in enumerate(out) if is_inexact(x.dtype))
    record = state.recording and any(x.tracked for x in (*inputs, *given))
    found = iter(torch_function(*inputs, *given, call=_Push(call, moving, results, record)))
    return tuple(next(found) if i in results else None for i in range(len(out)))


def _batch(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> tuple[Tensor, ...]:
    """Run example by example, each with a graph of its own."""
    size = next(x.shape[0] for x, has in zip(inputs, batched, strict=True) if has)
    if not size:
        raise InputError("vmap: a torch function works example by example, and there are none; give at least one")
    rows = [op(*(x[i] if has else x for x, has in zip(inputs, batched, strict=True)), call=params["call"].fresh()) for i in range(size)]
    return tuple([stack(parts) for parts in zip(*rows, strict=True)])


torch_function = Primitive(
    "torch_function", "general", _forward, _vjp, _jvp, outputs=None, batch=_batch, register=False, doc="Run a torch function."
)
