"""Neural operators on one GPU: kernels checked, training steps beside PyTorch eager (interleaved, same weights), data of Navier-Stokes.

    PYTHONPATH=. python benchmarks/gpu_operators.py --json figures.json         (in the checkout; needs CuPy, and PyTorch with CUDA)
    PYTHONPATH=. python benchmarks/gpu_operators.py --cases fno2d_64 --turns 5 --skip checks navier_stokes

whole           first predictions of the first case at full size: Hyperion and PyTorch, on CPU and GPU
host            what the pieces of a launch take the host
checks          every kernel of hyperion/gpu against its reference, and a step of each network on the GPU against the CPU
steps           forward, relative L2 loss, backward, Adam: time of a step, that of the host alone, and PyTorch's
profile         where the time of a step goes: by primitive (each one waited for), and by kernel
navier_stokes   1,000 trajectories of 20 time units, 64 x 64, viscosity 1e-3, forcing of Li et al.
"""

import argparse
import collections
import cProfile
import io
import json
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cupy
import numpy as np
import operators_cases
import torch
from peers import hyperion_operators, torch_operators

import hyperion
from hyperion import pde
from hyperion.autograd.table import PRIMITIVES
from hyperion.gpu import launching, layers, maps, modes, products
from hyperion.random import Generator

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("checks", "whole", "host", "steps", "profile", "navier_stokes")
WAIT = cupy.cuda.runtime.deviceSynchronize


def checks(cases: list[operators_cases.Case]) -> dict[str, Any]:
    """Return the largest relative errors of kernels, and of the predictions of networks after two steps."""
    found: dict[str, Any] = {}
    for module in (maps, modes, layers):
        for name in module.reference:
            for dtype in (np.float32, np.float64):
                worst = 0.0
                for arguments in module.cases(name, dtype):
                    there = [cupy.asarray(x) if isinstance(x, np.ndarray) else x for x in arguments]
                    wide = [x.astype(np.result_type(x.dtype, np.float64)) if isinstance(x, np.ndarray) else x for x in arguments]
                    out = module.variants[name](*there)
                    if out is None:
                        raise SystemExit(f"{name}: no kernel for {[getattr(x, 'shape', x) for x in arguments]}")
                    worst = max(worst, away(cupy.asnumpy(out), module.reference[name](*wide)))
                found[f"{name} {np.dtype(dtype)}"] = worst
    for case in cases:
        space = tuple(20 + 2 * axis for axis in range(len(case.space)))
        small = operators_cases.Case(case.name, tuple(min(m, 8) for m in case.modes), 12, 2, space, 3, case.mlp)
        outs = []
        for device in ("cpu", "cuda:0"):
            step = hyperion_operators.trainer(small, device)
            step()
            outs.append(step().numpy())
        found[f"step {case.name}"] = away(outs[1], outs[0])
    bad = [name for name, error in found.items() if not error < (1e-13 if name.endswith("float64") else 1e-5)]
    print("checks:", "wrong: " + ", ".join(f"{name} {found[name]:.1e}" for name in bad) if bad else f"{len(found)} right", flush=True)
    return found


def whole(case: operators_cases.Case) -> dict[str, float]:
    """Return how far the first predictions of a case at full size are from Hyperion's on the CPU.

    PyTorch's products are in float32 here, not TF32. cuFFT's inverse real transform takes frequencies 0 and n / 2 of the last axis to be
    real after the others are done; the weights of a spectral convolution do not see to that. Other libraries take the real part; "ends made
    real" does so before cuFFT gets them.
    """
    torch.backends.cudnn.allow_tf32 = False
    try:
        reference = hyperion_operators.trainer(case, "cpu")().numpy()
        found = {"hyperion cuda": away(hyperion_operators.trainer(case, "cuda:0")().numpy(), reference),
                 "torch cpu": away(torch_operators.trainer(case, "cpu")().numpy(), reference),
                 "torch cuda": away(torch_operators.trainer(case, "cuda")().cpu().numpy(), reference)}
        together, axes = torch.fft.irfftn, tuple(range(2, 2 + len(case.space)))
        torch.fft.irfftn = lambda x, s, dim: torch.fft.irfft(ends_made_real(
            torch.fft.ifftn(x, dim=axes[:-1]) if len(axes) > 1 else x, s[-1]), n=s[-1], dim=axes[-1])
        try:
            found["torch cuda, ends made real"] = away(torch_operators.trainer(case, "cuda")().cpu().numpy(), reference)
        finally:
            torch.fft.irfftn = together
    finally:
        torch.backends.cudnn.allow_tf32 = True
    print(f"{case.name:<14} first prediction differs from Hyperion's on the CPU: " + ", ".join(f"{k} {v:.1e}" for k, v in found.items()),
          flush=True)
    return found


def ends_made_real(x: torch.Tensor, n: int) -> torch.Tensor:
    """Return a half-spectrum of n samples along the last axis without the imaginary parts of frequencies 0 and n / 2."""
    real = torch.ones(x.shape[-1], device=x.device)
    real[::n // 2 if n % 2 == 0 else n] = 0.0
    return torch.complex(x.real, x.imag * real)


def ends() -> dict[int, float]:
    """Return, by length, how far cuFFT's inverse real transform (through CuPy) is from NumPy's where the ends are not real."""
    random = np.random.default_rng(0)
    found = {}
    for n in (16, 32, 40, 64, 85, 96, 128, 256, 512, 1024, 4096):
        x = random.standard_normal((4, n // 2 + 1)) + 1j * random.standard_normal((4, n // 2 + 1))
        found[n] = away(cupy.asnumpy(cupy.fft.irfft(cupy.asarray(x), n=n)), np.fft.irfft(x, n=n))
    print("cuFFT's inverse real transform differs from NumPy's where the ends are not real: "
          + ", ".join(f"{n}: {v:.1e}" for n, v in found.items()), flush=True)
    return found


def host() -> dict[str, float]:
    """Return what the host needs for the pieces of a launch [us]."""
    x, y, out = (cupy.zeros((64, 64), np.float32) for _ in range(3))
    matrix = cupy.zeros((16, 64, 64), np.complex64)
    handle = cupy.cuda.device.get_cublas_handle()
    kernel = cupy.RawModule(code=launching.source("maps"), options=launching.options(x.dtype)).get_function("plus")
    kernel((4,), (256,), (x, y, out, 1024, 4096))
    below = kernel.kernel
    one = np.ones(1, np.float32)
    number, cublas = one.ctypes.data, cupy.cuda.cublas
    tensor, other = hyperion.asarray(x), torch.zeros(64, 64, device="cuda")
    pieces: dict[str, Callable[[], Any]] = {
        "nothing": lambda: None, "cupy.empty": lambda: cupy.empty((64, 64), np.float32), "x.shape": lambda: x.shape,
        "x.strides": lambda: x.strides, "x.data.ptr": lambda: x.data.ptr, "x.device.id": lambda: x.device.id,
        "x.dtype.char": lambda: x.dtype.char, "x.flags.c_contiguous": lambda: x.flags.c_contiguous, "x.reshape": lambda: x.reshape(-1),
        "x.swapaxes": lambda: x.swapaxes(0, 1), "current stream": lambda: cupy.cuda.get_current_stream().ptr,
        "cublas handle": lambda: cupy.cuda.device.get_cublas_handle(),
        "RawKernel": lambda: kernel((4,), (256,), (x, y, out, 1024, 4096)),
        "Function": lambda: below((4,), (256,), (x, y, out, 1024, 4096)),
        "x + y": lambda: x + y, "x.sum": lambda: x.sum(),
        "cublas sgemm": lambda: cublas.sgemm(
            handle, 0, 0, 64, 64, 64, number, x.data.ptr, 64, y.data.ptr, 64, number, out.data.ptr, 64),
        "cupy.matmul": lambda: cupy.matmul(x, y), "products.multiply": lambda: products.multiply(x, y),
        "products.multiply, complex": lambda: products.multiply(matrix, matrix), "maps.plus": lambda: maps.plus(x, y),
        "hyperion x + y": lambda: tensor + tensor, "hyperion reshape": lambda: hyperion.reshape(tensor, (-1,)),
        "torch x + y": lambda: other + other, "torch x @ y": lambda: other @ other,
    }
    found = {}
    for name, piece in pieces.items():
        for _ in range(20):
            piece()
        WAIT()
        start = time.perf_counter()
        for _ in range(300):
            piece()
        found[name] = 1e6 * (time.perf_counter() - start) / 300
        WAIT()
    print("host, us: " + ", ".join(f"{name} {us:.1f}" for name, us in found.items()), flush=True)
    return found


def python_profile(step: Callable[[], Any], count: int = 20) -> str:
    """Return where Python spends the time of a step, as cProfile sees it: the functions that take most by themselves."""
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(count):
        step()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(45)
    return text.getvalue()


def away(x: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(x - reference) / max(np.linalg.norm(reference), 1e-300))


def timed(step: Callable[[], Any], count: int) -> tuple[float, float]:
    """Return the time of a step and what the host needs to ask for it [ms]."""
    WAIT()
    start = time.perf_counter()
    for _ in range(count):
        step()
    asked = time.perf_counter() - start
    WAIT()
    return 1e3 * (time.perf_counter() - start) / count, 1e3 * asked / count


def steps(case: operators_cases.Case, turns: int) -> tuple[dict[str, Any], Callable[[], Any]]:
    """Time both systems in turns; return the figures and Hyperion's step."""
    made = {"hyperion": hyperion_operators.trainer(case, "cuda:0"), "torch": torch_operators.trainer(case, "cuda")}
    firsts = {name: step() for name, step in made.items()}
    difference = away(firsts["hyperion"].numpy(), firsts["torch"].cpu().numpy())
    for step in made.values():
        for _ in range(5):
            step()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    for _ in range(turns):
        for name, step in made.items():
            times[name].append(timed(step, 10))
    found: dict[str, Any] = {"difference": difference}
    for name, values in times.items():
        found[name] = {"ms": statistics.median(t for t, _ in values), "host_ms": statistics.median(h for _, h in values),
                       "all_ms": [t for t, _ in values]}
    found["ratio"] = found["torch"]["ms"] / found["hyperion"]["ms"]
    print(f"{case.name:<14} hyperion {found['hyperion']['ms']:8.3f} ms (host {found['hyperion']['host_ms']:.3f})   "
          f"torch {found['torch']['ms']:8.3f} ms (host {found['torch']['host_ms']:.3f})   torch / hyperion {found['ratio']:.2f}   "
          f"differ by {difference:.1e}", flush=True)
    return found, made["hyperion"]


class Watched:
    """Times every primitive's forward and pull-back, waited for; what they call in turn is not counted twice."""

    def __init__(self) -> None:
        self.seconds: collections.Counter[str] = collections.Counter()
        self.calls: collections.Counter[str] = collections.Counter()
        self.inside: list[float] = []

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            WAIT()
            start = time.perf_counter()
            self.inside.append(0.0)
            out = function(*arguments, **options)
            WAIT()
            spent = time.perf_counter() - start
            self.seconds[name] += spent - self.inside.pop()
            self.calls[name] += 1
            if self.inside:
                self.inside[-1] += spent
            return out

        return run


def by_primitive(step: Callable[[], Any], count: int = 5) -> list[dict[str, Any]]:
    """Return time and calls of each primitive in a step, forward and back; each costs some 30 us more than it would by itself."""
    watched, before = Watched(), {}
    for op in list(PRIMITIVES.values()):
        for rule in ("forward", "vjp", "pull"):
            if getattr(op, rule) is not None and (rule != "pull" or op.everywhere):
                before[op, rule] = getattr(op, rule)
                setattr(op, rule, watched.wrapped(op.name + ("" if rule == "forward" else " back"), before[op, rule]))
    try:
        for _ in range(count):
            step()
    finally:
        for (op, rule), function in before.items():
            setattr(op, rule, function)
    return [{"primitive": name, "ms": 1e3 * spent / count, "calls": watched.calls[name] / count}
            for name, spent in watched.seconds.most_common()]


def by_kernel(step: Callable[[], Any], count: int = 5) -> dict[str, Any]:
    """Return time and launches of each kernel in a step, as the driver reports them, and the time in which any kernel ran."""
    step()
    WAIT()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(count):
            step()
        WAIT()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    spent: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for event in events:
        spent[event["name"]] += event["dur"]
        calls[event["name"]] += 1
    table = [{"kernel": name[:110], "us": us / count, "launches": calls[name] / count} for name, us in spent.most_common()]
    return {"busy_ms": sum(spent.values()) / count / 1e3, "launches": len(events) / count, "kernels": table}


def profile(case: operators_cases.Case, step: Callable[[], Any]) -> dict[str, Any]:
    """Return both profiles of a step, and print what takes longest."""
    found: dict[str, Any] = {"primitives": by_primitive(step), "python": python_profile(step)}
    try:
        found |= by_kernel(step)
    except Exception as error:
        found["kernels"] = f"the profiler failed: {error}"
    print(f"  {case.name}: by primitive (ms, calls)")
    for row in found["primitives"][:14]:
        print(f"    {row['ms']:8.3f} {row['calls']:6.1f}  {row['primitive']}")
    if isinstance(found["kernels"], list):
        print(f"  kernels run {found['busy_ms']:.3f} ms of a step, {found['launches']:.0f} launches: (us, launches)")
        for row in found["kernels"][:18]:
            print(f"    {row['us']:8.1f} {row['launches']:6.1f}  {row['kernel']}")
    else:
        print("  " + found["kernels"])
    return found


def navier_stokes(count: int = 1000) -> dict[str, Any]:
    """Time the making of trajectories, and compare two of them with those of a step a quarter as long in float64."""
    torus = pde.Torus((64, 64))
    field = pde.GaussianField(torus.shape, tau=7.0, alpha=2.5, scale=7.0 ** 1.5)
    turn = 2.0 * np.pi * (torus.axis(0)[:, None] + torus.axis(1)[None, :])
    forcing = (0.1 * (np.sin(turn) + np.cos(turn))).astype(np.float32)
    found: dict[str, Any] = {}
    for repeat in range(2):
        WAIT()
        start = time.perf_counter()
        w = field.sample(Generator(0), count, device="cuda:0")
        out = pde.VorticitySolver(torus, pde.ETDRK4(step=0.02)).solve(w, 20.0, viscosity=1e-3, forcing=forcing, saves=20)
        WAIT()
        found[f"seconds_{repeat}"] = time.perf_counter() - start
    exact = pde.VorticitySolver(torus, pde.ETDRK4(step=0.005)).solve(
        w.to("cpu").numpy()[:2].astype(float), 20.0, viscosity=1e-3, forcing=forcing.astype(float), saves=20)
    found["error"] = away(out.to("cpu").numpy()[:2, -1], exact.numpy()[:, -1])
    print(f"navier_stokes  {count} trajectories of 20 time units, 1,000 steps: {found['seconds_1']:.2f} s (first time "
          f"{found['seconds_0']:.2f}); the last state differs from a finer one by {found['error']:.1e}", flush=True)
    return found


def main() -> int:
    known = {case.name: case for case in operators_cases.GPU}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=known, default=list(known), metavar="CASE", help=f"of {', '.join(known)}")
    parser.add_argument("--turns", type=int, default=7, help="turns of each system, of 10 steps (default 7)")
    parser.add_argument("--skip", nargs="+", choices=PARTS, default=[], metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--tests", action="store_true", help="run the tests marked gpu at the end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    options = parser.parse_args()
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    found: dict[str, Any] = {"gpu": properties["name"].decode(), "cupy": cupy.__version__, "torch": torch.__version__,
                             "hyperion": hyperion.__version__, "threads_of_a_block": launching.THREADS, "cases": {}}
    print(found["gpu"], "CuPy", cupy.__version__, "PyTorch", torch.__version__, flush=True)
    chosen = [known[name] for name in options.cases]
    if "checks" not in options.skip:
        found["checks"] = checks(chosen)
    if "whole" not in options.skip:
        found["ends"] = ends()
        found["whole"] = {case.name: whole(case) for case in chosen[:1]}
    if "host" not in options.skip:
        found["host"] = host()
    for case in chosen if "steps" not in options.skip else ():
        found["cases"][case.name], step = steps(case, options.turns)
        if "profile" not in options.skip:
            found["cases"][case.name]["profile"] = profile(case, step)
        del step
        cupy.get_default_memory_pool().free_all_blocks()
        torch.cuda.empty_cache()
        save(options.json, found)
    if "navier_stokes" not in options.skip:
        found["navier_stokes"] = navier_stokes()
    save(options.json, found)
    if options.tests:
        folders = [str(ROOT / "tests" / name) for name in ("gpu", "autograd", "nn", "optim", "operators")]
        words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-n", "12", "-p", "no:benchmark", *folders]
        tests = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        found["tests"] = tests.stdout[-60000:]
        print(tests.stdout[-3000:])
        save(options.json, found)
    return 0


def save(path: Path | None, found: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
