"""Loops and branches on values: Python's own where a function just runs, operations with rules of their own in what `jit` records."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched, levels, lower
from hyperion.autograd.graph import recording, state
from hyperion.autograd.jit.bodies import Body, body_of
from hyperion.autograd.jit.loops import example, row, run_branch, run_repeat, run_scan
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.shaping import stack
from hyperion.autograd.tensor import Tensor, as_tensor, is_operand
from hyperion.autograd.trees import Structure, flatten, flatten_like, paths, unflatten
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device

__all__ = ["cond", "scan", "while_loop"]

_NOTHING = flatten(())[1]       # the structure of None


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False,
) -> tuple[Any, Any]:
    """Run a function along the first axis of arrays, with a carry that goes on from row to row.

    function: (carry, x) -> (carry, y), trees of Tensors; x is one row of xs.  init: the first carry; shapes and dtypes stay.
    xs: tree of arrays of one length along axis 0; None: x is None, and length says how often.  reverse: from the last row to the first.
    Returns: the last carry, and the ys stacked along a new axis 0, in the order of xs.
    In a compiled function (`jit`) the body is recorded and compiled once, whatever the length; derivatives in reverse are a loop too, which
    runs the body again from the carries that were kept, one for each row.
    Raises: ShapeError or DtypeError if the carry changes; InputError for lengths that differ, or if there is neither xs nor length.

    >>> from hyperion.autograd import asarray, grad
    >>> scan(lambda total, x: (total + x, total * x), 0.0, asarray([1.0, 2.0, 3.0]))
    (Tensor () float32, cpu: 6., Tensor (3,) float32, cpu: [0. 2. 9.])
    >>> grad(lambda rate: scan(lambda y, _: (y + 0.1 * rate * y, None), 1.0, length=10)[0])(asarray(1.0))
    Tensor () float32, cpu: 2.357948
    """
    start, carry_tree = _tensors(init, "scan: init")
    rows, row_tree = _tensors(xs, "scan: xs")
    count = _length(rows, row_tree, length)

    def body(carry: Sequence[Tensor], row: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], Structure]:
        found: Any = function(unflatten(carry_tree, carry), _rebuilt(row_tree, row))
        if not _is_pair(found):
            raise InputError(f"scan: the function returned a {type(found).__name__}; it must return a pair (carry, y)")
        new, y = found
        ys, y_tree = _tensors(y, "scan: y")
        return _same(carry_tree, new, start, "scan: the carry"), ys, y_tree

    if _is_recorded():
        return _recorded_scan(body, carry_tree, start, rows, count, reverse)
    if not count:
        with recording(False):
            _, ys, y_tree = body(start, [Tensor(device.namespace_of(x.device).zeros(x.shape[1:], x.dtype)) for x in rows])
        empty = [Tensor(device.namespace_of(y.device).zeros((0, *y.shape), y.dtype)) for y in ys]
        return unflatten(carry_tree, start), _rebuilt(y_tree, empty)
    carry, y_tree = start, Structure(None)
    lines: list[list[Tensor]] = []
    for t in reversed(range(count)) if reverse else range(count):
        carry, ys, y_tree = body(carry, [x[t] for x in rows])
        lines.append(ys)
    if reverse:
        lines.reverse()
    return unflatten(carry_tree, carry), _rebuilt(y_tree, [stack(column) for column in zip(*lines, strict=True)])


def cond(predicate: Any, if_true: Callable[..., Any], if_false: Callable[..., Any], *operands: Any) -> Any:
    """Return if_true(*operands) or if_false(*operands), as a value says; only that one is run.

    predicate: Tensor of shape () and dtype bool.  operands: trees of Tensors. Both functions return trees of one structure, shapes, dtypes.
    In a compiled function (`jit`) both are recorded, and each run takes one. Inside vmap, where the value differs from example to example,
    both are computed and chosen from.
    Raises: ShapeError or DtypeError for another predicate, or if the results of the two differ in kind; TreeError if their trees differ.

    >>> from hyperion.autograd import asarray, grad, sqrt
    >>> f = lambda x: cond(x > 0.0, lambda x: sqrt(x), lambda x: -x, x)
    >>> f(asarray(4.0)), grad(f)(asarray(-3.0))
    (Tensor () float32, cpu: 2., Tensor () float32, cpu: -1.)
    """
    choice = _truth(predicate, "cond: predicate")
    inside = isinstance(choice, Batched) or (levels.running and _is_stand_in(choice))
    if not inside and not _is_recorded(vmapped=True):
        return (if_true if bool(choice) else if_false)(*operands)
    given, operand_tree = _tensors(operands, "cond: operands")
    trees: list[Structure] = []

    def flat(function: Callable[..., Any]) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        def run(inputs: Sequence[Tensor]) -> list[Tensor]:
            found = function(*unflatten(operand_tree, inputs))
            if trees:
                return [as_tensor(x) for x in flatten_like(trees[0], found, "cond: the result of if_false")]
            out, tree = _tensors(found, "cond: the result")
            trees.append(tree)
            return out

        return run

    if inside:
        first, second = (flat(function)(given) for function in (if_true, if_false))
        _agree(first, second, trees[0])
        return unflatten(trees[0], [where(choice, x, y) for x, y in zip(first, second, strict=True)])
    bodies = [body_of(flat(function), [example(x) for x in given]) for function in (if_true, if_false)]
    _agree(bodies[0].results, bodies[1].results, trees[0])
    return unflatten(trees[0], run_branch(choice, bodies, given))


def while_loop(
    condition: Callable[[Any], Any], body: Callable[[Any], Any], init: Any, maximum: int | None = None,
) -> Any:
    """Run a function on a carry as long as a condition of the carry holds, and return the last carry.

    condition: carry -> Tensor of shape () and dtype bool.  body: carry -> carry; shapes and dtypes stay.  init: tree, the first carry.
    maximum: rounds after which it ends whatever the condition says.
    In a compiled function (`jit`) both are recorded and compiled once; the derivative in reverse runs the loop again and keeps the carries
    of all rounds. A derivative of that derivative needs `maximum`, since its loop must have a length.
    Raises: ShapeError or DtypeError if the carry changes or the condition is no truth.

    >>> from hyperion.autograd import asarray, grad
    >>> root = lambda a: while_loop(lambda x: abs(x * x - a) > 1e-6, lambda x: 0.5 * (x + a / x), a)
    >>> root(asarray(2.0)), grad(root)(asarray(4.0))
    (Tensor () float32, cpu: 1.414214, Tensor () float32, cpu: 0.25)
    """
    start, tree = _tensors(init, "while_loop: init")
    if maximum is not None and (type(maximum) is not int or maximum < 0):
        raise InputError(f"while_loop: maximum={maximum!r} must be a whole number of 0 or more, or None")

    def test(carry: Sequence[Tensor]) -> Tensor:
        return _truth(condition(unflatten(tree, carry)), "while_loop: the condition")

    def step(carry: Sequence[Tensor]) -> list[Tensor]:
        return _same(tree, body(unflatten(tree, carry)), start, "while_loop: the carry")

    if not _is_recorded(vmapped=True):
        return unflatten(tree, _eagerly(test, step, start, maximum))
    if maximum is not None:

        def round_(carry: Any, _: Any) -> tuple[Any, None]:
            return cond(test(carry), step, _unchanged, carry), None

        return unflatten(tree, scan(round_, start, length=maximum)[0])
    if levels.running:
        raise InputError("while_loop: inside vmap and jit together it needs a length; give maximum=, or take vmap out of jit")
    examples = [example(x) for x in start]
    asked = body_of(lambda carry: [test(carry)], examples)
    return unflatten(tree, run_repeat(asked, body_of(step, examples), [], start))


def _unchanged(carry: Sequence[Tensor]) -> list[Tensor]:
    return list(carry)


def _eagerly(test: Any, step: Any, carry: list[Tensor], maximum: int | None) -> list[Tensor]:
    rounds = 0
    while maximum is None or rounds < maximum:
        holds = test(carry)
        if isinstance(holds, Batched):          # examples that are done stay as they are
            if not device.to_numpy(lower(holds, levels.running).data).any():
                break
            carry = [where(holds, new, old) for new, old in zip(step(carry), carry, strict=True)]
        elif bool(holds):
            carry = step(carry)
        else:
            break
        rounds += 1
    return carry


def _recorded_scan(body: Any, carry_tree: Structure, start: list[Tensor], rows: list[Tensor], count: int, reverse: bool) -> tuple[Any, Any]:
    trees: list[Structure] = []

    def flat(inputs: Sequence[Tensor]) -> list[Tensor]:
        new, ys, tree = body(inputs[:len(start)], inputs[len(start):])
        trees.append(tree)
        return [*new, *ys]

    made: Body = body_of(flat, [*map(example, start), *map(row, rows)])
    found = run_scan(made, [], start, rows, count, reverse)
    return unflatten(carry_tree, found[:len(start)]), _rebuilt(trees[0], found[len(start):])


def _is_recorded(vmapped: bool = False) -> bool:
    """Tell whether a recording is running that loops become operations of. Inside vmap a scan is written out."""
    return state.recorder is not None and (vmapped or not levels.running)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2      # pyright: ignore[reportUnknownArgumentType]


def _is_stand_in(x: Tensor) -> bool:
    return isinstance(x.data, device.Standin)


def _tensors(tree: Any, name: str) -> tuple[list[Tensor], Structure]:
    """Return the leaves of a tree as Tensors, and its structure; None is a tree without leaves."""
    if tree is None:
        return [], _NOTHING
    leaves, structure = flatten(tree)
    for leaf, path in zip(leaves, paths(structure), strict=True):
        if not is_operand(leaf):
            raise InputError(f"{name}{path} is a {type(leaf).__name__}; give Tensors, arrays or numbers")
    return [as_tensor(x) for x in leaves], structure


def _same(structure: Structure, new: Any, start: Sequence[Tensor], name: str) -> list[Tensor]:
    """Return the leaves of a new carry.

    Raises: TreeError, ShapeError or DtypeError unless it is of the kind of the first one.
    """
    leaves = [as_tensor(x) for x in flatten_like(structure, new, name)]
    for x, first, path in zip(leaves, start, paths(structure), strict=True):
        if x.shape != first.shape:
            raise ShapeError(f"{name}{path} has shape {first.shape} before a round and {x.shape} after it; it must keep its shape")
        if x.dtype != first.dtype:
            raise DtypeError(f"{name}{path} is {first.dtype} before a round and {x.dtype} after it; it must keep its dtype: give the first "
                             f"one as {x.dtype}, or use .astype({str(first.dtype)!r})")
    return leaves


def _agree(first: Sequence[Any], second: Sequence[Any], tree: Structure) -> None:
    for x, y, path in zip(first, second, paths(tree), strict=True):
        if x.shape != y.shape:
            raise ShapeError(f"cond: the result{path} of if_true has shape {x.shape}, that of if_false {y.shape}; they must agree")
        if x.dtype != y.dtype:
            raise DtypeError(f"cond: the result{path} of if_true is {x.dtype}, that of if_false {y.dtype}; they must agree: use .astype")


def _truth(value: Any, name: str) -> Tensor:
    x = as_tensor(value)
    if x.shape != ():
        raise ShapeError(f"{name} has shape {x.shape}; it must be one truth, of shape (): use all(...) or any(...)")
    if x.dtype != np.bool_:
        raise DtypeError(f"{name} is {x.dtype}; it must be bool: use a comparison, as in x > 0")
    return x


def _length(rows: Sequence[Tensor], tree: Structure, length: int | None) -> int:
    """Return the number of rounds of a scan."""
    if length is not None and (type(length) is not int or length < 0):
        raise InputError(f"scan: length={length!r} must be a whole number of 0 or more")
    counts: dict[int, str] = {}
    for x, path in zip(rows, paths(tree), strict=True):
        if not x.ndim:
            raise ShapeError(f"scan: xs{path} has shape (); its rows are along axis 0, so it needs an axis")
        counts.setdefault(x.shape[0], path)
    if length is not None:
        counts.setdefault(length, "length")
    if len(counts) > 1:
        label = "xs"
        raise InputError(f"scan: xs and length differ: {', '.join(f'{path or label} has {n} rows' for n, path in counts.items())}")
    if not counts:
        raise InputError("scan: xs is None and length is not given; say how often with length=")
    return next(iter(counts))


def _rebuilt(structure: Structure, leaves: Sequence[Tensor]) -> Any:
    """Return the tree of a structure; None, where that is what was given."""
    return None if structure is _NOTHING else unflatten(structure, leaves)
