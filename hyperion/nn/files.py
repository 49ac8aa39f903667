"""Weights in files: the safetensors format, in and out. Nothing read from a file is executed."""

import os
from collections.abc import Mapping
from typing import Any

from hyperion.autograd import Tensor
from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.io.safetensors import SafeTensors, read_safetensors, write_safetensors
from hyperion.nn.module import Module

__all__ = ["load", "save"]


def save(state: Any, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write a Module's parameters and buffers, or a dict of Tensors or arrays by name, to a safetensors file, atomically.

    metadata: text by name, kept beside them.
    Raises: InputError for something else; DtypeError for a dtype that the format lacks; FileError if it cannot be written.

    >>> import tempfile
    >>> from hyperion import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(nn.Linear(2, 1), f"{folder}/model.safetensors")
    ...     other = nn.Linear(2, 1)
    ...     other.load_state_dict(load(f"{folder}/model.safetensors"))
    """
    if not isinstance(state, Module | Mapping):
        raise InputError(f"save(state): state is a {type(state).__name__}; it must be a Module, or a dict of Tensors or arrays by name")
    values: Mapping[str, Any] = state.state_dict() if isinstance(state, Module) else state
    arrays = {name: value.data if isinstance(value, Tensor) else value for name, value in values.items()}
    wrong = [f"{name} ({type(value).__name__})" for name, value in arrays.items() if not device.is_array(value)]
    if wrong:
        raise InputError(f"save(state): {', '.join(wrong)}: every entry must be a Tensor or an array")
    write_safetensors(path, {name: device.to_numpy(value) for name, value in arrays.items()}, metadata)


def load(path: str | os.PathLike[str]) -> SafeTensors:
    """Return the arrays of a safetensors file by name, as `Module.load_state_dict` takes them; each is read when it is used.

    Raises: FileError if the file is missing, truncated or malformed.

    >>> load("nowhere.safetensors")
    Traceback (most recent call last):
        ...
    hyperion.errors.FileError: nowhere.safetensors: no such file; give the path of a .safetensors file
    """
    return read_safetensors(path)
