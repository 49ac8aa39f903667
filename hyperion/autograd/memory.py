"""What a device's memory holds, and an error that says so when it does not suffice."""

import gc
import re
from collections import Counter
from typing import Any, NamedTuple

from hyperion.autograd.tensor import Tensor
from hyperion.errors import OutOfMemoryError
from hyperion.gpu import device

__all__ = ["DeviceMemory", "device_memory", "out_of_memory", "size_text"]


class DeviceMemory(NamedTuple):
    """The memory of a GPU [bytes]: in arrays, kept by CuPy's pool for later arrays, free for any program, and in all."""

    device: str
    arrays: int
    kept: int
    free: int
    total: int

    def __str__(self) -> str:
        return (f"{self.device}: {size_text(self.arrays)} in arrays, {size_text(self.kept)} kept for later ones, "
                f"{size_text(self.free)} free of {size_text(self.total)}")


def device_memory(place: str = "cuda:0") -> DeviceMemory:
    """Return what the memory of a GPU holds; print it for one line.

    place: "cuda:N".
    Raises: DeviceError if there is no such GPU, or for the CPU, whose memory the operating system manages.

    >>> device_memory("cpu")
    Traceback (most recent call last):
        ...
    hyperion.errors.DeviceError: device='cpu' is not a GPU; it must be "cuda:N", for example "cuda:0"
    """
    cupy = device.gpu_namespace(place)
    with cupy.cuda.Device(int(place.partition(":")[2])) as here:
        pool = cupy.get_default_memory_pool()
        free, total = here.mem_info
        return DeviceMemory(place, pool.used_bytes(), pool.free_bytes(), free, total)


def size_text(count: float) -> str:
    """Return a number of bytes with a unit.

    >>> size_text(3 * 2**29), size_text(100)
    ('1.5 GiB', '100 B')
    """
    power = min(int(count).bit_length() // 10, 4) if count >= 1024 else 0
    return f"{count:.0f} B" if power == 0 else f"{count / 1024 ** power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def out_of_memory(name: str, inputs: Any, error: MemoryError) -> OutOfMemoryError:
    """Return an error that says what was asked for, what holds the memory, and what to try.

    name: of the operation.  inputs: its Tensors.  error: NumPy's or CuPy's.
    """
    places = ", ".join(f"{x.shape} {x.dtype}" for x in inputs)
    where = inputs[0].device if inputs else "cpu"
    asked = re.search(r"([\d,]+) bytes", str(error))
    what = size_text(int(asked[1].replace(",", ""))) if asked else str(error)
    lines = [f"{name}: {where} has no memory for {what} more; inputs are {places}"]
    if where != "cpu":
        lines.append(str(device_memory(where)))
    held = _greatest(where)
    if held:
        lines.append("Tensors hold " + ", ".join(held))
    lines.append(
        "use smaller batches, checkpoint(f) around parts of a network, no_grad() where nothing is differentiated, storage=Checkpoints() "
        "for simulations; a graph holds what its rules need until backward() or until its result is deleted"
    )
    return OutOfMemoryError("\n  ".join(lines))


def _greatest(place: str, count: int = 4) -> list[str]:
    """Return what live Tensors on a device hold, by the operation that made them, the greatest first."""
    seen: set[int] = set()
    sizes: Counter[str] = Counter()
    for x in gc.get_objects():
        if type(x) is Tensor and id(x.data) not in seen and x.device == place:
            seen.add(id(x.data))
            op = None if x.node is None else x.node.op
            maker = "leaves and constants" if op is None else f"results of {op.name}"
            sizes[f"{maker} {x.shape} {x.dtype}"] += x.data.nbytes
    return [f"{size_text(size)} in {what}" for what, size in sizes.most_common(count) if size >= 1024]
