"""Memory shared between Tensors and torch tensors, and torch itself, imported on first use."""

import functools
import importlib
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import BFLOAT16
from hyperion.autograd.exchange import adopt
from hyperion.autograd.tensor import Tensor
from hyperion.errors import DtypeError, InputError
from hyperion.gpu import device

__all__ = ["plain", "tensor_of", "torch_module", "torch_of"]


@functools.cache
def torch_module(name: str) -> Any:
    """Return PyTorch. Raises: InputError if it is not installed; name: of the function that needs it."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise InputError(f"{name} needs PyTorch, which is not installed ({error}); install it with the extra interop") from error


def plain(x: Any) -> Any:
    """Return a torch tensor without its graph, and with conjugation and sign in its values instead of in flags."""
    return x.detach().resolve_conj().resolve_neg()


def tensor_of(x: Any) -> Tensor:
    """Return a Tensor that shares the memory of a torch tensor; on the CPU its array is read-only. Torch itself watches for writes."""
    data = adopt(plain(x))
    if device.namespace(data) is np:
        data = data.view()
        data.flags.writeable = False
    return Tensor(data)


def torch_of(data: Any, copy: bool = False) -> Any:
    """Return a torch tensor that shares the memory of a NumPy or CuPy array, or holds a copy.

    Raises: DtypeError if torch has no such dtype.
    """
    torch = torch_module("interop")
    own = data.copy() if copy else data
    try:
        if own.dtype == BFLOAT16:
            return torch.from_dlpack(Tensor(own.view(np.int16))).view(torch.bfloat16)
        return torch.from_dlpack(Tensor(own))
    except (RuntimeError, BufferError) as error:
        raise DtypeError(f"an array of dtype {data.dtype} cannot become a torch tensor: {error}; convert it with .astype(...)") from error
