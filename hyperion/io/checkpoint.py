"""Checkpoints: a tree of arrays, numbers and text in one HDF5 file, written atomically, without pickle."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperion.errors import FileError, TreeError
from hyperion.io.files import hdf5_image, open_hdf5

__all__ = ["load_tree", "save_tree"]


def save_tree(path: str | Path, tree: object, previous: str | Path | None = None) -> None:
    """Write a tree to a file in one step; a crash leaves the old file or the new one.

    tree: dicts with text keys, lists and tuples of arrays (or anything with `__array__`), numbers (integers of any size), text, booleans
        and None.
    previous: where the old file is kept.
    Raises: TreeError, with the path in the tree, for anything else; FileError if it cannot be written; the old file is then as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "checkpoint.h5"
    ...     save_tree(file, {"model": np.ones(2), "random": np.random.default_rng(0).bit_generator.state, "step": 3})
    ...     tree = load_tree(file)
    >>> tree["model"], tree["step"], tree["random"]["bit_generator"]
    (array([1., 1.]), 3, 'PCG64')
    """
    arrays: dict[str, np.ndarray] = {}
    skeleton = json.dumps(encode(tree, "", arrays))
    with hdf5_image(Path(path), None if previous is None else Path(previous)) as file:
        file.attrs["format"] = "hyperion tree 1"
        file.create_dataset("tree", data=skeleton, dtype=h5py.string_dtype())
        for name, array in arrays.items():
            file.create_dataset(f"arrays/{name}", data=array)


def load_tree(path: str | Path, argument: str = "checkpoint") -> object:
    """Return the tree that `save_tree` wrote; arrays are NumPy arrays, everything else is of the type it had.

    Raises: FileError, with the argument's name, if the file is missing, truncated or of another kind.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tree(f"{folder}/c.h5", [1, ("a", None)])
    ...     load_tree(f"{folder}/c.h5")
    [1, ('a', None)]
    """
    path = Path(path)
    with open_hdf5(path, argument) as file:
        if file.attrs.get("format") != "hyperion tree 1":
            raise FileError(f"{argument}={str(path)!r}: an HDF5 file, but no checkpoint; give a file that save_tree wrote")
        try:
            return decode(json.loads(dataset(file, "tree").asstr()[()]), file)
        except (OSError, KeyError, ValueError) as error:
            raise FileError(f"{argument}={str(path)!r}: damaged ({error}); use an earlier checkpoint") from error


def encode(tree: object, path: str, arrays: dict[str, np.ndarray]) -> object:
    """Return the tree as JSON values, its arrays moved to `arrays` under their path."""
    if tree is None or isinstance(tree, bool | str):
        return tree
    if isinstance(tree, int | float) and not isinstance(tree, np.generic):
        return tree
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str):
                raise TreeError(f"checkpoint: key {key!r} at {path or 'the top'} is a {type(key).__name__}; keys must be text")
        return {"dict": {key: encode(value, f"{path}/{key}", arrays) for key, value in tree.items()}}
    if isinstance(tree, list | tuple) and type(tree) in (list, tuple):
        return {type(tree).__name__: [encode(value, f"{path}/{i}", arrays) for i, value in enumerate(tree)]}
    if hasattr(tree, "__array__"):
        array = np.asarray(tree)
        if array.dtype.kind in "biufc":
            name = f"{len(arrays)}{path.replace('/', '.')}"       # the number keeps names apart, the path lets a reader find his array
            arrays[name] = array
            return {"scalar" if isinstance(tree, np.generic) else "array": name}
    raise TreeError(f"checkpoint: a {type(tree).__name__} at {path or 'the top'} cannot be kept; use arrays, numbers, text, None, dicts, "
                    "lists, tuples")


def decode(value: object, file: h5py.File) -> object:
    if not isinstance(value, dict):
        return value
    (kind, content), = value.items()
    if kind == "dict":
        return {key: decode(item, file) for key, item in content.items()}
    if kind in ("list", "tuple"):
        items = [decode(item, file) for item in content]
        return items if kind == "list" else tuple(items)
    if kind in ("array", "scalar"):
        stored = dataset(file, f"arrays/{content}")
        return stored[()] if kind == "scalar" else np.asarray(stored)
    raise ValueError(f"unknown kind {kind!r}")


def dataset(file: h5py.File, name: str) -> Any:
    """Return a dataset of a file. Raises: KeyError if there is none of that name."""
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{name} is no dataset")
    return found
