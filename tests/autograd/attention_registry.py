"""What attention must do: masks, layouts, terms and shapes, and the formula in NumPy that each draw of them is held against.

Every mask says twice what it lets be seen: as the library's value, and as bools written down here without the library.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as some

import hyperion as hp
from hyperion import nn
from hyperion.autograd.masks import Tile
from hyperion.autograd.ops import attending

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shape:
    """Lengths: `kept` heads of keys, each for `group` heads of queries."""

    batch: int
    kept: int
    group: int
    queries: int
    keys: int
    width: int
    depth: int

    @property
    def heads(self) -> int:
        return self.kept * self.group

    @property
    def table(self) -> tuple[int, int, int, int]:
        return self.batch, self.heads, self.queries, self.keys


class Smooth(nn.ScoreModifier):
    """A modifier of the score and its place, without corners."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def value(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
        apart = query - key
        return score / (1.0 + self.strength * xp.abs(apart)) + xp.sin(score) * xp.exp(-self.strength * xp.square(apart)) / (1.0 + head)


# Masks: (shape, random) -> what is given to attention, and bools that broadcast to (batch, heads, queries, keys).

Mask = tuple[Any, Any]


def at(s: Shape, offset: int | None = None) -> tuple[Numbers, Numbers]:
    """Return the places of queries (queries, 1) and of keys (keys,)."""
    return np.arange(s.queries)[:, None] + (s.keys - s.queries if offset is None else offset), np.arange(s.keys)


def causal(s: Shape, random: np.random.Generator) -> Mask:
    offset = None if random.random() < 0.5 else int(random.integers(-3, 5))
    i, j = at(s, offset)
    return nn.Causal(offset), j <= i


def window(s: Shape, random: np.random.Generator) -> Mask:
    left, right = (None if random.random() < 0.2 else int(random.integers(0, 1 + s.keys // 2)) for _ in range(2))
    offset = None if random.random() < 0.5 else int(random.integers(-3, 5))
    i, j = at(s, offset)
    first, last = (1 << 20 if n is None else n for n in (left, right))
    return nn.SlidingWindow(left, right, offset), (j >= i - first) & (j <= i + last)


def prefix(s: Shape, random: np.random.Generator) -> Mask:
    i, j = at(s)
    if random.random() < 0.5:
        length = int(random.integers(0, s.keys + 2))
        return nn.PrefixLM(length), (j < length) | (j <= i)
    lengths = random.integers(0, s.keys + 2, s.batch)
    return nn.PrefixLM(lengths), (j < lengths[:, None, None, None]) | (j <= i)


def document(s: Shape, random: np.random.Generator) -> Mask:
    """Documents in runs or scattered, with padding; of the last tokens, or (other lengths) of other tokens."""
    ids = random.integers(-1, 4, (s.batch if random.random() < 0.5 else 1, s.keys))
    if random.random() < 0.5:
        ids = np.sort(ids, axis=1)
    own = None if s.queries <= s.keys and random.random() < 0.7 else random.integers(-1, 4, (len(ids), s.queries))
    of_queries = ids[:, s.keys - s.queries:] if own is None else own
    seen = (of_queries[:, None, :, None] == ids[:, None, None]) & (ids >= 0)[:, None, None]
    return nn.Document(ids, own), seen


def packed(s: Shape, random: np.random.Generator) -> Mask:
    texts = int(random.integers(1, 5))
    cuts, others = (np.sort(random.integers(0, n + 1, texts - 1)) for n in (s.keys, s.queries))
    bounds, own = np.array([0, *cuts, s.keys]), np.array([0, *others, s.queries])
    seen = np.zeros((s.queries, s.keys), bool)
    for text in range(texts):
        seen[own[text]:own[text + 1], bounds[text]:bounds[text + 1]] = True
    if s.queries == s.keys and random.random() < 0.5:
        seen[:] = False
        for begin, end in itertools.pairwise(bounds):
            seen[begin:end, begin:end] = True
        return nn.Document.packed(bounds), seen
    return nn.Document.packed(bounds, own), seen


def blocks(s: Shape, random: np.random.Generator) -> Mask:
    """Block tables: any, Child's two, BigBird's; where queries are more than keys a table of bools instead."""
    if s.queries > s.keys:
        return table(s, random)
    size = int(random.integers(1, 40))
    count = -(-s.keys // size) + int(random.integers(0, 2))
    i, j = at(s)
    rows, columns = np.arange(count)[:, None], np.arange(count)
    kind = random.integers(4)
    if kind == 0:
        layout = random.random((s.heads, count, count) if random.random() < 0.5 else (count, count)) < 0.5
        return nn.BlockSparse(layout, size), layout[..., i // size, j // size]
    stride = int(random.integers(1, 5))
    if kind == 1:
        layout = (columns <= rows) & ((rows - columns < stride) | ((rows - columns) % stride == 0))
        return nn.BlockSparse.strided(count, stride, size), layout[i // size, j // size]
    if kind == 2:
        summary = int(random.integers(0, stride + 1))
        layout = (columns <= rows) & ((rows // stride == columns // stride) | (columns % stride >= stride - summary))
        return nn.BlockSparse.fixed(count, stride, summary, size), layout[i // size, j // size]
    made = nn.BlockSparse.bigbird(count, 1, 1, 1, size, seed=int(random.integers(100)))
    layout = made.arrays[0].numpy()[0, 0]
    least = (abs(rows - columns) <= 1) | (rows < 1) | (columns < 1)
    assert (layout >= least).all() and (layout.sum(1) == np.minimum(least.sum(1) + 1, count)).all()
    return made, layout[i // size, j // size]


def table(s: Shape, random: np.random.Generator) -> Mask:
    lengths = [n if random.random() < 0.6 else 1 for n in s.table[:2]] + [s.queries if random.random() < 0.8 else 1, s.keys]
    seen = random.random(lengths) < random.choice([0.1, 0.5, 0.97])
    seen[:, :, ::3] &= random.random() < 0.5            # rows that see nothing
    return seen, seen


def both(s: Shape, random: np.random.Generator) -> Mask:
    (one, first), (other, second) = (LEAVES[name](s, random) for name in random.choice(list(LEAVES), 2))
    one, other = (nn.Causal(1 << 20) if m is None else m for m in (one, other))
    one = one if isinstance(one, nn.Mask) or isinstance(other, nn.Mask) else hp.autograd.masks.as_mask(one)
    return one & other, first & second


def either(s: Shape, random: np.random.Generator) -> Mask:
    (one, first), (other, second) = (LEAVES[name](s, random) for name in random.choice(list(LEAVES), 2))
    one, other = (nn.Causal(1 << 20) if m is None else m for m in (one, other))
    one = one if isinstance(one, nn.Mask) or isinstance(other, nn.Mask) else hp.autograd.masks.as_mask(one)
    return one | other, first | second


LEAVES: dict[str, Callable[[Shape, np.random.Generator], Mask]] = {
    "none": lambda s, random: (None, np.True_), "causal": causal, "window": window, "prefix": prefix, "document": document,
    "packed": packed, "blocks": blocks, "table": table,
}
MASKS: dict[str, Callable[[Shape, np.random.Generator], Mask]] = {
    **LEAVES, "and": both, "or": either, "nothing": lambda s, random: (np.zeros((1, 1), bool), np.False_),
}


# Layouts: how an array (batch, heads, tokens, size) lies in memory.

def slices_of_one(x: Numbers) -> Numbers:
    """Return it as the part of a wider array, as the queries of joint queries, keys and values are."""
    wide = np.full((x.shape[0], x.shape[2], 3, *x.shape[1::2]), np.nan, x.dtype)
    wide[:, :, 1] = x.transpose(0, 2, 1, 3)
    return wide[:, :, 1].transpose(0, 2, 1, 3)


def every_second(x: Numbers) -> Numbers:
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


LAYOUTS: dict[str, Callable[[Numbers], Numbers]] = {
    "heads before tokens": np.ascontiguousarray, "tokens before heads": lambda x: np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2),
    "slices of one": slices_of_one, "every second": every_second,
    "backwards": lambda x: np.ascontiguousarray(x[:, ::-1, ::-1])[:, ::-1, ::-1],
    "turned": np.asfortranarray,
}
TERMS = ("nothing", "bias", "alibi", "soft cap", "smooth", "dropout", "bias, soft cap and dropout")
HALF = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
DTYPES = ("float32", "float64", "float16", "bfloat16")


@dataclass
class Case:
    """One draw: what is given, and what the formula says of it in float64."""

    shape: Shape
    mask: str
    layout: str
    terms: str
    dtype: str
    seed: int
    scale: float = 0.3
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        s, random = self.shape, np.random.default_rng(self.seed)
        self.given, self.seen = MASKS[self.mask](s, random)
        rows = s.table[:3]
        shapes = (*rows, s.width), (s.batch, s.kept, s.keys, s.width), (s.batch, s.kept, s.keys, s.depth), (*rows, s.depth)
        dtype = hp.autograd.dtypes.as_dtype(self.dtype)
        self.wide = "float64" if self.dtype == "float64" else "float32"
        self.arrays = [LAYOUTS[self.layout](random.standard_normal(shape).astype(dtype)) for shape in shapes]
        self.of_lse = random.standard_normal(rows).astype(self.wide)
        self.bias: Any = None
        self.dropout: Any = None
        if "bias" in self.terms:
            lengths = [n if random.random() < 0.5 else 1 for n in s.table]
            self.bias = random.standard_normal(lengths).astype(self.wide)
        if self.terms == "alibi":
            self.options["bias"] = nn.ALiBi(s.heads)
        if "soft cap" in self.terms or self.terms == "smooth":
            self.options["modifier"] = nn.SoftCap(1.5) if "soft cap" in self.terms else Smooth(0.1)
        if "dropout" in self.terms:
            self.dropout = 0.3, int(random.integers(1 << 30))

    def call(self, place: str = "cpu") -> tuple[Callable[..., Any], list[Any]]:
        """Return a function of q, k, v (and the bias) that gives the output and the log-sum-exp, and its arguments."""
        mask = self.given
        given = [hp.Tensor(x).to(place) for x in self.arrays[:3]] + ([] if self.bias is None else [hp.Tensor(self.bias).to(place)])

        def f(*xs: Any) -> Any:
            options = dict(self.options)
            if self.bias is not None:
                options["bias"] = xs[3]
            if self.dropout is not None:
                options["dropout"] = self.dropout[0], hp.random.Generator(self.dropout[1])
            return hp.attention(*xs[:3], mask=mask, scale=self.scale, return_lse=True, **options)

        return f, given

    def kept(self) -> Any:
        """Return the factors of dropout; that they are the generator's words is tested elsewhere."""
        if self.dropout is None:
            return 1.0
        drawn = attending._dropout((self.dropout[0], hp.random.Generator(self.dropout[1])), self.shape.batch)
        s = self.shape
        tile = Tile((0, s.batch), (0, s.heads), (0, s.queries), (0, s.keys), s.queries, s.keys)
        return attending._kept(np, drawn, s.heads, tile, np.dtype(np.float64))

    def expected(self, rounded: bool = False) -> tuple[list[Numbers], list[Any]]:
        """Return the output, lse and cotangents of q, k, v (and bias) in float64, and for each how far rounding may take it.

        rounded: 16-bit inputs meet probabilities and slopes of 16 bits, as in tensor cores.
        """
        s = self.shape
        q, k, v, g = (x.astype(np.float64) for x in self.arrays)
        k, v = (np.repeat(x, s.group, axis=1) for x in (k, v))
        i, j = at(s)
        head = np.arange(s.heads, dtype=np.float64)[:, None, None]
        raw = q @ k.swapaxes(-1, -2) * self.scale
        modifier = self.options.get("modifier")
        places = head, i.astype(np.float64), j.astype(np.float64)
        bend = 1.0 if modifier is None else modifier.slope(np, raw, *places)
        scores = raw if modifier is None else modifier.value(np, raw, *places)
        if self.bias is not None:
            scores = scores + self.bias
        if self.terms == "alibi":
            scores = scores - np.array(nn.ALiBi(s.heads).slopes)[:, None, None] * abs(i - j)
        seen = np.broadcast_to(self.seen, s.table)
        scores = np.where(seen, scores, -np.inf)
        top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        top = np.where(np.isneginf(top), 0.0, top)
        weights = np.exp(scores - top)
        total = weights.sum(axis=-1, keepdims=True)
        alive = total > 0.0
        p = weights / np.where(alive, total, 1.0)
        lse = np.where(alive, top + np.log(np.where(alive, total, 1.0)), -np.inf)[..., 0]
        kept = self.kept()
        out = (p * kept) @ v
        spread = g @ v.swapaxes(-1, -2) * kept
        shift = (g * out).sum(axis=-1, keepdims=True) - self.of_lse[..., None].astype(np.float64)
        of_scores = p * (spread - shift)
        slope = of_scores * bend
        to_k, to_v = slope.swapaxes(-1, -2) @ q * self.scale, (p * kept).swapaxes(-1, -2) @ g
        grouped = [x.reshape(s.batch, s.kept, s.group, *x.shape[2:]).sum(axis=2) for x in (to_k, to_v)]
        found = [out, lse, slope @ k * self.scale, *grouped]
        if self.bias is not None:
            axes = tuple(n for n, length in enumerate(self.bias.shape) if length == 1)
            found.append(of_scores.sum(axis=axes, keepdims=True))
        return found, self._tolerances(found, scores, p, kept, bend, (q, k, v, g), spread - shift, rounded)

    def _tolerances(self, found: Any, scores: Any, p: Any, kept: Any, bend: Any, arrays: Any, pulls: Any,
                    rounded: bool) -> list[Numbers]:
        """Return how far rounding may take each number: six times what first order says of errors of random sign.

        Errors of scores are relative errors of probabilities. Those of a whole row (its log-sum-exp, its `shift`, which is a sum over the
        output as it was stored, perhaps in half precision) have one sign over all keys.
        """
        q, k, v, g = arrays
        eps, half, scale = 2.0 * float(np.finfo(self.wide).eps), HALF.get(self.dtype, 0.0), self.scale
        long_q, long_k, long_v, long_g = (np.linalg.norm(x, axis=-1) for x in arrays)
        finite = np.where(np.isfinite(scores), scores, 0.0)
        steep = np.maximum(np.abs(bend), 1.0)
        of_scores = eps * (long_q[..., None] * long_k[..., None, :] * scale * steep + np.abs(finite) + 2.0)
        of_lse = np.sqrt((p * of_scores**2).sum(axis=-1)) + eps * (np.abs(np.where(np.isfinite(found[1]), found[1], 0.0)) + 2.0)
        relative = of_scores + of_lse[..., None]
        factor, tiny = (half / 2, 2.0**-25 * (self.dtype == "float16")) if rounded else (0.0, 0.0)     # tiny: between the smallest numbers
        of_p = p * kept * (relative + factor) + tiny
        of_out = rooted(of_p**2, v**2) + np.abs(found[0]) * (of_lse[..., None] + half / 2)
        of_shift = np.sqrt(((g * of_out) ** 2).sum(axis=-1)) + eps * (long_g * np.linalg.norm(found[0], axis=-1) + np.abs(self.of_lse))
        alone = p * (relative * np.abs(pulls) + eps * long_g[..., None] * long_v[..., None, :] * kept)
        rows = p * of_shift[..., None]
        # a modifier's slope is a difference (1 - tanh^2) of numbers near 1, at a score with an error: both change it by at most 1
        of_bend = 0.0 if "modifier" not in self.options else (eps + of_scores) * p * np.abs(pulls)
        of_factor = (factor * p * np.abs(pulls * bend) + tiny) ** 2
        of_q = scale * (rooted((alone * bend) ** 2 + of_bend**2 + of_factor, k**2) + np.abs((p * bend) @ k) * of_shift[..., None])
        of_k = scale * rooted((((alone + rows) * bend) ** 2 + of_bend**2 + of_factor).swapaxes(-1, -2), q**2)
        of_v = rooted(of_p.swapaxes(-1, -2) ** 2, g**2)
        s = self.shape
        grouped = [x.reshape(s.batch, s.kept, s.group, *x.shape[2:]).sum(axis=2) for x in (of_k, of_v)]
        bounds = [of_out, of_lse, of_q + np.abs(found[2]) * of_lse[..., None], *grouped]
        if self.bias is not None:
            axes = tuple(n for n, length in enumerate(self.bias.shape) if length == 1)
            of_rows = rows.sum(axis=-1, keepdims=True) if 3 in axes else rows
            bounds.append(sum(np.sqrt((x**2).sum(axis=axes, keepdims=True)) for x in (alone, of_rows)))
        stored = [half, 0.0, half, half, half, 0.0]
        least = 2.0**-24 if self.dtype == "float16" else 0.0      # between its smallest numbers
        sizes = [np.abs(np.where(np.isfinite(x), x, 0.0)) for x in found]
        return [6.0 * bound + share * size + least for bound, share, size in zip(bounds, stored, sizes, strict=False)]


def rooted(squares: Numbers, others: Numbers) -> Numbers:
    return np.sqrt(squares @ others)


SHAPES = some.builds(
    Shape, some.integers(1, 2), some.integers(1, 3), some.sampled_from([1, 1, 2, 4]), some.integers(1, 140), some.integers(1, 140),
    some.integers(1, 70), some.integers(1, 70),
) | some.builds(                                        # as long as each other, one query, one key, wide heads
    lambda batch, kept, group, lengths, width: Shape(batch, kept, group, *lengths, width, width),
    some.integers(1, 2), some.integers(1, 2), some.integers(1, 3),
    some.integers(1, 200).flatmap(lambda n: some.sampled_from([(n, n), (1, n), (n, 1)])), some.sampled_from([8, 64, 96, 128, 256]),
)
CASES = some.builds(
    Case, SHAPES, some.sampled_from(list(MASKS)), some.sampled_from(list(LAYOUTS)), some.sampled_from(TERMS), some.sampled_from(DTYPES),
    some.integers(0, 1 << 30),
)


def check(case: Case, place: str = "cpu") -> None:
    """Compare output, log-sum-exp and cotangents with the formula; the tangent with the cotangents by the dot test."""
    f, given = case.call(place)
    (out, lse), pull = hp.vjp(f, *given)
    alive = np.isfinite(lse.to("cpu").numpy())
    seeds = hp.Tensor(case.arrays[3]).to(place), hp.Tensor(np.where(alive, case.of_lse, 0).astype(case.wide)).to(place)
    slopes = pull(seeds)
    found = [x.to("cpu").numpy().astype(np.float64) for x in (out, lse, *slopes)]
    expected, tolerances = case.expected(rounded=place != "cpu")
    assert str(out.dtype) == case.dtype and str(lse.dtype) == case.wide
    for name, one, exact, tolerance in zip(("out", "lse", "q", "k", "v", "bias"), found, expected, tolerances, strict=False):
        assert one.shape == exact.shape, name
        finite = np.isfinite(exact)
        assert np.array_equal(one[~finite], exact[~finite]), f"{name}: infinities"
        over = (np.abs(one[finite] - exact[finite]) / np.maximum(tolerance[finite], 1e-300)).max(initial=0.0)
        assert over <= 1.0, f"{name} is further away from the formula than rounding explains: {over:.3g} times"
    dead = ~alive
    assert not found[0][dead].any() and not found[2][dead].any(), "rows that see nothing give zeros and zero gradients"
    if case.wide == case.dtype and len(given) == 3:
        random = np.random.default_rng(case.seed)
        moves = [hp.Tensor(random.standard_normal(x.shape).astype(case.wide)).to(place) for x in given]
        moved = hp.jvp(lambda *xs: f(*xs)[0], tuple(given), tuple(moves))[1].to("cpu").numpy().astype(np.float64)
        g = case.arrays[3].astype(np.float64)
        zero = hp.Tensor(np.zeros_like(case.of_lse)).to(place)
        back = [x.to("cpu").numpy().astype(np.float64) for x in pull((seeds[0], zero))]
        directions = [x.to("cpu").numpy().astype(np.float64) for x in moves]
        difference = abs(np.vdot(moved, g) - sum(np.vdot(a, u) for a, u in zip(back, directions, strict=True)))
        bound = np.finfo(case.wide).eps * np.linalg.norm(moved) * np.linalg.norm(g)
        bound += sum(np.linalg.norm(limit * u) for limit, u in zip(tolerances[2:], directions, strict=False))
        assert difference <= bound, f"<J u, g> and <u, J^T g> differ by {difference:.3g}; rounding explains {bound:.3g}"
