"""PyTorch functions and modules inside a Hyperion graph.

Each call is one operation. Torch records its own graph while that operation runs, and keeps it in the operation's parameter: the vjp is a
pass over that graph, recorded by torch in turn if Hyperion records, hence an operation of the same kind; so derivatives go to any order
without running the function again. The jvp is the transpose of the pullback, which is linear (Townsend 2017, "A new trick for calculating
Jacobian vector products"), or torch.func.jvp where torch cannot differentiate a backward pass.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Leaf, state
from hyperion.autograd.sweeps import zeros_like
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.autograd.trees import flatten, unflatten
from hyperion.errors import GraphError, InputError
from hyperion.gpu import device
from hyperion.interop.exchange import plain, tensor_of, torch_module, torch_of

__all__ = ["from_torch"]


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
        raise InputError(f"from_torch(function): function is a {type(function).__name__}; it must be a function of torch tensors or a Module")
    parameters = _Parameters(function.parameters() if isinstance(function, torch.nn.Module) else ())

    @functools.wraps(function.forward if isinstance(function, torch.nn.Module) else function)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) or device.is_array(leaf)]
        inputs = [as_tensor(leaves[i]) for i in places]
        results: list[Any] = []
        shape: list[Any] = []

        def flat(*tensors: Any) -> list[Any]:
            full = list(leaves)
            for i, x in zip(places, tensors, strict=True):
                full[i] = x
            new_args, new_kwargs = unflatten(structure, full)
            results[:], found = flatten(function(*new_args, **new_kwargs))
            shape[:] = [found]
            return [x for x in results if isinstance(x, torch.Tensor)]

        while True:
            outside = parameters.tensors() if state.recording else []
            graph = state.recording and (bool(outside) or any(x.tracked for x in inputs))
            try:
                found = iter(torch_function(*outside, *inputs, call=_Run(flat, list(parameters.known), graph)))
                break
            except _Unknown as error:
                parameters.known += error.tensors
        return unflatten(shape[0], [next(found) if isinstance(x, torch.Tensor) else x for x in results])

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
    def grad(self, value: Tensor | None) -> None:      # pyright: ignore[reportIncompatibleVariableOverride]
        if self.source is not None:
            # A copy, since torch's optimizers write into gradients.
            self.source.grad = None if value is None else plain(torch_of(value.data, copy=True).conj())


class _Parameters:
    """The torch tensors that a function uses besides its arguments, as Tensors that share their memory.

    known: the torch tensors; found in the first run if not before.
    """

    def __init__(self, known: Any) -> None:
        self.known = [x for x in known if x.requires_grad]
        self.made: dict[int, tuple[Any, Tensor]] = {}       # by identity: the state the Tensor was made in, and the Tensor

    def tensors(self) -> list[Tensor]:
        """Return a Tensor for each; a new one after an optimizer has changed the values."""
        self.known = [x for x in self.known if x.requires_grad]
        found: list[Tensor] = []
        for x in self.known:
            now = (x._version, x.data_ptr())
            if self.made.get(id(x), (None,))[0] != now:
                self.made[id(x)] = (now, Tensor(tensor_of(x).data, _ParameterLeaf(x)))
            found.append(self.made[id(x)][1])
        return found


class _Unknown(Exception):
    """A run met torch tensors that require gradients and were not known; the call is repeated with them as inputs."""

    def __init__(self, tensors: list[Any]) -> None:
        super().__init__()
        self.tensors = tensors


def _leaves_of(outputs: Sequence[Any]) -> list[Any]:
    """Return the torch tensors that require gradients and that others were computed from."""
    stack = [x.grad_fn for x in outputs if x.grad_fn is not None]
    found = [x for x in outputs if x.grad_fn is None and x.requires_grad]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if hasattr(node, "variable"):
            found.append(node.variable)
        for after, _ in node.next_functions:
            if after is not None and after not in seen:
                seen.add(after)
                stack.append(after)
    return found


# One call of a torch function, and of its derivatives. Each is a pure function of arrays; torch's graph of the latest call is kept.


class _Run:
    """The run of a torch function on arrays, the first of them those of parameters.

    function: of torch tensors, without the parameters; returns a list of torch tensors.  graph: whether torch is to record.
    arrays, inputs, outputs: of the latest run that torch recorded.  used: parameters that its outputs depend on.
    """

    def __init__(self, function: Callable[..., list[Any]], parameters: list[Any], graph: bool) -> None:
        self.function = function
        self.parameters = parameters
        self.graph = graph
        self.arrays: tuple[Any, ...] = ()
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.used: set[int] = set()

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", "run").partition(".")[0]

    def __call__(self, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the results as arrays."""
        if not self.graph:
            with torch_module("interop").no_grad():
                return _arrays(self.function(*(torch_of(data) for data in arrays)))
        self.need(arrays)
        return _arrays(self.outputs)

    def need(self, arrays: tuple[Any, ...]) -> None:
        """Have torch's graph for these arrays: the one that is there, or that of a new run."""
        if len(self.arrays) == len(arrays) and self.inputs and all(a is b for a, b in zip(arrays, self.arrays, strict=True)):
            return
        torch = torch_module("interop")
        count = len(self.parameters)
        if any(data.__array_interface__["data"] != x.data_ptr() if isinstance(data, int) else False for data, x in ()):
            raise GraphError("unreachable")
        given = [torch_of(data) for data in arrays[count:]]
        inputs = [x.requires_grad_(_differentiable(x)) for x in given]
        versions = [x._version for x in inputs]
        with torch.enable_grad():
            outputs = self.function(*inputs)
        self._refuse_writing(inputs, versions)
        mine = {id(x) for x in inputs}
        leaves = [x for x in _leaves_of(outputs) if id(x) not in mine]
        known = {id(x): i for i, x in enumerate(self.parameters)}
        unknown = [x for x in leaves if id(x) not in known]
        if unknown:
            raise _Unknown(unknown)
        self.used = {known[id(x)] for x in leaves}
        self.arrays, self.inputs, self.outputs = arrays, [*self.parameters, *inputs], outputs
