"""Transforms of functions: gradients, products with the Jacobian and its transpose, over trees, nested to any order in any mix.

All of them run the function once on fresh leaves, which records its graph, and sweep over that graph.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hyperion.autograd.dtypes import is_floating
from hyperion.autograd.graph import Node, changes, recording, state
from hyperion.autograd.runs import Run, check_argnums, named_like, of_chosen, outputs_of
from hyperion.autograd.sweeps import Trace, accumulate, ones_like, sweep_backward, sweep_forward, tangent_of, through_hooks, zeros_like
from hyperion.autograd.tensor import Tensor
from hyperion.autograd.trees import tree_map, unflatten
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = ["Recorded", "grad", "hvp", "jvp", "linearize", "stop_gradient", "value_and_grad", "vjp"]


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2      # pyright: ignore[reportUnknownArgumentType]


def _pull(run: Run, trace: Trace, outputs: Sequence[Tensor], seeds: Sequence[Tensor], record: bool, free: bool) -> Any:
    """Sweep back from outputs to the leaves of a run; a tree like its arguments."""
    with recording(record):
        cotangents: dict[Node, Any] = {}
        for x, seed in zip(outputs, seeds, strict=True):
            if x.node is not None:
                accumulate(cotangents, x, seed)
        with run.sweeping():
            sweep_backward(list(trace.nodes), cotangents, run.leaves, free)
        found: list[Any] = [cotangents.get(x.node) for x in run.inputs if x.node is not None]
        if changes.hooked:
            found = [None if g is None else through_hooks(x.node, g) for x, g in zip(run.inputs, found, strict=True) if x.node is not None]
        results = [zeros_like(x) if g is None else g for g, x in zip(found, run.inputs, strict=True)]
        return unflatten(run.structure, run.release(results, record))


def _push(run: Run, trace: Trace, outputs: Sequence[Tensor], seeds: Sequence[Tensor], record: bool) -> list[Tensor]:
    """Sweep forward from the leaves of a run to outputs; one tangent per output."""
    with recording(record):
        known: dict[Node, Any] = {x.node: seed for x, seed in zip(run.inputs, seeds, strict=True) if x.node is not None}
        with run.sweeping():
            sweep_forward(trace.nodes, known)
        found = [tangent_of(x, known) for x in outputs]
        return run.release([zeros_like(x) if t is None else t for t, x in zip(found, outputs, strict=True)], record)


class Recorded:
    """A function recorded once at some arguments, to be swept in either direction any number of times.

    value: its result.
    """

    def __init__(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> None:
        self.name = name
        self.run = Run(name, function, args, own=True)
        results, self.structure = outputs_of(name, self.run.tree)
        self.outputs = [self.run.lower(x) for x in results]
        self.trace = self.run.trace(self.outputs)
        self.value: Any = unflatten(self.structure, self.run.release(self.outputs, self.trace.outside))

    def pull(self, cotangent: Any, /) -> tuple[Any, ...]:
        """Return the product of a cotangent, a tree like the result, with the Jacobian: a tuple of one tree per argument."""
        seeds = self.run.seeds(cotangent, self.structure, self.outputs, "pullback: cotangent")
        return _pull(self.run, self.trace, self.outputs, seeds, self._records(seeds), free=False)

    def push(self, *tangents: Any) -> Any:
        """Return the product of the Jacobian with tangents, one tree per argument: a tree like the result."""
        seeds = self.run.seeds(tangents, self.run.structure, self.run.inputs, f"{self.name}: tangents")
        return unflatten(self.structure, _push(self.run, self.trace, self.outputs, seeds, self._records(seeds)))

    def _records(self, seeds: Sequence[Tensor]) -> bool:
        return state.recording and (self.trace.outside or any(seed.tracked for seed in seeds))


def vjp(function: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Return a function's result, and its pullback: the product of a cotangent with the Jacobian, from the left.

    args: trees of floating Tensors, arrays or numbers.
    Returns: (result, pullback); pullback(cotangent), with a tree like the result, gives a tuple of one tree per argument.
    Raises: DtypeError for an argument without derivatives (integers); GraphError if the function returns something that is no Tensor.

    >>> from hyperion.autograd import asarray
    >>> value, pullback = vjp(lambda x, y: x * y, 3.0, 4.0)
    >>> pullback(1.0)
    (Tensor () float32, cpu: 4., Tensor () float32, cpu: 3.)
    """
    recorded = Recorded("vjp", function, args)
    return recorded.value, recorded.pull


def value_and_grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Return a function that gives the value of a scalar function and its gradient.

    function: of trees of Tensors; returns a Tensor of shape (), or with has_aux a pair of it and anything else.
    argnums: which positional arguments are differentiated; a tuple gives a tuple of gradients. Keyword arguments are passed on.
    Returns: a function that returns (value, gradient) or ((value, aux), gradient); the gradient is a tree like the argument.
        For a complex argument z = x + iy of a real loss L it is dL/dx - i dL/dy (JAX's convention): descend along its conjugate.
    Raises, when called: ShapeError if the value is not a scalar; DtypeError for an argument without derivatives (integers), or if the value
        has none (integers, or complex, of which real and imaginary part would need one gradient each: use vjp).

    >>> value_and_grad(lambda p: p["w"] * p["b"][0])({"w": 3.0, "b": [4.0]})
    (Tensor () float32, cpu: 12., {'w': Tensor () float32, cpu: 4., 'b': [Tensor () float32, cpu: 3.]})
    """
    return _value_and_grad("value_and_grad", function, argnums, has_aux)


def grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Return a function that gives the gradient of a scalar function; as `value_and_grad`, without the value.

    >>> from hyperion.autograd import sin
    >>> grad(grad(sin))(0.5)
    Tensor () float32, cpu: -0.479426
    """
    both = _value_and_grad("grad", function, argnums, False)

    @named_like(function)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


def _value_and_grad(name: str, function: Callable[..., Any], argnums: int | tuple[int, ...], has_aux: bool) -> Callable[..., Any]:
    @named_like(function)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        chosen = check_argnums(name, argnums, len(args))
        run = Run(name, of_chosen(function, args, kwargs, chosen), [args[i] for i in chosen])
        if has_aux and not _is_pair(run.tree):
            raise InputError(f"{name}(has_aux=True): the function returned a {type(run.tree).__name__}; it must return a pair (loss, aux)")
        loss, aux = run.tree if has_aux else (run.tree, None)
        outputs_of(name, loss)
        if not isinstance(loss, Tensor) or loss.shape != ():
            got = f"a {type(loss).__name__}" + (f" of shape {loss.shape}" if isinstance(loss, Tensor) else "")
            raise ShapeError(f"{name}: the function returned {got}; the loss must be a Tensor of shape (): use .sum() or .mean(), or vjp")
        if not is_floating(loss.dtype):
            raise DtypeError(f"{name}: the loss is {loss.dtype}; it must be real and floating: take real(...) or abs(...), or use vjp")
        outputs = [run.lower(loss)]
        trace = run.trace(outputs)
        aux = tree_map(run.release_any, aux)
        gradient = _pull(run, trace, outputs, [ones_like(outputs[0])], trace.outside, free=not trace.outside)
        value = run.release(outputs, trace.outside)[0]
        return ((value, aux) if has_aux else value), (gradient if isinstance(argnums, tuple) else gradient[0])

    return evaluate


def jvp(function: Callable[..., Any], args: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Return a function's result and its directional derivative: the product of the Jacobian with tangents.

    args, tangents: tuples of as many trees; each tangent has the structure and shapes of its argument.
    Returns: (result, tangent), trees of one structure.
    Raises: TreeError or ShapeError if tangents do not match; DtypeError for an argument without derivatives (integers).

    >>> jvp(lambda x, y: x * y, (3.0, 4.0), (1.0, 0.0))
    (Tensor () float32, cpu: 12., Tensor () float32, cpu: 4.)
    """
    for name, value in (("args", args), ("tangents", tangents)):
        if not isinstance(value, tuple | list):      # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"jvp: {name} is a {type(value).__name__}; it must be a tuple with one entry per argument")
    recorded = Recorded("jvp", function, args)
    return recorded.value, recorded.push(*tangents)


def linearize(function: Callable[..., Any], *args: Any) -> tuple[Any, Callable[..., Any]]:
    """Return a function's result, and its derivative there as a linear function of tangents; the graph is recorded once.

    Returns: (result, pushforward); pushforward(*tangents), one tree per argument, gives a tree like the result.
    Raises: as `jvp`.

    >>> value, pushforward = linearize(lambda x, y: x * y, 3.0, 4.0)
    >>> pushforward(1.0, 0.0), pushforward(0.0, 1.0)
    (Tensor () float32, cpu: 4., Tensor () float32, cpu: 3.)
    """
    recorded = Recorded("linearize", function, args)
    return recorded.value, recorded.push


def hvp(function: Callable[..., Any], args: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, ...]:
    """Return the product of a scalar function's Hessian with tangents: forward over reverse, at the cost of a few gradients.

    args, tangents: tuples of as many trees.  Returns: a tuple of one tree per argument.

    >>> hvp(lambda x: (x * x * x).sum(), (2.0,), (1.0,))
    (Tensor () float32, cpu: 12.,)
    """
    return jvp(grad(function, argnums=tuple(range(len(args)))), args, tangents)[1]


def stop_gradient(tree: Any) -> Any:
    """Return a tree with its Tensors as constants: no derivative flows through them.

    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    Tensor () float32, cpu: 3.
    """
    return tree_map(_constant, tree)


def _constant(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
