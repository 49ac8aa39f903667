"""Transforms of functions: gradients, products with the Jacobian and its transpose, over trees, nested to any order in any mix.

All of them run the function once on fresh leaves, which records its graph, and sweep over that graph. A sweep is itself recorded only when
it can depend on something tracked outside: by an enclosing transform, or a Tensor with requires_grad.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hyperion.autograd.graph import Node, recording, state
from hyperion.autograd.ops.shaping import identity
from hyperion.autograd.sweeps import Trace, accumulate, match, ones_like, sweep_backward, sweep_forward, tangent_of, zeros_like
from hyperion.autograd.tensor import Tensor, as_tensor, is_operand, make_leaf
from hyperion.autograd.trees import Structure, flatten, flatten_like, paths, tree_map, unflatten
from hyperion.errors import GraphError, InputError, ShapeError

__all__ = ["grad", "hvp", "jvp", "stop_gradient", "value_and_grad", "vjp"]


class _Run:
    """A function, run once on fresh leaves.

    name: of the transform, for errors.  inputs, structure: leaves of the arguments, and their tree.  outputs, result: those of the result.
    recording, tracked: whether recording was on around the transform, and an argument was tracked there.
    """

    def __init__(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> None:
        self.name = name
        self.recording = state.recording
        values, self.structure = flatten(tuple(args))
        self.inputs: list[Tensor] = []
        tracked = False
        with recording(True):
            for value, path in zip(values, paths(self.structure), strict=True):
                x = _argument(value, f"{name}: argument {path}")
                if x.tracked and self.recording:
                    tracked = True
                    self.inputs.append(identity(x))         # inside, another place in the graph; its derivative goes on to x
                else:
                    own = name == "vjp"                     # a pullback is called later, when an argument may have been written to
                    self.inputs.append(make_leaf(x, f"{name}: argument {path}", own))
            self.tree: Any = function(*unflatten(self.structure, self.inputs))
        self.leaves: set[Node] = {x.node for x in self.inputs if x.node is not None}
        self.tracked = tracked

    def trace(self, outputs: Sequence[Tensor]) -> Trace:
        """Return the graph of some outputs, with `outside` also True if an argument was tracked."""
        trace = Trace(outputs, self.leaves)
        trace.outside = (trace.outside or self.tracked) and self.recording
        return trace

    def release(self, outputs: Sequence[Tensor], outside: bool) -> list[Tensor]:
        """Return outputs fit to hand out: without their graph, unless something outside can depend on it."""
        return list(outputs) if outside else [x.detach() for x in outputs]

    def release_any(self, value: Any) -> Any:
        """Return any value fit to hand out: a Tensor as `release`, others as they are."""
        return self.release([value], self.trace([value]).outside)[0] if isinstance(value, Tensor) else value


def _argument(value: Any, what: str) -> Tensor:
    if not is_operand(value):
        raise InputError(f"{what} is a {type(value).__name__}; it must be a Tensor, an array or a number: pass others by keyword")
    return as_tensor(value)


def _results(name: str, tree: Any) -> tuple[list[Tensor], Structure]:
    leaves, structure = flatten(tree)
    for leaf, path in zip(leaves, paths(structure), strict=True):
        if not isinstance(leaf, Tensor):
            raise GraphError(
                f"{name}: the function returned a {type(leaf).__name__}{' at ' + path if path else ''}, which is not connected to its "
                "arguments; it must return Tensors: compute with hyperion's functions, or return asarray(...) if a constant is meant"
            )
    return leaves, structure


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2      # pyright: ignore[reportUnknownArgumentType]


def _choose(name: str, argnums: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    chosen = argnums if isinstance(argnums, tuple) else (argnums,)
    if not chosen or not all(type(i) is int and -count <= i < count for i in chosen):
        raise InputError(f"{name}: argnums={argnums} must name positions among the {count} positional argument(s), from 0")
    return tuple(i % count for i in chosen)


def _pull(run: _Run, trace: Trace, outputs: Sequence[Tensor], seeds: Sequence[Tensor], record: bool, free: bool) -> list[Tensor]:
    """Sweep back from outputs to the leaves of a run; one cotangent per leaf."""
    with recording(record):
        cotangents: dict[Node, Any] = {}
        for x, seed in zip(outputs, seeds, strict=True):
            if x.node is not None:
                accumulate(cotangents, x, seed)
        sweep_backward(list(trace.nodes), cotangents, run.leaves, free)
        found = [cotangents.get(x.node) for x in run.inputs if x.node is not None]
    results = [zeros_like(x) if g is None else g for g, x in zip(found, run.inputs, strict=True)]
    return results if record else [g.detach() for g in results]


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
    run = _Run("vjp", function, args)
    outputs, structure = _results("vjp", run.tree)
    trace = run.trace(outputs)
    value = unflatten(structure, run.release(outputs, trace.outside))

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        seeds = [
            match(seed, x, f"pullback: cotangent{path}")
            for seed, x, path in zip(flatten_like(structure, cotangent, "cotangent"), outputs, paths(structure), strict=True)
        ]
        record = state.recording and (trace.outside or any(seed.tracked for seed in seeds))
        return unflatten(run.structure, _pull(run, trace, outputs, seeds, record, free=False))

    return value, pullback


def value_and_grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Return a function that gives the value of a scalar function and its gradient.

    function: of trees of Tensors; returns a Tensor of shape (), or with has_aux a pair of it and anything else.
    argnums: which positional arguments are differentiated; a tuple gives a tuple of gradients. Keyword arguments are passed on.
    Returns: a function that returns (value, gradient) or ((value, aux), gradient); the gradient is a tree like the argument.
    Raises, when called: ShapeError if the value is not a scalar; DtypeError for an argument without derivatives (integers).

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

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


def _value_and_grad(name: str, function: Callable[..., Any], argnums: int | tuple[int, ...], has_aux: bool) -> Callable[..., Any]:
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        chosen = _choose(name, argnums, len(args))

        def of_chosen(*parts: Any) -> Any:
            full = list(args)
            for i, part in zip(chosen, parts, strict=True):
                full[i] = part
            return function(*full, **kwargs)

        run = _Run(name, of_chosen, [args[i] for i in chosen])
        if has_aux and not _is_pair(run.tree):
            raise InputError(f"{name}(has_aux=True): the function returned a {type(run.tree).__name__}; it must return a pair (loss, aux)")
        loss, aux = run.tree if has_aux else (run.tree, None)
        outputs, _ = _results(name, loss)
        if type(loss) is not Tensor or loss.shape != ():
            got = f"a {type(loss).__name__}" + (f" of shape {loss.shape}" if type(loss) is Tensor else "")
            raise ShapeError(f"{name}: the function returned {got}; the loss must be a Tensor of shape (): use .sum() or .mean(), or vjp")
        trace = run.trace(outputs)
        aux = tree_map(run.release_any, aux)
        gradients = _pull(run, trace, outputs, [ones_like(loss)], trace.outside, free=not trace.outside)
        tree = unflatten(run.structure, gradients)
        value = run.release(outputs, trace.outside)[0]
        return ((value, aux) if has_aux else value), (tree if isinstance(argnums, tuple) else tree[0])

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
    run = _Run("jvp", function, args)
    outputs, structure = _results("jvp", run.tree)
    seeds = [
        match(seed, x, f"jvp: tangents{path}")
        for seed, x, path in zip(flatten_like(run.structure, tuple(tangents), "tangents"), run.inputs, paths(run.structure), strict=True)
    ]
    trace = run.trace(outputs)
    record = state.recording and (trace.outside or any(seed.tracked for seed in seeds))
    with recording(record):
        known: dict[Node, Any] = {x.node: seed for x, seed in zip(run.inputs, seeds, strict=True) if x.node is not None}
        sweep_forward(trace.nodes, known)
        found = [tangent_of(x, known) for x in outputs]
    moved = [zeros_like(x) if t is None else t for t, x in zip(found, outputs, strict=True)]
    value = unflatten(structure, run.release(outputs, trace.outside))
    return value, unflatten(structure, moved if record else [t.detach() for t in moved])


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
