"""Attention of the last tokens of texts to keys and values that lie in pages: for generation, where texts grow at their own pace.

A pool of pages serves all texts. A text has a list of pages, of which the last may be filled in part; texts with a common beginning may
share pages. Nothing is padded or moved when a text grows.

Source: Kwon et al. 2023, arXiv:2309.06180, section 4 (PagedAttention).
"""

import math
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_floating, is_integer, result_dtype
from hyperion.autograd.graph import state
from hyperion.autograd.masks import as_mask
from hyperion.autograd.ops import attending
from hyperion.autograd.ops.arithmetic import add, multiply
from hyperion.autograd.ops.shaping import astype, broadcast_to, reshape
from hyperion.autograd.table import Primitive, general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.cpu import attention as native
from hyperion.errors import DtypeError, GraphError, InputError, ShapeError
from hyperion.gpu import attention_paged as paged

__all__ = ["paged_attention"]


def _forward(
    xp: Any, q: Any, keys: Any, values: Any, pages: Any, lengths: Any, scale: float, window: int | None,
) -> Any:
    """Return the output: by the kernels of the GPU and the CPU page by page; elsewhere of pages that are put together first."""
    if xp is not np and paged.serves(q, keys, values):
        return paged.forward(q, keys, values, pages, lengths, scale, window)
    queries, page = q.shape[2], keys.shape[2]
    last = lengths.reshape(-1, 1, 1) - queries + 1 + xp.arange(queries)             # a query sees the keys before this one
    first = xp.zeros_like(last) if window is None else last - 1 - window
    first, last = (xp.clip(x, 0, lengths.reshape(-1, 1, 1)).astype(np.int32) for x in (first, last))
    if xp is np and page % native.BLOCK == 0 and pages.size and native.serves(q, keys, values, None, pages.shape[1] * page):
        out, _ = native.forward(q, keys, values, native.Terms(scale, intervals=(first, last), pages=pages))
        return out
    k, v = (x[pages].swapaxes(1, 2).reshape(len(pages), x.shape[1], -1, x.shape[3]) for x in (keys, values))
    places = xp.arange(k.shape[2])
    mask = as_mask(Tensor((places >= first[..., None]) & (places < last[..., None])))
    params = {"mask": mask.bare(), "scale": scale, "biased": False, "slopes": None, "dropout": None, "modifier": None}
    return attending._forward(xp, q, k, v, *[x.data for x in mask.arrays], **params)[0]      # pyright: ignore[reportPrivateUsage]


def _batched(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """Join the examples' texts. Pools that are not shared are joined too, and the numbers of pages go on from one to the next."""
    size = next(x.shape[0] for x, has in zip(inputs, batched, strict=True) if has)
    q, keys, values, pages, lengths = (
        x if has or i in (1, 2) else broadcast_to(reshape(x, (1, *x.shape)), (size, *x.shape))
        for i, (x, has) in enumerate(zip(inputs, batched, strict=True))
    )
    if batched[1] or batched[2]:
        keys, values = (x if has else broadcast_to(reshape(x, (1, *x.shape)), (size, *x.shape))
                        for x, has in zip((keys, values), batched[1:3], strict=True))
        begins = Tensor(np.arange(size).reshape(-1, 1, 1)).to(pages.device)
        pages = astype(add(pages, multiply(begins, keys.shape[1])), pages.dtype)
        keys, values = (reshape(x, (-1, *x.shape[2:])) for x in (keys, values))
    q, pages, lengths = (reshape(x, (-1, *x.shape[2:])) for x in (q, pages, lengths))
    out = op(q, keys, values, pages, lengths, **params)
    return reshape(out, (size, out.shape[0] // size, *out.shape[1:]))


_paged_attention = general(
    "paged_attention", _forward, differentiable=False, batch=_batched,
    doc="Return attention to keys and values in pages; see `hyperion.paged_attention`.",
)


def paged_attention(
    q: Any, keys: Any, values: Any, pages: Any, lengths: Any, scale: float | None = None, window: int | None = None,
) -> Tensor:
    """Return softmax(scale q k^T) v of the last tokens of texts whose keys and values lie in pages; causal, without a gradient.

    q: (batch, heads, queries, head size): the last tokens; the last query stands at the text's last key.
    keys, values: the pool, (pages, heads of keys, tokens of a page, head size or any size). Heads as in `attention`.
    pages: integers (batch, most pages): which pages a text has, in order; what lies beyond its length is not looked at, but must exist.
    lengths: integers (batch,): keys of each text.  scale: of the scores; None: 1 / sqrt(head size).
    window: a query sees so many keys before its own; None: all.
    Returns: (batch, heads, queries, size of values). Queries before a text's beginning (length < queries) give zeros.
    Raises: ShapeError, DtypeError or InputError for what does not fit; GraphError where a gradient would be lost.
    Source: Kwon et al. 2023, arXiv:2309.06180.

    >>> pool = np.arange(8.0).reshape(4, 1, 2, 1)                       # four pages of two tokens
    >>> paged_attention(np.zeros((2, 1, 1, 1)), pool, pool, [[3, 0], [1, 0]], [3, 2])[:, 0, 0, 0]
    Tensor (2,) float64, cpu: [4.333333 2.5     ]
    """
    given = [as_tensor(x) for x in (q, keys, values)]
    if state.recording and any(x.tracked for x in given):
        raise GraphError("paged_attention(q, keys, values): one of them is tracked, and there is no gradient; use hp.attention for "
                         "training, or call it under hp.no_grad()")
    if any(not is_floating(x.dtype) for x in given):
        raise DtypeError(f"paged_attention(q, keys, values): dtypes {', '.join(str(x.dtype) for x in given)}; all must be floating")
    dtype = result_dtype(x.dtype for x in given)
    queries, pool, other = (x if x.dtype == dtype else astype(x, dtype) for x in given)
    table, counts = as_tensor(pages), as_tensor(lengths)
    _refuse(queries, pool, other, table, counts)
    factor = 1.0 / math.sqrt(queries.shape[3] or 1) if scale is None else scale
    if not isinstance(factor, int | float | np.floating) or not math.isfinite(factor):      # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"paged_attention(scale): scale={scale!r} must be a finite number")
    if window is not None and (not isinstance(window, int) or window < 0):                  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"paged_attention(window): window={window!r} must be 0 or more, or None")
    return _paged_attention(queries, pool, other, table, counts, scale=float(factor), window=window)


def _refuse(q: Tensor, keys: Tensor, values: Tensor, pages: Tensor, lengths: Tensor) -> None:
    name = "paged_attention"
    if q.ndim != 4 or keys.ndim != 4 or keys.shape[:3] != values.shape[:3] or values.ndim != 4:
        raise ShapeError(f"{name}(q, keys, values): shapes {q.shape}, {keys.shape}, {values.shape}; they must be (batch, heads, queries, "
                         "head size) and twice (pages, heads of keys, tokens of a page, size)")
    if q.shape[3] != keys.shape[3] or not keys.shape[1] or q.shape[1] % keys.shape[1]:
        raise ShapeError(f"{name}(q, keys): shapes {q.shape} and {keys.shape}; head sizes must agree, the heads of keys divide those of q")
    if not is_integer(pages.dtype) or not is_integer(lengths.dtype):
        raise DtypeError(f"{name}(pages, lengths): dtypes {pages.dtype} and {lengths.dtype}; both must be integer")
    if pages.ndim != 2 or pages.shape[0] != q.shape[0] or lengths.shape != q.shape[:1]:
        raise ShapeError(f"{name}(pages, lengths): shapes {pages.shape} and {lengths.shape} for {q.shape[0]} texts; they must be "
                         f"({q.shape[0]}, most pages) and ({q.shape[0]},)")
    if pages.device == "cpu" and type(pages) is Tensor and type(lengths) is Tensor:         # on a GPU a look at them would wait for it
        held, most = np.asarray(pages.data), pages.shape[1] * keys.shape[2]
        if held.size and (held.min() < 0 or held.max() >= keys.shape[0]):
            raise InputError(f"{name}(pages): they hold {held.min()} to {held.max()}; the pool has pages 0 to {keys.shape[0] - 1}")
        if lengths.size and (np.asarray(lengths.data).min() < 0 or np.asarray(lengths.data).max() > most):
            raise InputError(f"{name}(lengths): {np.asarray(lengths.data).max()} keys, and a text has room for {most} in its pages")
