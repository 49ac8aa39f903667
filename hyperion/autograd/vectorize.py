"""Functions of one example made functions of many, and the whole Jacobians and Hessians that follow."""

from collections.abc import Callable, Sequence
from typing import Any

from hyperion.autograd.batching import Batched, at_levels, levels, lower
from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.shaping import permute_dims, reshape
from hyperion.autograd.runs import check_argnums, named_like, of_chosen, outputs_of
from hyperion.autograd.tensor import Tensor, as_tensor, is_operand
from hyperion.autograd.transforms import Recorded, grad
from hyperion.autograd.trees import Structure, contents, flatten, flatten_like, paths, unflatten
from hyperion.errors import DtypeError, InputError, ShapeError, TreeError
from hyperion.gpu import device as devices

__all__ = ["hessian", "jacobian", "vmap"]


def vmap(function: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Return a function that works on many examples at once, given one that works on a single example.

    in_axes: the axis of the examples: a number for all arguments, or a tuple with one entry per argument, each a number, None (the same for
        all examples) or a tree of these like the argument.
    out_axes: where the examples go in the result: a number, or a tree of numbers like the result.
    It nests with itself and with every other transform: vmap(grad(f), (None, 0)) gives a gradient for each example. Python code that needs
    values (if x > 0) is refused, since they differ from example to example. Random numbers drawn inside are the same for all examples.
    Raises, when called: InputError if no argument has examples; ShapeError if their numbers differ.

    >>> from hyperion.autograd import asarray
    >>> vmap(lambda x, y: (x * y).sum(), in_axes=(0, None))(asarray([[1.0, 2.0], [3.0, 4.0]]), asarray([1.0, 1.0]))
    Tensor (2,) float32, cpu: [3. 7.]
    """

    @named_like(function)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        values, structure = flatten(args)
        axes = _axes_like(in_axes, args)
        tensors = [_example(value, path) for value, path in zip(values, paths(structure), strict=True)]
        size = _size(tensors, axes, structure)
        level = next(levels.numbers)
        inputs = [
            x if axis is None else Batched(_to_front(x, axis), level) for x, axis in zip(tensors, axes, strict=True)
        ]
        with at_levels((*levels.running, (level, size))):
            result = function(*unflatten(structure, inputs), **kwargs)
        outputs, out_structure = outputs_of("vmap", result)
        if not all(isinstance(axis, int) for axis in flatten(out_axes)[0]):
            raise InputError(f"vmap: out_axes={out_axes!r} must be a number, or a tree of numbers like the result")
        wanted = [out_axes] * len(outputs) if isinstance(out_axes, int) else flatten_like(out_structure, out_axes, "vmap: out_axes")
        found = [_from_front(lower(x, [(level, size)]), axis) for x, axis in zip(outputs, wanted, strict=True)]
        return unflatten(out_structure, found)

    return mapped


def _example(value: Any, path: str) -> Tensor:
    if not is_operand(value):
        raise InputError(f"vmap: argument {path} is a {type(value).__name__}; give a Tensor, array or number, and pass others by keyword")
    return as_tensor(value)


def _axes_like(in_axes: Any, args: tuple[Any, ...]) -> list[int | None]:
    """Return one axis (or None) per leaf of the arguments."""
    if isinstance(in_axes, int):
        return [in_axes] * len(flatten(args)[0])
    given: Any = in_axes
    if not isinstance(in_axes, tuple | list) or len(given) != len(args):
        raise InputError(
            f"vmap: in_axes={in_axes!r} must be a number, or a tuple with one entry (a number, None or a tree of these) for each of the "
            f"{len(args)} argument(s)"
        )
    found: list[int | None] = []
    for axis, arg in zip(given, args, strict=True):
        found.extend(_spread(axis, arg))
    if not all(axis is None or isinstance(axis, int) for axis in found):      # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"vmap: in_axes={in_axes!r} must hold numbers of axes or None")
    return found


def _spread(axis: Any, tree: Any) -> list[Any]:
    """Return the axis of each leaf of a tree, given one for all, or a tree of them that reaches as deep or ends earlier."""
    leaves, structure = flatten(tree)
    if axis is None or isinstance(axis, int) or structure.kind is None:
        return [axis] * len(leaves)
    _, keys, values = contents(tree)
    kind, own, axes = contents(axis)
    if kind is not structure.kind or own != keys:
        raise TreeError(f"vmap: in_axes has {axis!r} where the argument has {structure!r}; give a number, None, or a tree of them like it")
    return [found for one, value in zip(axes, values, strict=True) for found in _spread(one, value)]


def _size(tensors: Sequence[Tensor], axes: Sequence[int | None], structure: Structure) -> int:
    sizes: dict[str, int] = {}
    for x, axis, path in zip(tensors, axes, paths(structure), strict=True):
        if axis is None:
            continue
        if not -x.ndim <= axis < x.ndim:
            raise ShapeError(f"vmap: in_axes names axis {axis} of argument {path}, which has shape {x.shape}; give an axis it has, or None")
        sizes[path] = x.shape[axis]
    if not sizes:
        raise InputError("vmap: in_axes is None for every argument; at least one must have examples")
    if len(set(sizes.values())) > 1:
        raise ShapeError(f"vmap: arguments have {sizes} examples; the numbers must agree")
    return next(iter(sizes.values()))


def _to_front(x: Tensor, axis: int) -> Tensor:
    place = axis % x.ndim
    return x if place == 0 else permute_dims(x, (place, *(i for i in range(x.ndim) if i != place)))


def _from_front(x: Tensor, axis: int) -> Tensor:
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"vmap: out_axes names axis {axis}, but the result has {x.ndim} axes with that of the examples")
    order = list(range(1, x.ndim))
    order.insert(axis % x.ndim, 0)
    return x if order[:1] == [0] else permute_dims(x, order)


def jacobian(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, forward: bool | None = None) -> Callable[..., Any]:
    """Return a function that gives the whole Jacobian of a function, by one batched sweep over its graph.

    argnums: which positional arguments are differentiated.  forward: one tangent per input element, or (False) one cotangent per output
        element; None takes the fewer.
    Returns, when called: for each output a tree like the argument (a tuple of them for a tuple argnums); each leaf has the shape of the
        output followed by that of the argument. For complex values it is the holomorphic derivative; where arguments are complex and
        results real it is dL/dx - i dL/dy, as in `grad`.
    Raises, when called: DtypeError if the sweep asked for does not give it (forward for complex arguments of real results, and reverse).

    >>> from hyperion.autograd import asarray
    >>> jacobian(lambda x: x * x)(asarray([1.0, 2.0])).shape
    (2, 2)
    """

    @named_like(function)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        chosen = check_argnums("jacobian", argnums, len(args))
        parts = [args[i] for i in chosen]
        restricted = of_chosen(function, args, kwargs, chosen)
        values, structure = flatten(tuple(parts))
        inputs = [as_tensor(value) for value in values]
        recorded = Recorded("jacobian", restricted, parts)
        outputs, out_structure = flatten(recorded.value)

        def push(seed: Any) -> Any:
            return recorded.push(*unflatten(structure, seed))

        def pull(seed: Any) -> Any:
            return recorded.pull(unflatten(out_structure, seed))

        onward = _direction(forward, inputs, outputs)
        if onward:
            columns = vmap(push)(_basis(inputs))
            rows = _blocks(flatten(columns)[0], inputs, outputs, turned=True)
        else:
            back = vmap(pull)(_basis(outputs))
            rows = _blocks(flatten(back)[0], outputs, inputs, turned=False)
        trees = [unflatten(structure, row) for row in rows]
        return unflatten(out_structure, [tree if isinstance(argnums, tuple) else tree[0] for tree in trees])

    return evaluate


def _direction(forward: bool | None, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Return whether to sweep forward: as asked, where real and complex do not mix; else the one way that is right."""
    complex_in, complex_out = (any(is_complex(x.dtype) for x in side) for side in (inputs, outputs))
    if complex_in == complex_out:
        return forward if forward is not None else sum(x.size for x in inputs) <= sum(y.size for y in outputs)
    if forward is not None and forward != complex_out:
        kinds = "complex arguments and real results" if complex_in else "real arguments and complex results"
        raise DtypeError(f"jacobian(f, forward={forward}): f has {kinds}, which that sweep cannot give; use forward={not forward}")
    return complex_out


def _basis(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return unit vectors of a space made of Tensors, along a new axis 0."""
    total = sum(x.size for x in tensors)
    parts: list[Tensor] = []
    start = 0
    for x in tensors:
        unit = devices.namespace_of(x.device).eye(total, x.size, k=-start, dtype=x.dtype)
        parts.append(reshape(Tensor(unit), (total, *x.shape)))
        start += x.size
    return parts


def _blocks(swept: Sequence[Tensor], seeds: Sequence[Tensor], others: Sequence[Tensor], turned: bool) -> list[list[Tensor]]:
    """Return the blocks of a Jacobian, one list per output, from results for every unit vector of the seeds' space.

    swept: one per Tensor of the other side, shape (units, *shape).  turned: the seeds are inputs, so the axes of a unit come last.
    """
    table: list[list[Tensor]] = []
    start = 0
    for seed in seeds:
        line: list[Tensor] = []
        for x, other in zip(swept, others, strict=True):
            block = reshape(x[start:start + seed.size], (*seed.shape, *other.shape))
            if turned:
                block = permute_dims(block, (*range(seed.ndim, block.ndim), *range(seed.ndim)))
            line.append(block)
        table.append(line)
        start += seed.size
    return [list(column) for column in zip(*table, strict=True)] if turned else table


def hessian(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Return a function that gives the Hessian of a scalar function: the Jacobian, forward, of its gradient.

    argnums: as in `grad`.  Returns, when called: a tree like the gradient, of trees like the argument.

    >>> from hyperion.autograd import asarray
    >>> hessian(lambda x: (x * x * x).sum())(asarray([1.0, 2.0]))[1]
    Tensor (2,) float32, cpu: [ 0. 12.]
    """
    return jacobian(grad(function, argnums), argnums, forward=True)
