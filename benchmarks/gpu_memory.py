"""Operations bound by memory on one GPU: elementwise, sums, rows, and 16-bit matrix products, beside CuPy and PyTorch, interleaved.

    PYTHONPATH=. python benchmarks/gpu_memory.py --json figures.jsonl       (in the checkout; needs CuPy, and PyTorch with CUDA)

Arrays of 1 GiB. The figure is useful bytes a second: each input read once, the result written once. The floor is a copy, measured beside.
overhead        host time of one operation on ten numbers
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np
import torch

import hyperion as hp
from hyperion.gpu import rows

GIB = 1 << 30
TURNS, LOOPS = 5, 4


def seconds(work: Callable[[], Any]) -> float:
    """Return the time of one call on the GPU."""
    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    first.record()
    for _ in range(LOOPS):
        work()
    last.record()
    last.synchronize()
    return cupy.cuda.get_elapsed_time(first, last) / 1e3 / LOOPS


def compared(case: str, moved: float, unit: str, systems: dict[str, Callable[[], Any]]) -> list[dict[str, Any]]:
    """Return a figure for each system: medians of turns that alternate, after two that are not counted."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(TURNS + 2):
        for name, work in systems.items():
            time_taken = seconds(work)
            if turn > 1:
                times[name].append(time_taken)
    own = statistics.median(times["hyperion"])
    found: list[dict[str, Any]] = []
    for name, values in times.items():
        median = statistics.median(values)
        found.append({
            "case": case, "system": name, "device": "cuda:0", "seconds": median, "throughput": moved / median / 1e12, "unit": unit,
            "ratio_to_hyperion": median / own,
        })
    print(f"{case:<32}", "  ".join(f"{row['system']} {row['throughput']:.3g}" for row in found), unit, flush=True)
    cupy.get_default_memory_pool().free_all_blocks()
    return found


def shared(x: Any) -> Any:
    """Return PyTorch's view of a CuPy array."""
    if x.dtype.char == "E":
        return torch.as_tensor(x.view(cupy.int16), device="cuda").view(torch.bfloat16)
    return torch.as_tensor(x, device="cuda")


def elementwise() -> list[dict[str, Any]]:
    """Elementwise operations on float32."""
    a, b = (cupy.random.standard_normal(GIB // 4, dtype=cupy.float32) for _ in range(2))
    x, y, s, t = hp.Tensor(a), hp.Tensor(b), shared(a), shared(b)
    found = compared("copy", 2 * GIB, "TB/s", {"hyperion": lambda: hp.positive(x), "cupy": lambda: a.copy(), "torch": lambda: s.clone()})
    found += compared("add", 3 * GIB, "TB/s", {"hyperion": lambda: x + y, "cupy": lambda: a + b, "torch": lambda: s + t})
    found += compared("add_number", 2 * GIB, "TB/s", {"hyperion": lambda: x + 1.0, "cupy": lambda: a + 1, "torch": lambda: s + 1})
    for name in ("tanh", "exp", "sin"):
        systems = {"hyperion": getattr(hp, name), "cupy": getattr(cupy, name), "torch": getattr(torch, name)}
        given = {"hyperion": x, "cupy": a, "torch": s}
        found += compared(name, 2 * GIB, "TB/s", {key: (lambda f=f, v=given[key]: f(v)) for key, f in systems.items()})
    found += compared("gelu", 2 * GIB, "TB/s", {"hyperion": lambda: hp.gelu(x), "torch": lambda: torch.nn.functional.gelu(s)})
    return found


def sums() -> list[dict[str, Any]]:
    """Sums over all, the last, the first and a middle axis of float32."""
    found: list[dict[str, Any]] = []
    for name, shape, axis in (
        ("all", (GIB // 4,), None), ("last_1024", (1 << 18, 1024), 1), ("last_65536", (4096, 65536), 1), ("first_1024", (1 << 18, 1024), 0),
        ("first_65536", (4096, 65536), 0), ("middle", (64, 4096, 1024), 1),
    ):
        a = cupy.random.standard_normal(shape, dtype=cupy.float32)
        x, s = hp.Tensor(a), shared(a)
        found += compared(f"sum_{name}", GIB, "TB/s", {
            "hyperion": lambda x=x, axis=axis: hp.sum(x, axis), "cupy": lambda a=a, axis=axis: a.sum(axis),
            "torch": lambda s=s, axis=axis: s.sum(axis)})
    return found


def row_kernels() -> list[dict[str, Any]]:
    """Softmax, cross-entropy and layer norm of rows, forward and backward."""
    found: list[dict[str, Any]] = []
    for dtype in (cupy.float32, hp.asarray([0.0], "bfloat16").dtype):
        for columns in (768, 1024, 4096):
            name = f"{np.dtype(dtype).name}_{columns}"
            count = GIB // np.dtype(dtype).itemsize // columns
            a = cupy.random.standard_normal((count, columns), dtype=cupy.float32).astype(dtype)
            weight, classes, size = cupy.ones(columns, dtype), cupy.zeros(count, cupy.int64), a.nbytes
            s, w = shared(a), shared(weight)
            y, (_, mean, rstd) = rows.softmax(a), rows.norm(a, [weight, weight], (1,), 1e-5, True)
            loss, total = rows.cross_entropy(a, classes, -100)
            ty = shared(y)
            found += compared(f"softmax_{name}", 2 * size, "TB/s", {
                "hyperion": lambda a=a: rows.softmax(a), "torch": lambda s=s: torch.softmax(s, -1)})
            found += compared(f"softmax_back_{name}", 3 * size, "TB/s", {
                "hyperion": lambda a=a, y=y: rows.softmax_back(a, y),
                "torch": lambda s=s, ty=ty: torch._softmax_backward_data(s, ty, -1, s.dtype)})
            found += compared(f"layer_norm_{name}", 2 * size, "TB/s", {
                "hyperion": lambda a=a, weight=weight: rows.norm(a, [weight, weight], (1,), 1e-5, True),
                "torch": lambda s=s, w=w, columns=columns: torch.nn.functional.layer_norm(s, (columns,), w, w)})
            found += compared(f"layer_norm_back_{name}", 3 * size, "TB/s", {
                "hyperion": lambda a=a, v=weight, mean=mean, rstd=rstd: rows.norm_back(a, a, [v, v], mean, rstd, (1,), True)})
            found += compared(f"cross_entropy_{name}", size, "TB/s", {
                "hyperion": lambda a=a, classes=classes: rows.cross_entropy(a, classes, -100)})
            found += compared(f"cross_entropy_back_{name}", 2 * size, "TB/s", {
                "hyperion": lambda a=a, c=classes, loss=loss, total=total: rows.cross_entropy_back(loss, None, a, total, c, -100)})
    return found


def products() -> list[dict[str, Any]]:
    """Linear layers with a bias in bfloat16: multiplications and additions a second."""
    found: list[dict[str, Any]] = []
    for sizes in ((8192, 8192, 8192), (16384, 768, 3072), (16384, 3072, 768), (16384, 768, 50304)):
        m, k, n = sizes
        a, b, c = (cupy.random.standard_normal(shape, dtype=cupy.float32) for shape in ((m, k), (n, k), (n,)))
        x, weight, bias = (hp.Tensor(v).astype("bfloat16") for v in (a, b, c))
        s, w, d = (shared(v.data) for v in (x, weight, bias))
        found += compared(f"linear_{m}x{k}x{n}", 2.0 * math.prod(sizes), "Tflop/s", {
            "hyperion": lambda x=x, weight=weight, bias=bias: hp.affine(x, weight, bias),
            "torch": lambda s=s, w=w, d=d: torch.nn.functional.linear(s, w, d)})
    return found


def overhead() -> list[dict[str, Any]]:
    """Host time of an operation on ten numbers [us]."""
    a = cupy.random.standard_normal(10, dtype=cupy.float32)
    x, s = hp.Tensor(a), shared(a)
    works = {
        "add": {"hyperion": lambda: x + x, "cupy": lambda: a + a, "torch": lambda: s + s},
        "multiply_number": {"hyperion": lambda: x * 2.0, "cupy": lambda: a * 2.0, "torch": lambda: s * 2.0},
    }
    found: list[dict[str, Any]] = []
    for name, systems in works.items():
        for system, work in systems.items():
            values: list[float] = []
            for _ in range(TURNS):
                cupy.cuda.runtime.deviceSynchronize()
                began = time.perf_counter()
                for _ in range(1000):
                    work()
                values.append((time.perf_counter() - began) / 1000)
            found.append({"case": f"overhead_{name}", "system": system, "device": "cuda:0", "seconds": statistics.median(values)})
            print(f"overhead_{name} {system} {1e6 * statistics.median(values):.1f} us", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {part.__name__: part for part in (elementwise, sums, row_kernels, products, overhead)}
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--json", help="write one object a line to this file")
    options = parser.parse_args()
    found = [row for name in options.parts for row in parts[name]()]
    if options.json:
        about = {"gpu": cupy.cuda.runtime.getDeviceProperties(0)["name"].decode(), "cupy": cupy.__version__, "torch": torch.__version__,
                 "command": "python " + " ".join(sys.argv)}
        with open(options.json, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row | about) + "\n" for row in found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
