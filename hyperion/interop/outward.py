"""Hyperion functions inside a PyTorch graph."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from hyperion.autograd.batching import at_levels
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.transforms import jvp, vjp
from hyperion.autograd.trees import flatten, unflatten
from hyperion.autograd.vectorize import vmap
from hyperion.errors import GraphError
from hyperion.gpu import device
from hyperion.interop.exchange import tensor_of, torch_module, torch_of

__all__ = ["to_torch"]

TENSOR = object()                             # stands where a Tensor goes in a result
Flat = Callable[..., tuple[Tensor, ...]]      # of Tensors, returns a tuple of Tensors


def to_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of Tensors as one of torch tensors that takes part in PyTorch's graph, with derivatives to any order.

    function: of trees of Tensors and anything else; returns a tree of Tensors. It must not use Hyperion Tensors that require gradients
        other than its arguments.
    Returns: a function of the same trees with torch tensors, CPU or CUDA, in place of Tensors; what else is in the arguments is passed on.
        backward() calls the pullback of `function`; double backward, forward mode and torch.func (grad, jvp, vmap, hessian) work too.
    Memory is shared, not copied; gradients are new tensors. A tensor that is written to before backward() is refused by PyTorch.
    Raises: InputError if PyTorch is not installed; when called, GraphError if `function` uses another tracked Tensor.

    >>> import torch
    >>> import hyperion as hp
    >>> energy = to_torch(lambda x: hp.sum(hp.sin(x) ** 2))
    >>> x = torch.tensor([0.0, 0.5], requires_grad=True)
    >>> energy(x).backward()
    >>> x.grad
    tensor([0.0000, 0.8415])
    """
    torch = torch_module("interop.to_torch(function)")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        result: list[Any] = []      # its structure, and its leaves without the Tensors, which hold the graph

        def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
            full = list(leaves)
            for i, x in zip(places, tensors, strict=True):
                full[i] = x
            new_args, new_kwargs = unflatten(structure, full)
            values, shape = flatten(function(*new_args, **new_kwargs))
            result[:] = [shape, [TENSOR if isinstance(x, Tensor) else x for x in values]]
            return tuple([x for x in values if isinstance(x, Tensor)])

        outputs = iter(_apply(flat, [leaves[i] for i in places]))
        return unflatten(result[0], [next(outputs) if x is TENSOR else x for x in result[1]])

    return call


class _Call:
    """One call of a flat function from torch: its pullback, from forward until backward.

    records: whether torch records this call, so that a pullback will be needed.
    """

    def __init__(self, function: Flat, records: bool) -> None:
        self.function = function
        self.records = records
        self.pullback: Callable[..., Any] | None = None
        self.again = False              # backward came a second time: its pullback is kept

    def run(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Return the outputs as torch tensors; with a pullback if torch records."""
        inputs = [tensor_of(x) for x in tensors]
        active = [i for i, x in enumerate(tensors) if x.requires_grad and is_inexact(inputs[i].dtype)] if self.records else []
        with at_levels(()):         # torch tensors are whole, also where a vmap of Hyperion's is running
            outputs = self.record(inputs, active) if active else self.function(*inputs)
        _refuse_tracked(outputs)
        return tuple(_hand_out([x.data for x in outputs], [x.data for x in inputs]))

    def record(self, inputs: Sequence[Tensor], active: Sequence[int]) -> list[Tensor]:
        """Run the function, keep its pullback, and return the outputs."""
        constants: list[Tensor | None] = []
        values, self.pullback = vjp(_Floating(self.function, inputs, active, constants), *(inputs[i] for i in active))
        found = iter(values)
        return [next(found) if x is None else x for x in constants]

    def pull(self, tensors: Sequence[Any], active: Sequence[int], gradients: Sequence[Any]) -> list[Any]:
        """Return gradients of the active inputs, given those of the floating outputs.

        The pullback, which holds what the function computed on its way, goes with the first use, as torch's own saved tensors do.
        """
        with at_levels(()):
            if self.pullback is None:
                self.again = True
                self.record([tensor_of(x) for x in tensors], active)
            pullback: Any = self.pullback
            if not self.again:
                self.pullback = None
            found = pullback(tuple([tensor_of(g.conj()) for g in gradients]))
        # Copies, since torch adds to gradients in place, and these may be shared with each other or with what the function holds.
        return [torch_of(x.data, copy=True).conj() for x in found]


class _Floating:
    """A flat function of its active inputs only, the others held; returns its floating outputs, and puts the others into `constants`."""

    def __init__(self, function: Flat, inputs: Sequence[Any], active: Sequence[int], constants: list[Tensor | None]) -> None:
        self.function = function
        self.inputs = inputs
        self.active = active
        self.constants = constants

    def __call__(self, *parts: Tensor) -> tuple[Tensor, ...]:
        full = list(self.inputs)
        for i, x in zip(self.active, parts, strict=True):
            full[i] = x
        outputs = self.function(*full)
        self.constants[:] = [None if is_inexact(x.dtype) else x for x in outputs]
        return tuple([x for x in outputs if is_inexact(x.dtype)])


def _refuse_tracked(outputs: Sequence[Tensor]) -> None:
    if any(x.tracked for x in outputs):
        raise GraphError(
            "to_torch(function): the function uses a Hyperion Tensor with requires_grad that is not among its arguments, and PyTorch "
            "cannot carry its gradient; pass it as an argument (a torch tensor), or use x.detach()"
        )


def _hand_out(outputs: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """Return arrays as torch tensors, which may be written to: copies of those that overlap with an input, each other or themselves."""
    found: list[Any] = []
    seen = list(inputs)
    for data in outputs:
        xp = device.namespace(data)
        shared = any(device.namespace(x) is xp and xp.may_share_memory(data, x) for x in seen)
        repeated = any(step == 0 and n > 1 for step, n in zip(data.strides, data.shape, strict=True))
        read_only = not getattr(data.flags, "writeable", True)
        seen.append(data)
        found.append(torch_of(data, copy=shared or repeated or read_only))
    return found


def _apply(function: Flat, tensors: Sequence[Any]) -> tuple[Any, ...]:
    """Call a flat function on torch tensors, as one node of torch's graph."""
    torch = torch_module("interop.to_torch")
    call = _Call(function, torch.is_grad_enabled())
    return _bridge().apply(call, *tensors)


@functools.cache
def _bridge() -> Any:
    """Return the torch.autograd.Function behind `to_torch`, made when torch is there."""
    torch: Any = torch_module("interop.to_torch")

    class HyperionFunction(torch.autograd.Function):
        """A flat Hyperion function as one node. Its derivatives are Hyperion functions too, hence again such nodes: to any order."""

        @staticmethod
        def forward(call: _Call, *tensors: Any) -> tuple[Any, ...]:
            return call.run(tensors)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
            call, *tensors = inputs
            ctx.call = call
            ctx.count = len(tensors)
            ctx.floats = [_differentiable(x) for x in output]
            ctx.mark_non_differentiable(*(x for x, floats in zip(output, ctx.floats, strict=True) if not floats))
            # Outputs are saved as well, since the pullback uses their memory: torch then refuses a backward after they were written to.
            ctx.save_for_backward(*tensors, *output)
            ctx.save_for_forward(*tensors)

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
            call, tensors = ctx.call, ctx.saved_tensors[:ctx.count]
            active = [i for i, needed in enumerate(ctx.needs_input_grad[1:]) if needed and _differentiable(tensors[i])]
            given = [g for g, floats in zip(gradients, ctx.floats, strict=True) if floats]
            if torch.is_grad_enabled():
                count, function = ctx.count, call.function

                def pulled(*xs: Tensor) -> tuple[Tensor, ...]:
                    part = _Floating(function, xs[:count], active, [])
                    return vjp(part, *(xs[i] for i in active))[1](tuple(xs[count:]))

                found = [g.conj() for g in _apply(pulled, [*tensors, *(g.conj() for g in given)])]
            else:
                found = call.pull(tensors, active, given)
            result: list[Any] = [None] * (ctx.count + 1)
            for i, g in zip(active, found, strict=True):
                result[i + 1] = g
            return tuple(result)

        @staticmethod
        def jvp(ctx: Any, _: Any, *tangents: Any) -> tuple[Any, ...]:
            call, tensors = ctx.call, ctx.saved_tensors[:ctx.count]
            moving = [i for i, t in enumerate(tangents) if t is not None and _differentiable(tensors[i])]
            count, function = ctx.count, call.function

            def pushed(*xs: Tensor) -> tuple[Tensor, ...]:
                part = _Floating(function, xs[:count], moving, [])
                return jvp(part, tuple(xs[i] for i in moving), tuple(xs[count:]))[1]

            found = iter(_apply(pushed, [*tensors, *(tangents[i] for i in moving)]))
            return tuple(next(found) if floats else None for floats in ctx.floats)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[Any, ...], call: _Call, *tensors: Any) -> tuple[Any, Any]:
            found = _apply(vmap(call.function, in_axes=tuple(in_dims[1:])), tensors)
            return found, (0,) * len(found)

    return HyperionFunction


def _differentiable(x: Any) -> bool:
    return x.is_floating_point() or x.is_complex()
