"""Samples of attention and heads: fewer heads of keys, other lengths, masks with and without arrays, biases, dropout."""

from typing import Any

import numpy as np

from hyperion.autograd.masks import ALiBi, BlockSparse, Causal, Document, Mask, PrefixLM, SlidingWindow, as_mask
from hyperion.autograd.modifiers import ScoreModifier, SoftCap

rng = np.random.default_rng(7)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def params(
    mask: Mask | None = None, biased: bool = False, slopes: Any = None, dropout: Any = None, modifier: Any = None, scale: float = 0.7,
) -> dict[str, Any]:
    bare = None if mask is None else mask.bare()
    return {"mask": bare, "scale": scale, "biased": biased, "slopes": slopes, "dropout": dropout, "modifier": modifier}


class Everything(ScoreModifier):
    """Every function that a formula may have, and its place."""

    def value(self, xp: Any, score: Any, head: Any, query: Any, key: Any) -> Any:
        near = xp.exp(-0.1 * xp.abs(query - key)) / (1.0 + head)
        smooth = xp.sqrt(1.0 + xp.square(score)) + xp.sin(score) * xp.cos(0.5 * score) - xp.expm1(-xp.abs(score)) + score**3 / 50.0
        folded = xp.where(score > 0.2, xp.log(1.0 + score * score), xp.log1p(xp.maximum(-score, -0.2)) / 2.0)
        return 0.3 * smooth - near * xp.minimum(folded, 5.0) + 1.0 / (2.0 + xp.tanh(score))


def case(batch: int, heads: int, kept: int, rows: int, keys: int, mask: Mask | None = None, bias: Any = None, **more: Any) -> Any:
    arrays = [] if mask is None else [x.data for x in mask.arrays]
    own = [] if bias is None else [bias]
    given = (normal(batch, heads, rows, 2), normal(batch, kept, keys, 2), normal(batch, kept, keys, 3), *own, *arrays)
    return given, params(mask, bias is not None, **more)


table = as_mask(np.array([[True, False, True], [False, True, False]]))
table_of_two = as_mask(np.array([[True, False], [True, True]]))
FORWARD = [
    case(2, 2, 1, 3, 3, Causal()),
    case(1, 4, 2, 2, 3, SlidingWindow(1, 0), slopes=ALiBi(4)),
    case(2, 1, 1, 2, 3, table, normal(1, 1, 2, 3)),
    case(2, 2, 2, 2, 2, None, normal(2, 1, 1, 2), dropout=(0.4, (3, 5), 2)),
    case(2, 1, 1, 3, 3, (Document(np.array([[0, 0, 1], [0, 1, 1]])) & Causal()) | PrefixLM(1)),
    case(2, 2, 1, 2, 3, Causal(), normal(1, 2, 1, 3), modifier=SoftCap(0.8)),
    case(1, 2, 2, 2, 2, table_of_two, modifier=Everything(), dropout=(0.4, (3, 5), 1)),
    case(1, 2, 1, 4, 4, BlockSparse(np.array([[[True, False], [True, True]], [[False, True], [True, True]]]), 2)),
]


def pulled(sample: Any, pull_bias: bool) -> Any:
    (q, k, v, *rest), options = sample
    g = normal(*q.shape[:3], v.shape[-1])
    # any output and log-sum-exp will do: the operation trusts them
    return (q, k, v, normal(*g.shape), 3.0 + normal(*q.shape[:3]), g, normal(*q.shape[:3]), *rest), {**options, "pull_bias": pull_bias}


SAMPLES: dict[str, list[Any]] = {
    "attention": FORWARD,
    "attention_backward": [pulled(sample, sample[1]["biased"]) for sample in FORWARD],
    "paged_attention": [
        ((normal(2, 4, queries, 2), normal(5, 2, 3, 2), normal(5, 2, 3, 4), np.array([[4, 1, 0], [2, 3, 0]]), np.array([5, 7])),
         {"scale": 0.7, "window": window}) for queries, window in ((1, None), (2, 2))
    ],
    "split_heads": [((normal(2, 3, 8),), {"counts": (2, 1, 1), "size": 2})],
    "join_heads": [((normal(2, 1, 3, 2), normal(2, 2, 3, 2)), {}), ((normal(2, 3, 2),), {})],
    "rotate_pairs": [((normal(2, 2, 3, 4), normal(3, 4)), {"back": back}) for back in (False, True)]
    + [((normal(3, 4), normal(2, 1, 3, 4)), {"back": back}) for back in (False, True)],
}
