"""Python side of `kernels/attention.c`: attention in tiles, forward and backward, without a table of scores.

Both functions take NumPy arrays of one dtype, q (batch, heads, queries, width), k (batch, heads of keys, keys, width) and v (batch, heads
of keys, keys, depth), and return new ones, where `serves` says so. NumPy should serve: for fewer than THRESHOLD scores (there a call costs
as much as the work, and nothing is compiled), for another dtype than float32 and float64, and without a compiler.
"""

import ctypes
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperion import config
from hyperion.errors import CompilerError, SpeedWarning

from .compiler import load
from .pool import ARRAYS

THRESHOLD = 1 << 12     # scores from which the kernels are used
PARALLEL = 1 << 21      # scores times head size from which several threads share them: 50 us of work; to wake a thread takes 10
BLOCK = 64              # keys of a block: KEYS of the kernel
CHUNKS = 16             # of a backward at least, where there are rows enough; each has its own sums for keys and values
_FOLDER = Path(__file__).parent / "kernels"
_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_loaded: dict[Any, "ctypes.CDLL | None"] = {}


class _View(ctypes.Structure):
    _fields_ = [("at", _POINTER), *((name, _NUMBER) for name in ("batch", "head", "row", "column"))]


class _Call(ctypes.Structure):
    _fields_ = [
        *((name, _NUMBER) for name in ("batch", "heads", "kept_heads", "queries", "keys", "width", "depth")), ("scale", ctypes.c_double),
        *((name, _View) for name in ("q", "k", "v", "bias")), ("slopes", _POINTER), ("offset", _NUMBER),
        *((name, _POINTER) for name in ("first", "last", "bits")), *((name, _NUMBER) for name in ("mask_batch", "mask_head", "words")),
        ("random", ctypes.c_uint64 * 2), ("limit", ctypes.c_uint64), ("random_rows", _NUMBER), ("kept", ctypes.c_double),
        ("out", _POINTER), ("lse", _POINTER), ("g", _View), ("y", _View),
        *((name, _POINTER) for name in ("g_lse", "to_q", "to_k", "to_v", "sums", "ranges")), ("parts", _NUMBER),
        ("pages", _POINTER), ("most_pages", _NUMBER), ("page", _NUMBER), ("failed", _POINTER),
    ]


@dataclass(frozen=True)
class Terms:
    """What a call has beside queries, keys and values.

    scale: of the scores.  bias: added to them, four axes that have the full length or 1.  slopes: of ALiBi, (heads,), and offset: where
    query 0 stands among the keys.  intervals: (first, last), the keys that each query sees; or bits: words of 32 of them; see
    `autograd.visibility`. Neither: all are seen.  dropout: (rate, key of Philox, rows of the batch after which its words begin again).
    pages: int32 (batch, most pages): k and v are (pages, heads of keys, a multiple of BLOCK tokens, size), and a text has these pages; only
        forward.  modifier: text of the functions `modified` and `modified_slope`: what becomes of scores first; see `autograd.modifiers`.
    """

    scale: float
    bias: Any = None
    slopes: Any = None
    offset: int = 0
    intervals: tuple[Any, Any] | None = None
    bits: Any = None
    dropout: tuple[float, tuple[int, int], int] | None = None
    modifier: str | None = None
    pages: Any = None


def _load(dtype: np.dtype[Any], modifier: str | None) -> "ctypes.CDLL | None":
    """Return the compiled functions for a dtype and the text of a modifier; None, and one warning, if they cannot be had."""
    names = ("workers.h", "maths.h", *(() if modifier is None else ("waves.h", "loops.h")))
    parts = [(_FOLDER / name).read_text(encoding="utf-8") for name in (*names, "attention.c")]
    options = ["-fopenmp-simd", *(("-DREAL=double", "-DWIDE=1") if dtype == np.float64 else ("-DREAL=float",))]
    if modifier is not None:
        parts.insert(-1, f"#define FUNCTION INLINE\n{modifier}")
        options.append("-DMODIFIED")
    try:
        library = load("".join(parts), tuple(options))
    except CompilerError as error:
        _loaded.update(dict.fromkeys([(np.dtype(kind), modifier) for kind in (np.float32, np.float64)]))
        warnings.warn(f"attention runs in NumPy, several times slower: {error}", SpeedWarning, stacklevel=5)
        return None
    library.attention_sums.argtypes, library.attention_sums.restype = (_POINTER, _NUMBER), _NUMBER
    for function in (library.attention_forward, library.attention_backward):
        function.argtypes, function.restype = (_POINTER, ctypes.c_long), ctypes.c_int
    return library


def serves(q: Any, k: Any, v: Any, modifier: str | None = None, keys: int | None = None) -> bool:
    """Tell whether the kernels take a call; without a compiler not, which is said once. keys: their number, if they lie in pages.

    >>> serves(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))         # too few scores
    False
    """
    scores = q.shape[0] * q.shape[1] * q.shape[2] * (k.shape[2] if keys is None else keys)
    if type(q) is not np.ndarray or q.dtype not in (np.float32, np.float64) or scores < THRESHOLD or not v.shape[3]:
        return False
    return _found(q.dtype, modifier) is not None


def _found(dtype: np.dtype[Any], modifier: str | None) -> "ctypes.CDLL | None":
    key = dtype, modifier
    if key not in _loaded:
        _loaded[key] = _load(dtype, modifier)
    return _loaded[key]


def _library(dtype: np.dtype[Any], modifier: str | None) -> ctypes.CDLL:
    library = _found(dtype, modifier)
    assert library is not None, "ask `serves` first"
    return library


class _Made:
    """A call's description for C, and the arrays that it points to, which must live as long."""

    def __init__(self, q: Any, k: Any, v: Any, terms: Terms) -> None:
        self.dtype, self.kept = q.dtype, list[Any]()
        call = self.call = _Call()
        call.batch, call.heads, call.queries, call.width = q.shape
        call.kept_heads, call.keys, call.depth = k.shape[1], k.shape[2], v.shape[3]
        if terms.pages is not None:
            call.pages, (_, call.most_pages), call.page = self.address(terms.pages, np.int32), terms.pages.shape, k.shape[2]
            call.keys = call.most_pages * call.page
        call.scale, call.offset = terms.scale, terms.offset
        call.q, call.k, call.v = self.view(q), self.view(k), self.view(v)
        if terms.bias is not None:
            call.bias = self.view(np.asarray(terms.bias, q.dtype), whole=False)
        if terms.slopes is not None:
            call.slopes = self.address(np.asarray(terms.slopes), q.dtype)
        of_queries = terms.bits if terms.intervals is None else terms.intervals[0]
        if of_queries is not None:
            many = of_queries.shape[:2]
            call.mask_batch = 0 if many[0] == 1 else many[1] * call.queries
            call.mask_head = 0 if many[1] == 1 else call.queries
        if terms.intervals is not None:
            call.first, call.last = (self.address(x, np.int32) for x in terms.intervals)
        elif terms.bits is not None:
            call.bits, call.words = self.address(terms.bits, np.uint32), terms.bits.shape[-1]
        if terms.dropout is not None:
            rate, key, call.random_rows = terms.dropout
            call.random[0], call.random[1] = key
            call.limit, call.kept = min(int(rate * 2.0**32), 2**32 - 1), 1.0 / (1.0 - rate)
        self.threads = config.threads() if call.batch * call.heads * call.queries * call.keys * call.width >= PARALLEL else 1

    def address(self, x: Any, dtype: Any) -> int:
        """Return where the elements of an array lie, of a copy if they are not contiguous or of another dtype."""
        x = np.ascontiguousarray(x, dtype)
        self.kept.append(x)
        return x.ctypes.data

    def view(self, x: Any, whole: bool = True) -> _View:
        """Return an array with its strides; whole: numbers of the last axis follow each other, else an axis of length 1 has stride 0."""
        if x.dtype != self.dtype or (whole and x.strides[3] != x.itemsize) or any(s % x.itemsize for s in x.strides):
            x = np.ascontiguousarray(x, self.dtype)
        self.kept.append(x)
        steps = [0 if n == 1 and not whole else s // x.itemsize for n, s in zip(x.shape, x.strides, strict=True)]
        return _View(x.ctypes.data, *steps)

    def new(self, shape: tuple[int, ...]) -> tuple[Any, int]:
        """Return a new array and where it lies."""
        return ARRAYS.empty(shape, self.dtype)

    def run(self, function: Any) -> None:
        """Call a function of the library."""
        if function(ctypes.byref(self.call), self.threads):
            raise MemoryError("attention: there is too little memory for the tiles of a thread")


def forward(q: Any, k: Any, v: Any, terms: Terms) -> tuple[Any, Any]:
    """Return the output, (batch, heads, queries, depth), and the log-sum-exp of each row of scores, -inf where nothing is seen.

    Rows in which nothing is seen give zeros. Source: see `kernels/attention.c`.
    """
    made = _Made(q, k, v, terms)
    out, made.call.out = made.new((*q.shape[:3], v.shape[3]))
    lse, made.call.lse = made.new(q.shape[:3])
    made.run(_library(q.dtype, terms.modifier).attention_forward)
    return out, lse


def backward(q: Any, k: Any, v: Any, out: Any, lse: Any, g: Any, of_lse: Any, terms: Terms) -> tuple[Any, Any, Any]:
    """Return the cotangents of q, k and v from those of the output and the log-sum-exp, which `forward` returned."""
    library, made = _library(q.dtype, terms.modifier), _Made(q, k, v, terms)
    call = made.call
    call.g, call.y = made.view(g), made.view(out)
    call.lse, call.g_lse = made.address(lse, q.dtype), made.address(of_lse, q.dtype)
    sums, call.sums = made.new((library.attention_sums(ctypes.byref(call), CHUNKS),))
    call.ranges = made.address(np.empty((call.batch * call.kept_heads * call.parts, 2), np.int64), np.int64)
    (to_q, call.to_q), (to_k, call.to_k), (to_v, call.to_v) = (made.new(x.shape) for x in (q, k, v))
    made.run(library.attention_backward)
    del sums
    return to_q, to_k, to_v
