"""Models in Hugging Face's directory layout: config.json, and weights in safetensors files under Hugging Face's names.

A Layout is a table: for each weight of ours, the name or names in the file (several are joined along the outputs), and whether the file
has it transposed, as GPT-2's Conv1D weights are. Reading and writing both follow it, so they cannot disagree.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperion.autograd import Tensor
from hyperion.autograd.dtypes import as_dtype
from hyperion.errors import FileError, HyperionError, InputError
from hyperion.gpu import device as devices
from hyperion.io.files import write_bytes
from hyperion.io.safetensors import SafeTensors, read_safetensors, write_safetensors
from hyperion.nn import initializers
from hyperion.nn.module import Module

__all__ = ["Layout", "Row", "load", "save"]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Row:
    """One weight: our name, the name or names in the file; {} stands for the number of the block.

    turned: the file has it transposed.  joined: function of the model that gives how many rows each of several names has.
    """

    def __init__(self, ours: str, *theirs: str, turned: bool = False, parts: Callable[[Any], tuple[int, ...]] | None = None) -> None:
        self.ours, self.theirs, self.turned, self.parts = ours, theirs, turned, parts


class Layout:
    """How a kind of model is named in files.

    kind: model_type in config.json.  prefix: of names, left out by files that hold the model without its head.
    rows: the table.  skipped: a pattern of names that are no weights (masks and frequencies that are computed).
    arguments(config): the arguments of the model, or InputError.  config(model): what config.json says.
    """

    def __init__(
        self, kind: str, prefix: str, rows: tuple[Row, ...], skipped: str, arguments: Callable[[dict[str, Any]], dict[str, Any]],
        config: Callable[[Any], dict[str, Any]],
    ) -> None:
        self.kind, self.prefix, self.rows, self.skipped, self.arguments, self.config = kind, prefix, rows, skipped, arguments, config

    def entries(self, model: Module) -> list[tuple[str, tuple[str, ...], Row]]:
        """Return (our name, names in the file, row) of all weights of a model."""
        own = model.named_parameters() | model.named_buffers()
        found: list[tuple[str, tuple[str, ...], Row]] = []
        for name in own:
            number = re.match(r"blocks\.(\d+)\.", name)
            pattern = name if number is None else name.replace(f".{number[1]}.", ".{}.", 1)
            row = next((row for row in self.rows if row.ours == pattern), None)
            if row is None:
                raise InputError(f"{type(model).__name__}: {self.kind} files have no place for {name}; use nn.save(model, path)")
            found.append((name, tuple(theirs.replace("{}", number[1] if number else "") for theirs in row.theirs), row))
        return found


def refuse(kind: str, wrong: list[str]) -> None:
    """Raise InputError that lists all that is wrong with a config.json, if anything is.

    >>> refuse("gpt2", [])
    """
    if wrong:
        raise InputError(f"config.json of {kind}:\n  " + "\n  ".join(wrong))


def needed(config: Mapping[str, Any], *names: str) -> list[str]:
    """Return what is wrong with entries that must be whole numbers above 0.

    >>> needed({"n_head": 0}, "n_head", "n_embd")
    ['n_head=0: must be a whole number above 0', 'n_embd: missing']
    """
    wrong = [f"{name}: missing" if name not in config else f"{name}={config[name]!r}: must be a whole number above 0" for name in names
             if type(config.get(name)) is not int or config[name] < 1]
    return wrong


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileError(f"{path}: no such file; give a directory with config.json and {WEIGHTS}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: no JSON ({error}); the file is damaged") from error
    if not isinstance(found, dict):
        raise FileError(f"{path}: a JSON {type(found).__name__}; it must be an object")
    return found


class _Weights:
    """The arrays of one file, or of all files that an index names."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, SafeTensors] = {}
        index = folder / INDEX
        if (folder / WEIGHTS).is_file() or not index.is_file():
            if not (folder / WEIGHTS).is_file() and list(folder.glob("*.bin")):
                raise FileError(f"{folder}: has weights as a pickle (*.bin) only, which is not read, since it could execute anything; "
                                "convert it to safetensors")
            one = read_safetensors(folder / WEIGHTS)
            self.files = {name: one for name in one}
            return
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) and Path(name).name == name for name in places.values()):
            raise FileError(f"{index}: weight_map must map names to names of files in this directory")
        opened = {name: read_safetensors(folder / name) for name in sorted(set(places.values()))}
        absent = [f"{name} (in {file})" for name, file in places.items() if name not in opened[file]]
        if absent:
            raise FileError(f"{index}: weights that the files do not have: {', '.join(absent)}")
        self.files = {name: opened[file] for name, file in places.items()}

    def with_prefix(self, prefix: str) -> None:
        """Add a prefix to names that should have one, if none has."""
        if prefix and not any(name.startswith(prefix) for name in self.files):
            self.bare = {f"{prefix}{name}": name for name in self.files}
            self.files = {full: self.files[name] for full, name in self.bare.items()}
        else:
            self.bare = {name: name for name in self.files}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.files[name].shape(self.bare[name])

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self.files[name][self.bare[name]]


def _expected(own: tuple[int, ...], names: tuple[str, ...], row: Row, model: Any) -> list[tuple[int, ...]]:
    """Return the shapes that a weight has in the file, by name."""
    if row.parts is not None:
        return [(n, *own[1:]) for n in row.parts(model)]
    return [own[::-1] if row.turned else own] * len(names)


def load(kind: type[Any], layout: Layout, folder: Path, dtype: Any) -> Any:
    """Return a model of a class, read from a directory; see `LanguageModel.from_pretrained`."""
    config = _json(folder / "config.json")
    if config.get("model_type") != layout.kind:
        raise InputError(f"{folder / 'config.json'}: model_type={config.get('model_type')!r}; {kind.__name__} reads {layout.kind!r}")
    try:
        arguments = layout.arguments(config)
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, HyperionError):
            raise
        raise InputError(f"{folder / 'config.json'}: a setting is missing or of a wrong kind ({type(error).__name__}: {error})") from error
    weights = _Weights(folder)
    weights.with_prefix(layout.prefix)
    given = next((weights.files[name].dtype(weights.bare[name]) for name in weights.files if name.endswith(layout.rows[0].theirs[0])), None)
    with initializers.blank():
        model = kind(**arguments, dtype=as_dtype(dtype) if dtype is not None else given)
    own = model.named_parameters() | model.named_buffers()
    entries = layout.entries(model)
    problems: list[str] = []
    known: set[str] = set()
    for name, theirs, row in entries:
        for full, shape in zip(theirs, _expected(own[name].shape, theirs, row, model), strict=True):
            known.add(full)
            if full not in weights.files:
                problems.append(f"missing: {full} {shape}")
            elif weights.shape(full) != shape:
                problems.append(f"wrong shape: {full} is {weights.shape(full)}, must be {shape}")
    skipped = re.compile(layout.skipped)
    tied = {"lm_head.weight"} if arguments.get("tied") else set()
    problems += [f"unknown: {name}" for name in weights.files if name not in known and name not in tied and not skipped.fullmatch(name)]
    if problems:
        raise FileError(f"{folder}: the weights do not fit {kind.__name__} as config.json has it:\n  " + "\n  ".join(problems))
    for name, theirs, row in entries:
        arrays = [weights[full] for full in theirs]
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        own[name].assign(Tensor(np.array(array.T if row.turned else array, dtype=own[name].dtype, order="C")))
    return model.eval()


def save(model: Any, layout: Layout, folder: Path, shard: int) -> None:
    """Write a model to a directory; see `LanguageModel.save_pretrained`."""
    if type(shard) is not int or shard < 1:
        raise InputError(f"save_pretrained(shard): shard={shard!r} must be a whole number of bytes, 1 or more")
    config = layout.config(model)
    own = model.named_parameters() | model.named_buffers()
    arrays: dict[str, Any] = {}
    for name, theirs, row in layout.entries(model):
        array = devices.to_numpy(own[name].data)
        array = array.T if row.turned else array
        cuts = np.cumsum(row.parts(model))[:-1] if row.parts is not None else []
        arrays.update(zip(theirs, np.split(array, cuts) if len(theirs) > 1 else [array], strict=True))
    first = next(iter(arrays.values()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: the directory could not be made ({error.strerror or error})") from error
    parts: list[dict[str, Any]] = [{}]
    for name, array in arrays.items():
        if parts[-1] and sum(x.nbytes for x in parts[-1].values()) + array.nbytes > shard:
            parts.append({})
        parts[-1][name] = array
    names = [WEIGHTS] if len(parts) == 1 else [f"model-{i:05}-of-{len(parts):05}.safetensors" for i in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        write_safetensors(folder / name, {key: np.ascontiguousarray(x) for key, x in part.items()}, {"format": "pt"})
    if len(parts) > 1:
        total = sum(x.nbytes for x in arrays.values())
        places = {key: name for name, part in zip(names, parts, strict=True) for key in part}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_bytes(folder / INDEX, json.dumps(index, indent=2).encode())
    for stale in folder.glob("model*.safetensors*"):
        if stale.name not in (*names, *([INDEX] if len(parts) > 1 else [])):
            stale.unlink()
    write_bytes(folder / "config.json", json.dumps({**config, "dtype": str(first.dtype)}, indent=2).encode())
