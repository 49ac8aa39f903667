"""Compiled programs on one GPU: `hp.jit` beside Hyperion as it is, torch.compile and JAX, in one process, in turns, on the same numbers.

    hyperion bench gpu_jit --json figures.json          (or: PYTHONPATH=. python benchmarks/gpu_jit.py; needs CuPy, and PyTorch with CUDA)
    hyperion bench gpu_jit --cases chain_100 fno2d_64 --turns 5 --profile
    hyperion bench gpu_jit --device cpu --smoke         (small sizes on the CPU: that everything runs; the figures mean nothing)

A turn is some calls in a row, waited for at the end: what the host needs and what the GPU needs, whichever is more. TB/s count useful
bytes: each array read once and written once. Goals are those for an H200. --profile prints the kernels of one call of `hp.jit`.
"""

import argparse
import collections
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import gpu_jit_cases
import numpy as np
import torch

import hyperion as hp


def main() -> int:
    known = {case.name: case for case in gpu_jit_cases.CASES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=known, default=list(known), metavar="CASE", help=f"of {', '.join(known)}")
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help='of "hyperion jit", hyperion, torch, torch.compile, jax ...')
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--turns", type=int, default=7, help="turns of each system (default 7)")
    parser.add_argument("--smoke", action="store_true", help="small sizes")
    parser.add_argument("--profile", action="store_true", help="print the kernels of one call of hp.jit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    options = parser.parse_args()
    if options.device != "cpu":
        try:
            hp.zeros(1, device=options.device)
        except hp.errors.DeviceError as error:
            parser.error(str(error))
        if not torch.cuda.is_available():
            parser.error(f"--device {options.device}: this PyTorch has no CUDA, so there is nothing to compare with; install one that "
                         "has, or use --device cpu --smoke")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "hyperion": hp.__version__, "cases": []}
    for one in options.cases:
        try:
            found["cases"].append(compared(known[one], options))
        except Exception as error:
            print(f"{one}: failed: {type(error).__name__}: {str(error)[:300]}", flush=True)
            found["cases"].append({"case": one, "failed": f"{type(error).__name__}: {error}"[:1000]})
        free()
        if options.json is not None:
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def wait(made: Any = None) -> None:
    """Wait for the GPU, and for what JAX made."""
    if hasattr(made, "block_until_ready"):
        made.block_until_ready()
    elif isinstance(made, tuple | list):
        for one in made:
            wait(one)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def free() -> None:
    """Give memory back to the GPU, so that the next case finds it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    cupy = sys.modules.get("cupy")
    if cupy is not None and torch.cuda.is_available():
        cupy.get_default_memory_pool().free_all_blocks()


def numbers(value: Any) -> np.ndarray:
    """Return the first result of a call as NumPy numbers; of large ones the first million."""
    value = value[0] if isinstance(value, tuple | list) else value
    if isinstance(value, hp.Tensor):
        value = value.detach().reshape((-1,))[:1_000_000].to("cpu").numpy()
    elif isinstance(value, torch.Tensor):
        value = value.detach().reshape(-1)[:1_000_000].float().cpu().numpy()
    return np.asarray(value, np.float64).reshape(-1)[:1_000_000]


def compared(case: gpu_jit_cases.Case, options: argparse.Namespace) -> dict[str, Any]:
    """Time the systems of a case in turns; print a line, and return the record."""
    work = case.make(options.device, case.smoke if options.smoke else case.size)
    calls: dict[str, Any] = {}
    record: dict[str, Any] = {"case": case.name, "goal": case.goal, "unit": case.unit, "unavailable": {}, "first_s": {}, "warned": {}}
    firsts: dict[str, np.ndarray] = {}
    for name, make in work.systems.items():
        if options.systems is not None and name not in options.systems:
            continue
        try:
            start = time.perf_counter()
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always", hp.errors.SpeedWarning)
                call = make()
                firsts[name] = numbers(call())
                for _ in range(11):
                    wait(call())
            record["first_s"][name] = round(time.perf_counter() - start, 2)
            told = [str(w.message)[:300] for w in warned if issubclass(w.category, hp.errors.SpeedWarning)]
            if told:
                record["warned"][name] = told
                print(f"{case.name}, {name}: {told[0]}", flush=True)
            calls[name] = call
        except Exception as error:          # a peer that is not there, or a case that one of them does not do: the others count
            record["unavailable"][name] = f"{type(error).__name__}: {error}"[:600]
            print(f"{case.name}, {name}: {type(error).__name__}: {str(error)[:200]}", flush=True)
    reference = firsts.get("hyperion")
    if work.compared and reference is not None:
        record["difference"] = {name: float(np.linalg.norm(x - reference) / max(np.linalg.norm(reference), 1e-300))
                                for name, x in firsts.items() if name != "hyperion" and x.shape == reference.shape}
    loops = 1 if options.smoke else work.loops
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.turns):
        for name, call in calls.items():
            wait()
            start = time.perf_counter()
            for _ in range(loops):
                made = call()
            wait(made)
            seconds[name].append((time.perf_counter() - start) / loops)
    record["seconds"] = seconds
    typical = {name: statistics.median(values) for name, values in seconds.items()}
    record["figures"] = {name: figure(case, work, value) for name, value in typical.items()}
    print(f"{case.name:24} goal {case.goal:g} {case.unit}: " + ", ".join(f"{name} {x:.4g}" for name, x in record["figures"].items())
          + f"; differ by { {k: float(f'{v:.1e}') for k, v in record.get('difference', {}).items()} }", flush=True)
    if options.profile and "hyperion jit" in calls and torch.cuda.is_available():
        record["kernels"] = kernels(calls["hyperion jit"])
    return record


def figure(case: gpu_jit_cases.Case, work: gpu_jit_cases.Work, seconds: float) -> float:
    """Return a time in the unit of a case."""
    return {"us": 1e6 * seconds, "ms": 1e3 * seconds, "TB/s": work.moved / seconds / 1e12, "tokens/s": work.tokens / seconds}[case.unit]


def kernels(call: Any, count: int = 3) -> list[dict[str, Any]]:
    """Return time and launches of each kernel in a call, and print what takes longest."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(count):
            call()
        wait()
    spent: collections.Counter[str] = collections.Counter()
    launches: collections.Counter[str] = collections.Counter()
    for event in profiler.events():
        if event.device_type != torch.autograd.DeviceType.CPU:
            spent[event.name] += event.device_time_total
            launches[event.name] += 1
    busy, many = sum(spent.values()) / count / 1e3, sum(launches.values()) / count
    print(f"  kernels run {busy:.3f} ms of a call, {many:.0f} launches: (us, launches)")
    for name, us in spent.most_common(16):
        print(f"    {us / count:9.1f} {launches[name] / count:7.1f}  {name[:100]}")
    return [{"kernel": name[:110], "us": us / count, "launches": launches[name] / count} for name, us in spent.most_common()]


if __name__ == "__main__":
    sys.exit(main())
