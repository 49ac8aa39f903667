"""Sums of products over named axes: einsum and tensordot. Every contraction of two arrays is one bilinear operation.

An einsum of many arrays is first planned (which axes of each array are summed alone, then which pair is contracted next), from the shapes
only; the plan is remembered. Its steps are ordinary operations, so derivatives of any order follow.
"""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from hyperion.autograd.ops.products import diagonal
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import astype, normalize_axis, permute_dims, reshape
from hyperion.autograd.table import Primitive, bilinear
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import InputError, ShapeError

__all__ = ["contraction_path", "einsum", "tensordot"]

Labels = tuple[int, ...]
Path = tuple[tuple[int, int], ...]


def _contracted(xp: Any, x: Any, y: Any, axes: tuple[Labels, Labels, Labels]) -> Any:
    """Sum products over the labels that the result lacks: as a matrix product, or as a plain one where nothing is summed."""
    left, right, out = axes
    summed = [label for label in left if label not in out]
    if not summed:
        return _aligned(x, left, out) * _aligned(y, right, out)
    shared = [label for label in left if label in right and label in out]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    sizes = dict(zip((*left, *right), (*x.shape, *y.shape), strict=True))
    batch = [sizes[label] for label in shared]
    n, k, m = (math.prod(sizes[label] for label in group) for group in (rows, summed, columns))
    first = x.transpose([left.index(label) for label in (*shared, *rows, *summed)]).reshape(*batch, n, k)
    second = y.transpose([right.index(label) for label in (*shared, *summed, *columns)]).reshape(*batch, k, m)
    order = [*shared, *rows, *columns]
    product = xp.matmul(first, second).reshape([sizes[label] for label in order])
    return product.transpose([order.index(label) for label in out])


def _aligned(x: Any, labels: Labels, out: Labels) -> Any:
    """Return an array with its axes in the order of `out`, and an axis of length 1 for each label that it lacks."""
    ordered = x.transpose(sorted(range(len(labels)), key=lambda i: out.index(labels[i])))
    lengths = iter(ordered.shape)
    return ordered.reshape([next(lengths) if label in labels else 1 for label in out])


def _batched(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """Work on a batch: the examples are one more label."""
    left, right, out = params["axes"]
    new = max((*left, *right), default=0) + 1
    return op(*inputs, axes=((new, *left) if batched[0] else left, (new, *right) if batched[1] else right, (new, *out)))


# Every label of x is in y or in the result, and likewise for y: a label found in one array only has been summed before.
_contract = bilinear(
    "contract", _contracted, lambda g, x, y, axes: _contract(g, y, axes=(axes[2], axes[1], axes[0])),
    lambda g, x, y, axes: _contract(x, g, axes=(axes[0], axes[2], axes[1])), batch=_batched,
)


def einsum(subscripts: str, *operands: Any) -> Tensor:
    """Return the sum of products of arrays over named axes, in Einstein's notation.

    subscripts: one letter per axis of each operand, operands separated by commas, then "->" and the axes of the result. An axis that the
        result does not name is summed; a letter twice in one operand takes the diagonal; "..." stands for axes that broadcast, aligned
        from the last. Without "->" the result has the axes of "...", then, in alphabetical order, the letters that occur once.
    operands: Tensors or arrays; axes of one letter have one length, or length 1, which is repeated.
    More than two operands are contracted in pairs, in the order of `contraction_path`.
    Raises: InputError if the subscripts cannot be read, or do not fit the number of operands; ShapeError if they do not fit the shapes.
    Source: Einstein's summation convention, as in NumPy's einsum.

    >>> einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    Tensor (2,) float32, cpu: [3. 7.]
    >>> einsum("ii", [[1.0, 2.0], [3.0, 4.0]])
    Tensor () float32, cpu: 5.
    """
    _refuse_unless_text(subscripts, "einsum")
    tensors = [as_tensor(x) for x in operands]
    terms, out, path = _plan(subscripts, tuple(x.shape for x in tensors))
    parts = [_prepared(x, *term) for x, term in zip(tensors, terms, strict=True)]
    for place, (i, j) in enumerate(path):
        (x, left), (y, right) = parts[i], parts[j]
        parts = [part for k, part in enumerate(parts) if k not in (i, j)]
        kept = out if place == len(path) - 1 else _kept(left, right, [*(labels for _, labels in parts), out])
        parts.append((_contract(x, y, axes=(left, right, kept)), kept))
    x, labels = parts[0]
    return x if labels == out else permute_dims(x, [labels.index(label) for label in out])


def _refuse_unless_text(subscripts: Any, name: str) -> None:
    if not isinstance(subscripts, str):
        raise InputError(f'{name}(subscripts, *operands): subscripts is a {type(subscripts).__name__}; give text such as "ij,jk->ik" first')


def _kept(left: Labels, right: Labels, needed: Iterable[Labels]) -> Labels:
    """Return the labels of two arrays that others need, each once."""
    wanted = {label for labels in needed for label in labels}
    return tuple(dict.fromkeys(label for label in (*left, *right) if label in wanted))


def _prepared(x: Tensor, labels: Labels, narrow: Labels, alone: Labels) -> tuple[Tensor, Labels]:
    """Return an operand with each label once: diagonals taken, axes of length 1 that others repeat dropped, labels it has alone summed."""
    while len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        first = labels.index(twice)
        second = labels.index(twice, first + 1)
        x = diagonal(x, axis1=first, axis2=second)
        labels = (*(label for i, label in enumerate(labels) if i not in (first, second)), twice)
    if narrow:
        x = reshape(x, tuple(n for n, label in zip(x.shape, labels, strict=True) if label not in narrow))
        labels = tuple(label for label in labels if label not in narrow)
    if alone:
        x = astype(sum(x, axis=tuple(labels.index(label) for label in alone)), x.dtype)
        labels = tuple(label for label in labels if label not in alone)
    return x, labels


@functools.lru_cache(maxsize=1024)
def _plan(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[tuple[Labels, Labels, Labels]], Labels, Path]:
    """Return, for each operand, its labels, those to drop and those to sum at once; the labels of the result; the pairs to contract."""
    terms, out = _parse(subscripts, [len(shape) for shape in shapes])
    sizes: dict[int, int] = {}
    for i, (labels, shape) in enumerate(zip(terms, shapes, strict=True)):
        for label, n in zip(labels, shape, strict=True):
            known = sizes.setdefault(label, n)
            if n != known and 1 not in (n, known):
                raise ShapeError(
                    f"einsum({subscripts!r}): axis {_name(label)} has length {n} in operand {i}, shape {shape}, but {known} before; they "
                    "must agree, or be 1"
                )
            sizes[label] = n if known == 1 else known
        if any(len({n for other, n in zip(labels, shape, strict=True) if other == label}) > 1 for label in labels):
            raise ShapeError(f"einsum({subscripts!r}): operand {i} has shape {shape}; axes that share a letter must have one length")
    # Axes of length 1 that others repeat are dropped first: a label may then be left in one operand only, which sums it alone.
    narrow = [tuple({label for label, n in zip(labels, shape, strict=True) if n == 1 != sizes[label]})
              for labels, shape in zip(terms, shapes, strict=True)]
    held = [set(labels) - set(dropped) for labels, dropped in zip(terms, narrow, strict=True)]
    alone = [tuple(one.difference(out, *held[:i], *held[i + 1:])) for i, one in enumerate(held)]
    left = [frozenset(one.difference(summed)) for one, summed in zip(held, alone, strict=True)]
    return list(zip(terms, narrow, alone, strict=True)), out, _greedy(left, frozenset(out), sizes)


def _parse(subscripts: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Return the labels of each operand and of the result: numbers, those of "..." below zero, counted from the last axis."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if not ranks or len(inputs) != len(ranks):
        raise InputError(f"einsum({subscripts!r}): the subscripts name {len(inputs)} operand(s), {len(ranks)} are given; they must agree")
    terms = [_labels(term, subscripts, rank, i) for i, (term, rank) in enumerate(zip(inputs, ranks, strict=True))]
    dots = range(min((label for labels in terms for label in labels if label < 0), default=0), 0)
    if not arrow:
        counted = [label for labels in terms for label in labels if label >= 0]
        return terms, (*dots, *sorted(label for label in set(counted) if counted.count(label) == 1))
    out = _labels(right, subscripts, len(right.replace("...", "")) + len(dots), None)
    known = {label for labels in terms for label in labels}
    unknown = [_name(label) for label in out if label not in known]
    if unknown or len(set(out)) < len(out):
        rule = f"names {', '.join(unknown)}, which no operand has" if unknown else "names an axis twice"
        raise InputError(f"einsum({subscripts!r}): the result {rule}; name each axis of the result once, and in an operand")
    return terms, out


def _labels(term: str, subscripts: str, rank: int, place: int | None) -> Labels:
    """Return the labels of one operand, or of the result (place None)."""
    whose = "the result" if place is None else f"operand {place}"
    before, dots, after = term.partition("...")
    if any(not (letter.isascii() and letter.isalpha()) for letter in before + after):
        raise InputError(f"einsum({subscripts!r}): {whose} is {term!r}; it may hold only letters and one '...'")
    extra = rank - len(before + after)
    if extra < 0 or (extra and not dots):
        raise ShapeError(f"einsum({subscripts!r}): {whose} is {term!r}, but has {rank} axes; give a letter for each, or '...'")
    return (*map(ord, before), *range(-extra, 0), *map(ord, after))


def _name(label: int) -> str:
    return repr(chr(label)) if label >= 0 else f"{label} of '...'"


def _greedy(terms: Sequence[frozenset[int]], out: frozenset[int], sizes: dict[int, int]) -> Path:
    """Return the pairs to contract: each time that which shrinks the arrays most, then that of least work."""

    def volume(labels: Iterable[int]) -> int:
        return math.prod(sizes[label] for label in labels)

    rest: list[frozenset[int]] = list(terms)
    path: list[tuple[int, int]] = []
    while len(rest) > 1:
        best: tuple[int, int, int, int] | None = None
        for i in range(len(rest)):
            for j in range(i + 1, len(rest)):
                kept = _result(rest, i, j, out)
                cost = (volume(kept) - volume(rest[i]) - volume(rest[j]), volume(rest[i] | rest[j]), i, j)
                best = cost if best is None or cost < best else best
        i, j = best[2:] if best is not None else (0, 1)
        kept = _result(rest, i, j, out)
        rest = [rest[k] for k in range(len(rest)) if k not in (i, j)] + [kept]
        path.append((i, j))
    return tuple(path)


def _result(rest: Sequence[frozenset[int]], i: int, j: int, out: frozenset[int]) -> frozenset[int]:
    needed = out.union(*(labels for k, labels in enumerate(rest) if k not in (i, j)))
    return (rest[i] | rest[j]) & needed


def contraction_path(subscripts: str, *operands: Any) -> Path:
    """Return the order in which `einsum` contracts: pairs of positions among the arrays left; each result goes to the end.

    The path is greedy: each step takes the pair whose result is smallest compared with its two arrays.
    Raises: as `einsum`.
    Source: Smith and Gray, opt_einsum, Journal of Open Source Software 3 (2018) 753.

    >>> contraction_path("ij,jk,k->i", [[1.0, 2.0]] * 3, [[1.0, 2.0]] * 2, [1.0, 2.0])
    ((1, 2), (0, 1))
    """
    _refuse_unless_text(subscripts, "contraction_path")
    return _plan(subscripts, tuple(as_tensor(x).shape for x in operands))[2]


def tensordot(x: Any, y: Any, axes: Any = 2) -> Tensor:
    """Return the sum of products over pairs of axes of two arrays: the other axes of x, then those of y.

    axes: n for the last n axes of x with the first n of y, or a pair of sequences: axes of x and, in the same order, axes of y.
    Raises: ShapeError if the lengths of a pair differ or an axis is outside its array; InputError if axes is neither form.

    >>> tensordot([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0], axes=1)
    Tensor (2,) float32, cpu: [3. 7.]
    """
    x, y = as_tensor(x), as_tensor(y)
    first, second = _pairs(axes, x.ndim, y.ndim)
    if any(x.shape[i] != y.shape[j] for i, j in zip(first, second, strict=True)):
        raise ShapeError(f"tensordot(x, y, axes={axes}): x has shape {x.shape}, y has {y.shape}; the lengths of paired axes must agree")
    left = tuple(range(x.ndim))
    right = tuple(first[second.index(i)] if i in second else x.ndim + i for i in range(y.ndim))
    out = tuple(label for label in (*left, *right) if label not in first)
    return _contract(x, y, axes=(left, right, out))


def _pairs(axes: Any, left: int, right: int) -> tuple[Labels, Labels]:
    """Return the axes of x and of y that are summed over, in pairs."""
    if hasattr(axes, "__index__"):
        n = operator.index(axes)
        if not 0 <= n <= min(left, right):
            raise ShapeError(f"tensordot(x, y, axes={n}): x has {left} axes and y {right}; axes must be between 0 and {min(left, right)}")
        return tuple(range(left - n, left)), tuple(range(n))
    try:
        first, second = axes
        given = [list(one) if hasattr(one, "__iter__") else [one] for one in (first, second)]
    except (TypeError, ValueError) as error:
        raise InputError(f"tensordot(x, y, axes={axes!r}): axes must be a number or a pair of sequences of numbers") from error
    summed = [tuple(normalize_axis(axis, ndim, "tensordot") for axis in one) for one, ndim in zip(given, (left, right), strict=True)]
    if len(summed[0]) != len(summed[1]) or any(len(set(one)) < len(one) for one in summed):
        raise InputError(f"tensordot(x, y, axes={axes!r}): both sequences must name as many axes, each once")
    return summed[0], summed[1]
