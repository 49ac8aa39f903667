"""Attention beside PyTorch's (cuDNN, FlashAttention-2, flex_attention compiled), in one process, in an order drawn anew each turn.

    hyperion bench attention --device cuda:0 --json figures.jsonl      (or: PYTHONPATH=. python benchmarks/attention.py ...)
    hyperion bench attention --device cpu --threads 2

On a GPU: 16,384 tokens, width 2048, bfloat16; a step is the forward or the backward call, inputs and cotangents at hand. Operations are
4 S^2 D for each head forward, half of it if causal, and 2.5 times that backward. A GPU slows down as it heats up: take the ratios.
Also: errors against float64 beside PyTorch's, and the memory that forward and backward take, to 131,072 tokens.
On a CPU: batch 1, 8 heads, 1024 tokens, head size 64, float32: forward, and forward and backward together; errors and memory as above.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

TOKENS, WIDTH = 16384, 2048


@dataclass(frozen=True)
class Case:
    """What is timed; goals: ratios to peers.

    direction: "forward", "backward", "exact" (backward, the same bits every time), "both", "general" (forward by the kernels for all GPUs).
    """

    direction: str
    size: int
    tokens: int
    mask: str = "full"
    goals: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.direction}_d{self.size}_{self.mask}_{self.tokens}"

    def operations(self) -> float:
        """Return the floating-point operations, of what a mask that is not causal leaves too."""
        seen = {"full": self.tokens, "causal": self.tokens / 2, "window": 1024, "documents": self.tokens / 12}[self.mask]
        rate = {"forward": 1.0, "general": 1.0, "backward": 2.5, "exact": 2.5, "both": 3.5}[self.direction]
        return 4.0 * rate * TOKENS * WIDTH * seen


def _rows(direction: str, size: int, mask: str, goals: dict[int, float]) -> list[Case]:
    return [Case(direction, size, tokens, mask, (("cudnn", goal), ("flash2", 1.6))) for tokens, goal in goals.items()]


GPU = [
    *_rows("forward", 128, "full", {1024: 1.0, 2048: 1.0, 8192: 1.08, 16384: 1.05}),
    *_rows("forward", 128, "causal", {1024: 1.0, 2048: 1.0, 8192: 1.10, 16384: 1.15}),
    *_rows("forward", 64, "full", {2048: 1.0, 8192: 1.15}), *_rows("forward", 64, "causal", {2048: 1.0, 8192: 1.05}),
    *_rows("backward", 128, "full", {1024: 1.0, 2048: 1.12, 8192: 1.13, 16384: 1.05}),
    *_rows("backward", 128, "causal", {1024: 1.0, 2048: 1.05, 8192: 1.17, 16384: 1.05}),
    *_rows("backward", 64, "full", {8192: 1.3}), *_rows("backward", 64, "causal", {8192: 1.4}),
    Case("exact", 128, 8192, "full", (("cudnn", 0.85),)),
    Case("general", 128, 8192, "full", (("flash2", 0.9),)), Case("general", 64, 8192, "causal", (("flash2", 0.9),)),
    *(Case(direction, 128, 16384, mask, (("flex", 1.5),)) for mask in ("window", "documents") for direction in ("forward", "both")),
]
CPU = ("forward", "both")
CPU_GOALS = {"forward": 1.0, "both": 1 / 0.9}           # torch's time over Hyperion's, at least


def documents() -> np.ndarray:
    """Return the ids of 12 documents of random lengths in 16,384 tokens."""
    cuts = np.sort(np.random.default_rng(0).choice(np.arange(1, TOKENS), 11, replace=False))
    return np.repeat(np.arange(12), np.diff([0, *cuts, TOKENS]))


class Runs:
    """The systems on one case on a GPU: calls that do one step each."""

    def __init__(self, case: Case, device: str) -> None:
        import cupy
        import torch

        import hyperion as hp
        from hyperion import nn

        self.case, self.torch = case, torch
        self.stream = cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream)
        shape = TOKENS // case.tokens, WIDTH // case.size, case.tokens, case.size
        self.there = [torch.randn(*shape, device=device, dtype=torch.bfloat16) for _ in range(4)]
        ids = documents()
        self.mask = {"full": None, "causal": nn.Causal(), "window": nn.SlidingWindow(1023), "documents": nn.Document(ids)}[case.mask]
        if self.mask is not None and self.mask.arrays:
            self.mask = nn.Document(hp.asarray(ids, device=device))
        self.own = [hp.Tensor(cupy.from_dlpack(x)) for x in self.there]
        self.leaves = [hp.asarray(cupy.from_dlpack(x), requires_grad=True) for x in self.there[:3]]
        self.hp = hp

    def hyperion(self) -> Callable[[], Any]:
        """Return a step of Hyperion."""
        hp, case = self.hp, self.case
        if case.direction == "forward":
            return lambda: self._on_stream(lambda: hp.attention(*self.own[:3], mask=self.mask).data)
        if case.direction == "general":
            return lambda: self._on_stream(self._general)
        if case.direction == "both":
            return lambda: self._on_stream(self._both)
        with self.stream:
            pull = hp.vjp(self._call, *self.own[:3])
        return lambda: self._on_stream(lambda: self._pulled(pull, exact=case.direction == "exact"))

    def _general(self) -> Any:
        """Return the output by the kernels that this GPU's own are otherwise preferred to."""
        from unittest import mock

        from hyperion.gpu import attention_hopper

        with mock.patch.object(attention_hopper, "serves", lambda q: False):
            return self.hp.attention(*self.own[:3], mask=self.mask).data

    def _both(self) -> list[Any]:
        """Return the gradients of a training step; vjp would copy the inputs first, as its pullback may be called at any time."""
        for x in self.leaves:
            x.grad = None
        self.hp.attention(*self.leaves, mask=self.mask).backward(self.own[3])
        return [x.grad.data for x in self.leaves]

    def _call(self, q: Any, k: Any, v: Any) -> Any:
        return self.hp.attention(q, k, v, mask=self.mask)

    def _pulled(self, pull: Any, exact: bool = False) -> list[Any]:
        with self.hp.deterministic(exact):
            return [x.data for x in pull[1](self.own[3])]

    def _on_stream(self, step: Callable[[], Any]) -> Any:
        with self.stream:
            return step()

    def sdpa(self, backend: str) -> Callable[[], Any]:
        """Return a step of PyTorch's scaled_dot_product_attention with a backend."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        kind = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash2": SDPBackend.FLASH_ATTENTION}[backend]
        causal = self.case.mask == "causal"

        def forward(q: Any, k: Any, v: Any) -> Any:
            with sdpa_kernel(kind):
                return self.torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

        return self._steps(forward)

    def flex(self) -> Callable[[], Any]:
        """Return a step of flex_attention, compiled, with its block mask."""
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        ids = self.torch.as_tensor(documents(), device=self.there[0].device)
        rules = {"window": lambda b, h, i, j: (j <= i) & (j > i - 1024), "documents": lambda b, h, i, j: ids[i] == ids[j]}
        blocks = create_block_mask(rules[self.case.mask], None, None, self.case.tokens, self.case.tokens, device=self.there[0].device)
        compiled = self.torch.compile(flex_attention)
        return self._steps(lambda q, k, v: compiled(q, k, v, block_mask=blocks))

    def _steps(self, forward: Callable[..., Any]) -> Callable[[], Any]:
        torch = self.torch
        if self.case.direction in ("forward", "general"):
            def step() -> Any:
                with torch.no_grad():
                    return forward(*self.there[:3])
            return step
        q, k, v = (x.detach().requires_grad_() for x in self.there[:3])
        if self.case.direction == "both":
            return lambda: torch.autograd.grad(forward(q, k, v), (q, k, v), self.there[3])
        out = forward(q, k, v)
        return lambda: torch.autograd.grad(out, (q, k, v), self.there[3], retain_graph=True)

    def seconds(self, step: Callable[[], Any], times: int) -> float:
        """Return the time of a step, from events around several."""
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        step()
        begin.record()
        for _ in range(times):
            step()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / times * 1e-3

    def difference(self, found: Any, expected: Any) -> float:
        """Return the largest relative L2 difference between results."""
        torch = self.torch
        with self.stream:
            mine = [torch.from_dlpack(x.astype(np.float32)) for x in (found if isinstance(found, list) else [found])]
        theirs = expected if isinstance(expected, tuple) else (expected,)
        return max(float((x - y.float()).norm() / y.float().norm()) for x, y in zip(mine, theirs, strict=True))


def on_gpu(case: Case, device: str, turns: int) -> list[dict[str, Any]]:
    """Return a record for each system."""
    import cupy
    import torch

    import hyperion

    runs = Runs(case, device)
    steps: dict[str, Callable[[], Any]] = {"hyperion": runs.hyperion()}
    peers = {"flex": runs.flex} if case.mask in ("window", "documents") else {
        name: lambda name=name: runs.sdpa(name) for name in ("cudnn", "flash2")}
    for name, make in peers.items():
        try:
            step = make()
            step()
            steps[name] = step
        except Exception as error:          # a backend that refuses: several classes, and the others still count
            print(f"{case.name}: {name} does not run: {error}", file=sys.stderr)
    found, others = steps["hyperion"](), [name for name in steps if name != "hyperion"]
    worst = runs.difference(found, steps[others[0]]()) if others else 0.0
    times: dict[str, list[float]] = {name: [] for name in steps}
    order, count = list(steps), max(2, int(0.01 * 450e12 / case.operations()))
    for _ in range(turns):
        random.shuffle(order)
        for name in order:
            times[name].append(runs.seconds(steps[name], count))
    typical = {name: statistics.median(several) for name, several in times.items()}
    versions = {"hyperion": hyperion.__version__}
    note = f"differs by {worst:.1e}; CuPy {cupy.__version__}" if worst < 1e-2 else f"DIFFERS by {worst:.1e}"
    return [record(case.name, name, versions.get(name, torch.__version__), device, seconds, case.operations() / seconds / 1e12, "TFLOP/s",
                   seconds / typical["hyperion"], note if name == "hyperion" else "", times[name]) for name, seconds in typical.items()]


# Cases of the errors: (name, tokens, head size, causal, factor of q and k, rows of queries that see nothing).
NUMERICS = (("full", 1000, 64, False, 1.0, False), ("causal", 1000, 128, True, 1.0, False), ("large", 1000, 128, False, 8.0, False),
            ("huge", 1000, 64, False, 100.0, False), ("hidden", 777, 64, False, 1.0, True))


def errors(device: str) -> list[dict[str, Any]]:
    """Return records of relative L2 errors against float64, of the output and the gradients of q, k, v, beside PyTorch's.

    On a GPU beside FlashAttention-2 (float32, or a mask of bools: what PyTorch takes for it); on a CPU its fused kernel. Rows that see
    nothing: PyTorch gives NaN or zeros, and is compared where it sees something.
    """
    import torch

    found: list[dict[str, Any]] = []
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        for name, tokens, size, causal, factor, hides in NUMERICS:
            torch.manual_seed(0)
            there = [(torch.randn(2, 4, tokens, size, device=device) * (factor if i < 2 else 1.0)).to(kind) for i in range(4)]
            seen = (torch.rand(tokens, tokens, device=device) < 0.5) if hides else None
            if seen is not None:
                seen[::7] = False
                there[3][:, :, ::7] = 0
            exact, theirs = (torch_results(there, dtype, seen, causal) for dtype in (torch.float64, kind))
            mine = own_results(there, seen, causal)
            away = [[float((torch.nan_to_num(x.double()) - y).norm() / y.norm()) for x, y in zip(several, exact, strict=True)]
                    for several in (mine, theirs)]
            assert all(bool(torch.isfinite(x).all()) for x in mine), "NaN or infinities in Hyperion's results"
            ratio = max(x / y for x, y in zip(*away, strict=True))
            case = f"error_{str(kind).removeprefix('torch.')}_{name}_d{size}"
            found.append({"case": case, "hyperion": away[0], "torch": away[1], "largest_ratio": ratio})
            words = [" ".join(f"{x:.2e}" for x in several) for several in away]
            print(f"{case:30} hyperion {words[0]}  torch {words[1]}  largest ratio {ratio:.3f} (goal 1.10)", flush=True)
    return found


def torch_results(there: list[Any], dtype: Any, seen: Any, causal: bool) -> list[Any]:
    """Return the output and the gradients of q, k, v by PyTorch, zeros in rows that see nothing; float64: by the formula."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (x.detach().to(dtype).requires_grad_() for x in there[:3])
    exactly = dtype == torch.float64
    backends = [SDPBackend.MATH] if exactly else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    mask = seen
    if exactly and seen is not None:        # where nothing is seen the formula is 0 / 0: such rows see all, and are taken out
        mask = seen | ~seen.any(dim=1, keepdim=True)
    with sdpa_kernel(backends):
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    slopes = torch.autograd.grad(out, (q, k, v), there[3].to(dtype))
    out = out.detach()
    return [out if seen is None else torch.where(seen.any(dim=1)[:, None], out, 0.0), *slopes]


def own_results(there: list[Any], seen: Any, causal: bool) -> list[Any]:
    """Return the same by Hyperion, as float32 on the device of the inputs."""
    import torch

    import hyperion as hp
    from hyperion import nn

    on_gpu = there[0].is_cuda
    own = [hp.asarray(x.float().cpu().numpy()).astype(str(x.dtype).removeprefix("torch.")) for x in there]
    own = [x.to("cuda:0") for x in own] if on_gpu else own
    mask = nn.Causal() if causal else None if seen is None else seen.cpu().numpy()
    out, pull = hp.vjp(lambda q, k, v: hp.attention(q, k, v, mask=mask), *own[:3])
    return [torch.from_numpy(np.array(x.astype("float32").to("cpu").numpy())).to(there[0].device) for x in (out, *pull(own[3]))]


def decoding(device: str) -> list[dict[str, Any]]:
    """Return a record of one new token for 16 texts of 32,768 kept ones, 32 heads of queries, 4 of keys, head size 128: bytes a second."""
    import cupy

    import hyperion as hp
    from hyperion import nn

    def drawn(heads: int, tokens: int) -> Any:
        out = cupy.empty((16, heads, tokens, 128), dtype=ml_dtypes.bfloat16)
        for part in out:
            part[...] = cupy.random.standard_normal(part.shape, dtype=np.float32).astype(ml_dtypes.bfloat16)
        return hp.Tensor(out)

    def seconds(step: Callable[[], Any]) -> float:
        times = []
        for _ in range(12):
            begin, end = cupy.cuda.Event(), cupy.cuda.Event()
            begin.record()
            for _ in range(5):
                step()
            end.record()
            end.synchronize()
            times.append(cupy.cuda.get_elapsed_time(begin, end) / 5e3)
        return statistics.median(times[2:])

    q, k, v = drawn(32, 1), drawn(4, 32768), drawn(4, 32768)
    step = seconds(lambda: hp.attention(q, k, v, mask=nn.Causal()))
    other = cupy.empty_like(k.data)
    rate, copied = 2 * k.data.nbytes / step, 2 * k.data.nbytes / seconds(lambda: cupy.cuda.runtime.memcpyAsync(
        other.data.ptr, k.data.data.ptr, k.data.nbytes, 3, cupy.cuda.get_current_stream().ptr))
    print(f"decoding_16x32768  {step * 1e6:.0f} us, {rate / 1e12:.2f} TB/s: {rate / copied:.2f} of a copy's {copied / 1e12:.2f} (goal .75)",
          flush=True)
    return [{"case": "decoding_16x32768", "seconds": step, "bytes_per_second": rate, "copy_bytes_per_second": copied}]


def memory_on_cpu() -> list[dict[str, Any]]:
    """Return records of the resident memory that forward and backward of a head of 64 add at most, in a window of 256, float32; Linux."""
    code = """
import sys
import numpy as np
import hyperion as hp
from hyperion import nn
q, k, v, g = (hp.asarray(np.random.default_rng(i).standard_normal((1, 1, int(sys.argv[1]), 64), dtype=np.float32)) for i in range(4))
small = [x[:, :, :512] for x in (q, k, v, g)]
def step(q, k, v, g):
    return hp.vjp(lambda *xs: hp.attention(*xs, mask=nn.SlidingWindow(255)), q, k, v)[1](g)
step(*small)
def resident(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
before = resident("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")             # the high-water mark begins again
step(q, k, v, g)
print(1024 * (resident("VmHWM") - before))
"""
    found = []
    for tokens in (16384, 65536, 131072, 262144):
        taken = int(subprocess.run([sys.executable, "-c", code, str(tokens)], capture_output=True, text=True, check=True).stdout) / tokens
        found.append({"case": f"memory_cpu_{tokens}", "bytes_per_token": taken, "of_which_inputs_have": 4 * 64 * 4})
        print(f"memory_cpu_{tokens:<8} {taken:.0f} bytes a token more; q, k, v and g have {4 * 64 * 4}", flush=True)
    return found


def memory(device: str) -> list[dict[str, Any]]:
    """Return records of the bytes that forward and backward allocate for each token: 16 heads of 128, causal, bfloat16."""
    import cupy

    import hyperion as hp
    from hyperion import nn

    found, pool = [], cupy.get_default_memory_pool()
    for tokens in (4096, 16384, 65536, 131072):
        own = [hp.Tensor(cupy.random.standard_normal((1, 16, tokens, 128), dtype=np.float32).astype(ml_dtypes.bfloat16)) for _ in range(4)]
        pool.free_all_blocks()
        before = pool.total_bytes()
        _, pull = hp.vjp(lambda q, k, v: hp.attention(q, k, v, mask=nn.Causal()), *own[:3])
        pull(own[3])
        cupy.cuda.Device().synchronize()
        taken = (pool.total_bytes() - before) / tokens
        found.append({"case": f"memory_{tokens}", "bytes_per_token": taken, "of_which_inputs_have": 4 * 16 * 128 * 2})
        print(f"memory_{tokens:<8} {taken:.0f} bytes a token; q, k, v and g have {4 * 16 * 128 * 2}", flush=True)
    return found


def record(case: str, system: str, version: str, device: str, seconds: float, rate: float, unit: str, ratio: float, note: str,
           times: list[float]) -> dict[str, Any]:
    """Return what is written of a system on a case; the ratio is its time over Hyperion's."""
    return {"case": case, "system": system, "version": version, "device": device, "seconds": seconds, "throughput": rate, "unit": unit,
            "peak_mb": None, "ratio_to_hyperion": ratio, "note": note, "all": times}


def on_cpu(direction: str, turns: int) -> list[dict[str, Any]]:
    """Return a record for each system: batch 1, 8 heads, 1024 tokens, head size 64, full."""
    import torch

    import hyperion as hp

    torch.set_num_threads(int(os.environ.get("HYPERION_THREADS", "1")))
    arrays = [np.random.default_rng(i).standard_normal((1, 8, 1024, 64)).astype(np.float32) for i in range(4)]
    theirs = [torch.as_tensor(x).requires_grad_(i < 3 and direction == "both") for i, x in enumerate(arrays)]
    mine = [hp.asarray(x) for x in arrays]

    def hyperion_step() -> Any:
        if direction == "forward":
            return [hp.attention(*mine[:3]).data]
        return [x.data for x in hp.vjp(hp.attention, *mine[:3])[1](mine[3])]

    def torch_step() -> Any:
        out = torch.nn.functional.scaled_dot_product_attention(*theirs[:3])
        return [out] if direction == "forward" else torch.autograd.grad(out, theirs[:3], theirs[3])

    worst = max(float(np.abs(x - y.detach().numpy()).max()) for x, y in zip(hyperion_step(), torch_step(), strict=True))
    steps = {"hyperion": hyperion_step, "torch": torch_step}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begin)
    typical = {name: statistics.median(several) for name, several in times.items()}
    work = 4.0 * 8 * 1024**2 * 64 * (1.0 if direction == "forward" else 3.5)
    versions = {"hyperion": hp.__version__, "torch": torch.__version__}
    return [record(f"cpu_{direction}_d64_full_1024", name, versions[name], "cpu", seconds, work / seconds / 1e9, "GFLOP/s",
                   seconds / typical["hyperion"], f"differs by {worst:.1e}" if name == "hyperion" else "", times[name])
            for name, seconds in typical.items()]


def line(records: list[dict[str, Any]], goals: dict[str, float]) -> str:
    """Return a line for a case: rates, ratios to peers, and whether they are what they should be."""
    parts = [f"{records[0]['case']:30}", *(f"{r['system']} {r['throughput']:.0f}" for r in records)]
    for r in records[1:]:
        goal = goals.get(r["system"])
        verdict = "" if goal is None else f" (goal {goal:.2f}: {'reached' if r['ratio_to_hyperion'] >= goal else 'not reached'})"
        parts.append(f"| {r['ratio_to_hyperion']:.2f} x {r['system']}{verdict}")
    return "  ".join([*parts, "|", records[0]["note"]])


def write(path: Path | None, found: list[dict[str, Any]]) -> None:
    if path is not None:
        path.write_text("".join(json.dumps(r) + "\n" for r in found), encoding="utf-8")


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="hyperion bench attention", description=__doc__, formatter_class=raw)
    parser.add_argument("--device", default="cuda:0", help='"cuda:N" (default cuda:0) or "cpu"')
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="only cases whose names contain one of these; also: errors, memory")
    parser.add_argument("--turns", type=int, default=8, help="turns, each of them all systems in a new order (default 8)")
    parser.add_argument("--threads", type=int, default=1, help="threads on a CPU (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a line for each system and case there")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []

    def keep(records: list[dict[str, Any]], goals: dict[str, float]) -> None:
        found.extend(records)
        print(line(records, goals), flush=True)
        write(options.json, found)

    if options.device == "cpu":
        os.environ["HYPERION_THREADS"] = str(options.threads)
        for direction in CPU:
            if options.cases is None or any(part in f"cpu_{direction}" for part in options.cases):
                keep(on_cpu(direction, options.turns), {"torch": CPU_GOALS[direction]})
        for name, part in (("errors", lambda: errors("cpu")), ("memory", memory_on_cpu)):
            if options.cases is None or name in options.cases:
                found.extend(part())
        write(options.json, found)
    else:
        for case in GPU:
            if options.cases is None or any(part in case.name for part in options.cases):
                keep(on_gpu(case, options.device, options.turns), dict(case.goals))
        for name, part in (("errors", errors), ("decoding", decoding), ("memory", memory)):
            if options.cases is None or name in options.cases:
                found.extend(part(options.device))
        write(options.json, found)
    return 0 if all("DIFFERS" not in r.get("note", "") for r in found) else 1


if __name__ == "__main__":
    sys.exit(main())
