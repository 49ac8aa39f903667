"""Data for training: token files, arrays and HDF5 files as sets of examples, and batches of them in an order that a number describes.

    tokens  = nn.read_tokens("train.bin")                                  # memory-mapped: it may be larger than the memory
    batches = nn.Batches(nn.Windows(tokens, context=256), size=12, seed=1)
    for inputs, targets in batches: ...                                    # endless

A set of examples is anything with a length that gives, for an array of indices, a tuple of arrays with one row for each:
`Windows`, `Arrays`, `HDF5Arrays`, or a class of your own with `__len__` and `__getitem__`.
Batch number k is a function of the seed and k alone, so a resumed run goes on with the batch it would have come to, and a thread may
prepare batches ahead of time without changing anything.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperion.autograd import Tensor
from hyperion.autograd.random import Generator
from hyperion.errors import DtypeError, FileError, InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.io.files import write_bytes
from hyperion.nn.arguments import as_count

__all__ = ["Arrays", "Batches", "HDF5Arrays", "Windows", "read_text", "read_tokens", "shuffled", "write_tokens"]

# The header of token files of llm.c (dev/data/data_common.py): 256 int32, of which the first three are magic, version and number of tokens.
HEADER = 1024                                                             # [bytes]
KINDS = {20240520: (1, np.dtype("<u2")), 20240801: (7, np.dtype("<u4"))}   # magic: (version, dtype of the tokens)


def write_tokens(path: str | Path, tokens: Any) -> None:
    """Write tokens to a file in one step, with the header of llm.c: uint16 if all are below 65536, else uint32.

    tokens: integers, shape (n,), at least one, from 0 to 2^32 - 1.
    Raises: ShapeError, DtypeError or InputError if they are not; FileError if the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tokens(f"{folder}/train.bin", [5, 6, 70000])
    ...     np.array(read_tokens(f"{folder}/train.bin"))
    array([    5,     6, 70000], dtype=uint32)
    """
    array = _token_row(tokens, "write_tokens(path, tokens)")
    if len(array) >= 1 << 31:
        raise InputError(f"write_tokens(path, tokens): {len(array)} tokens; the header counts to 2^31 - 1: write several files")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 1 << 32:
        raise InputError(f"write_tokens(path, tokens): tokens run from {low} to {high}; they must lie between 0 and 2^32 - 1")
    magic = 20240520 if high < 1 << 16 else 20240801
    version, dtype = KINDS[magic]
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(array)
    write_bytes(Path(path), header.tobytes() + array.astype(dtype).tobytes())


def read_tokens(path: str | Path, dtype: Any = None) -> np.ndarray:
    """Return the tokens of a file, shape (n,), mapped into memory: only what is used is read.

    path: with llm.c's header, as `write_tokens` makes it; a plain file of integers as nanoGPT's (`array.tofile`); or a .npy file.
    dtype: of a plain file: "uint16" (the default) or "uint32".
    Raises: FileError if it is missing, truncated, empty or no whole number of tokens; DtypeError for a dtype that is no integer.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.array([1, 2, 3], np.uint16).tofile(f"{folder}/val.bin")
    ...     np.array(read_tokens(f"{folder}/val.bin"))
    array([1, 2, 3], dtype=uint16)
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"tokens={str(path)!r}: {'is a folder' if path.is_dir() else 'no such file'}; give a file of tokens")
    try:
        size = path.stat().st_size
        saved = np.load(path, mmap_mode="r", allow_pickle=False) if path.suffix == ".npy" else None
        with open(path, "rb") as file:
            start = np.frombuffer(file.read(12), "<i4") if size >= 12 else np.zeros(3, "<i4")
    except (OSError, ValueError) as error:
        raise FileError(f"tokens={str(path)!r}: cannot be read ({error}); it may be truncated: write it again") from error
    if saved is not None:
        return _token_row(saved, f"tokens={str(path)!r}")
    if int(start[0]) in KINDS and size >= HEADER and int(start[1]) == KINDS[int(start[0])][0]:
        kind, offset, promised = KINDS[int(start[0])][1], HEADER, int(start[2])
        if size != offset + promised * kind.itemsize:
            raise FileError(f"tokens={str(path)!r}: has {size} bytes; its header promises {promised} tokens, "
                            f"{offset + promised * kind.itemsize} bytes: it is truncated or was appended to, write it again")
    else:
        kind, offset = np.dtype(np.uint16 if dtype is None else dtype).newbyteorder("<"), 0
        if kind.kind not in "iu":
            raise DtypeError(f"read_tokens(dtype): {kind} is no integer dtype; use 'uint16' or 'uint32'")
        if size % kind.itemsize:
            raise FileError(f"tokens={str(path)!r}: has {size} bytes, no whole number of {kind} tokens; it is truncated, or "
                            "dtype= is another")
    if size == offset:
        raise FileError(f"tokens={str(path)!r}: holds no token; an empty data set cannot be trained on")
    return np.memmap(path, kind, "r", offset)


def read_text(path: str | Path, argument: str = "text") -> str:
    """Return the text of a file in UTF-8.

    Raises: FileError, with the argument's name, if it is missing, empty or not UTF-8.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("To be", encoding="utf-8")
    ...     read_text(f"{folder}/a.txt")
    'To be'
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{argument}={str(path)!r}: not UTF-8 text (byte {error.start}); convert it first") from error
    except OSError as error:
        raise FileError(f"{argument}={str(path)!r}: cannot be read ({error.strerror}); give a text file") from error
    if not text.strip():
        raise FileError(f"{argument}={str(path)!r}: holds no text; an empty data set cannot be trained on")
    return text


def _token_row(tokens: Any, what: str) -> np.ndarray:
    array = tokens.numpy() if isinstance(tokens, Tensor) else tokens if isinstance(tokens, np.ndarray) else np.asarray(tokens)
    if array.ndim != 1 or not array.size:
        raise ShapeError(f"{what}: has shape {array.shape}; tokens must be one row of at least one")
    if array.dtype.kind not in "iu":
        raise DtypeError(f"{what}: is {array.dtype}; tokens must be integers")
    return array


class Windows:
    """Examples cut from a row of tokens: (inputs, targets), each of `context` tokens, targets one place further on.

    tokens: integers (n,), memory-mapped or not, as `read_tokens` gives them. context: length of an example.
    stride: distance of the first tokens of neighbouring examples; 1: every place begins one. For evaluation use `context`: every token is a
    target once.
    Raises: InputError if there are too few tokens for one example.

    >>> Windows(np.arange(10), context=4)[np.array([0, 5])]
    (array([[0, 1, 2, 3],
           [5, 6, 7, 8]]), array([[1, 2, 3, 4],
           [6, 7, 8, 9]]))
    """

    def __init__(self, tokens: Any, context: int, stride: int = 1):
        self.tokens = _token_row(tokens, "Windows(tokens)")
        self.context, self.stride = as_count(context, "Windows(context)"), as_count(stride, "Windows(stride)")
        if len(self.tokens) <= context:
            raise InputError(f"Windows(tokens, context={context}): {len(self.tokens)} tokens; an example needs {context + 1}: "
                             "give more text or a shorter context")

    def __repr__(self) -> str:
        return f"Windows of {self.context} tokens, {len(self):,} examples"

    def __len__(self) -> int:
        return (len(self.tokens) - self.context - 1) // self.stride + 1

    def __getitem__(self, indices: Any) -> tuple[np.ndarray, ...]:
        first = np.asarray(indices, np.int64)[:, None] * self.stride
        window = self.tokens[first + np.arange(self.context + 1)].astype(np.int64)
        return np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])


class Arrays:
    """Examples that are the rows of arrays in memory.

    arrays: of one length, the number of examples.
    Raises: ShapeError if their lengths differ; InputError if there is none, or none has a row.

    >>> Arrays(np.array([[1.0], [2.0]]), np.array([0, 1]))[np.array([1])]
    (array([[2.]]), array([1]))
    """

    def __init__(self, *arrays: Any):
        self.arrays = tuple(devices.to_numpy(x.detach().data) if isinstance(x, Tensor) else np.asarray(x) for x in arrays)
        _same_length({f"number {i}": array.shape for i, array in enumerate(self.arrays)}, "Arrays")

    def __repr__(self) -> str:
        return f"Arrays, {len(self):,} examples of {', '.join(f'{x.shape[1:]} {x.dtype}' for x in self.arrays)}"

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, indices: Any) -> tuple[np.ndarray, ...]:
        return tuple(array[indices] for array in self.arrays)


class HDF5Arrays:
    """Examples that are the rows of datasets in an HDF5 file, which are read when asked for.

    path: the file. names: of the datasets, of one length.
    Raises: FileError if the file is missing or damaged, or has no such dataset (the error lists what it has); ShapeError or InputError as
    `Arrays`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with h5py.File(f"{folder}/a.h5", "w") as file:
    ...         file["x"] = np.arange(6.0).reshape(3, 2)
    ...     HDF5Arrays(f"{folder}/a.h5", "x")[np.array([2, 0])]
    (array([[4., 5.],
           [0., 1.]]),)
    """

    def __init__(self, path: str | Path, *names: str):
        self.path, self.names = Path(path), names
        if not self.path.is_file():
            raise FileError(f"path={str(path)!r}: no such file; give an HDF5 file")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise FileError(f"path={str(path)!r}: not a whole HDF5 file ({error}); make or copy it again") from error
        weakref.finalize(self, self._file.close)
        found: list[str] = []
        self._file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
        missing = [name for name in names if name.strip("/") not in found]
        if missing:
            raise FileError(f"path={str(path)!r}: has no dataset {', '.join(map(repr, missing))}; it has {', '.join(found) or 'none'}")
        self._sets: list[Any] = [self._file[name] for name in names]
        _same_length({name: data.shape for name, data in zip(names, self._sets, strict=True)}, f"HDF5Arrays({str(path)!r})")

    def __repr__(self) -> str:
        return f"HDF5Arrays {self.path}, {len(self):,} examples of {', '.join(self.names)}"

    def __len__(self) -> int:
        return len(self._sets[0])

    def __getitem__(self, indices: Any) -> tuple[np.ndarray, ...]:
        rows, back = np.unique(np.asarray(indices, np.int64), return_inverse=True)      # HDF5 reads rows in rising order, each once
        return tuple(np.asarray(data[rows])[back] for data in self._sets)


def _same_length(shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    if not shapes or any(not shape for shape in shapes.values()):
        reason = "an array without axes has no rows" if shapes else "no array was given"
        raise InputError(f"{what}: {reason}; give arrays with one row for each example")
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise ShapeError(f"{what}: {', '.join(f'{name} has {shape[0]} rows' for name, shape in shapes.items())}; they must agree")
    if 0 in {shape[0] for shape in shapes.values()}:
        raise InputError(f"{what}: the data set is empty; give at least one example")


def shuffled(count: int, seed: int, epoch: int, places: Any) -> np.ndarray:
    """Return which of `count` examples stand at given places of a shuffled epoch: a permutation, worked out place by place.

    places: integers (k,) from 0 to count - 1. No list of `count` numbers is made, so billions of examples cost as little as ten.
    Source: Feistel network with cycle walking, Black and Rogaway, Ciphers with arbitrary finite domains (2002), section 5.

    >>> sorted(shuffled(6, seed=1, epoch=0, places=np.arange(6)).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    half = np.uint64(max(1, (max(count - 1, 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    keys = _mixed(np.arange(1, 9, dtype=np.uint64) + np.array([seed % (1 << 64)], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
                  + _mixed(np.array([epoch + 1], np.uint64)))
    found = np.asarray(places, np.uint64)
    outside = np.ones(found.shape, bool)
    while outside.any():                        # the network permutes a power of 4; go on from what falls outside until it falls inside
        left, right = found[outside] >> half, found[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        found[outside] = (left << half) | right
        outside = found >= np.uint64(count)
    return found.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """Return words whose every bit depends on every bit of x. Source: Steele, Lea and Flood, SplitMix (OOPSLA 2014), figure 16."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Batches:
    """An endless stream of batches: tuples of Tensors on a device. It goes through all examples in a new order in every epoch.

    data: a set of examples. size: examples in a batch; a batch that reaches the end of an epoch goes on with the next.
    seed: of the order. shuffle: False keeps the order of the data.
    transform(arrays, generator): changes a batch (NumPy arrays) before it goes to the device; its random numbers come from the generator,
    which belongs to the number of the batch.
    ahead: batches that a thread prepares in advance; 0 prepares each when it is asked for.

    `position` is the number of batches given; `state_dict()` and `load_state_dict(state)` keep and restore it.
    Raises: InputError if the data set is empty or a batch is larger than it.

    >>> batches = Batches(Arrays(np.arange(4)), size=2, shuffle=False)
    >>> [next(batches)[0].numpy().tolist() for _ in range(3)]
    [[0, 1], [2, 3], [0, 1]]
    >>> batches
    Batches of 2, 4 examples, at batch 3 (epoch 1.5), cpu
    """

    def __init__(
        self, data: Any, size: int, *, seed: int = 0, shuffle: bool = True, device: str = "cpu",
        transform: Callable[[tuple[np.ndarray, ...], Generator], Sequence[np.ndarray]] | None = None, ahead: int = 2,
    ):
        self.data, self.size, self.shuffle, self.device = data, as_count(size, "Batches(size)"), shuffle, device
        self.seed, self.ahead = as_count(seed, "Batches(seed)", 0), as_count(ahead, "Batches(ahead)", 0)
        if not len(data):
            raise InputError("Batches(data): the data set is empty; give at least one example")
        if size > len(data):
            raise InputError(f"Batches(size={size}): the data set has {len(data)} examples; a batch must not be larger")
        devices.check(device)
        self.position = 0
        self._transform, self._generator = transform, Generator(self.seed)
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[tuple[np.ndarray, ...]]] = deque()       # of batches position, position + 1, ...

    def __repr__(self) -> str:
        epoch = self.position * self.size / len(self.data)
        return f"Batches of {self.size}, {len(self.data):,} examples, at batch {self.position} (epoch {epoch:.3g}), {self.device}"

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        if self.ahead and self._thread is None:
            self._thread = ThreadPoolExecutor(1, "hyperion-batches")
        while self._thread is not None and len(self._waiting) <= self.ahead:
            self._waiting.append(self._thread.submit(self.arrays, self.position + len(self._waiting)))
        arrays = self._waiting.popleft().result() if self._waiting else self.arrays(self.position)
        self.position += 1
        return self._placed(arrays)

    def arrays(self, number: int) -> tuple[np.ndarray, ...]:
        """Return batch `number` as NumPy arrays; the position stays as it is."""
        count = len(self.data)
        place = number * self.size + np.arange(self.size)
        epochs, places = place // count, place % count
        indices = places
        if self.shuffle:
            parts = [shuffled(count, self.seed, int(epoch), places[epochs == epoch]) for epoch in np.unique(epochs)]
            indices = np.concatenate(parts)
        arrays = self.data[indices]
        return tuple(arrays if self._transform is None else self._transform(arrays, self._generator.at(number)))

    def once(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield every example once, in the order of the data, untransformed; the last batch may be smaller. The position stays as it is."""
        for start in range(0, len(self.data), self.size):
            yield self._placed(self.data[np.arange(start, min(start + self.size, len(self.data)))])

    def _placed(self, arrays: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
        # CuPy copies through page-locked memory of its own, behind the kernels that run: the batch is on its way while Python goes on.
        return tuple(Tensor(devices.to_device(np.asarray(array), self.device)) for array in arrays)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and what the order depends on."""
        return {"position": self.position, "size": self.size, "seed": self.seed, "shuffle": self.shuffle, "examples": len(self.data)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position of a state. Raises: InputError, which says what differs, if it is of other data or another order."""
        own = self.state_dict()
        differ = [f"{key} was {state.get(key)!r}, is {own[key]!r}" for key in own if key != "position" and state.get(key) != own[key]]
        if differ:
            raise InputError(f"Batches.load_state_dict: the state is of other batches: {'; '.join(differ)}; make them as they were")
        self.close()
        self.position = int(state["position"])

    def close(self) -> None:
        """Drop what was prepared and end the thread; the next batch starts it again."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
        self._waiting.clear()
