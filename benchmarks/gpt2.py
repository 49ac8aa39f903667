"""GPT-2 of 124 million parameters, in one process, in turns: training steps on a GPU, and text with a cache on a GPU or a CPU.

    hyperion bench gpt2 --json figures.json              (or: PYTHONPATH=. python benchmarks/gpt2.py ...; needs CuPy, and PyTorch with CUDA)
    hyperion bench gpt2 --parts train --batches 16 --turns 5
    hyperion bench gpt2 --device cpu --threads 2 --batches 1 16             (text only, float32)

train      forward, cross-entropy over 50,304 tokens, backward, AdamW; 1024 tokens a text, bfloat16 on float32 weights; Hyperion, eager
           and (where it is served) under hp.jit, beside torch.compile of nanoGPT's model with the fused AdamW. Memory: what the pools
           of CuPy and PyTorch hold at most.
generate   64 tokens after a prompt of 64, greedy, in bfloat16, batches 1 and 64: `model.generate` beside Hugging Face's `generate` with
           its static cache, which it compiles, and beside the same written in PyTorch: a static cache, compiled in CUDA graphs. On a
           CPU: in float32, beside Hugging Face's `generate` as it is, which is the faster one there.
profile    the share of attention in a training step: by hp.profile, and of PyTorch's kernels by its profiler.

All have the same weights; the first losses, and the tokens, are compared.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpt_cases import BETAS, DECAY, RATE, Case
from peers.torch_gpt import Model
from torch.nn import functional

import hyperion as hp
from hyperion import nn, optim

with contextlib.suppress(ImportError):
    import cupy

VOCABULARY, CONTEXT, PROMPT, NEW = 50304, 1024, 64, 64
SIZES: dict[str, int] = nn.GPT.SIZES["small"]
GOALS = {("train", 64): 1.0, ("train", 16): 1.0, ("generate", 1): 1.5, ("generate", 64): 1.5}


def case(batch: int) -> Case:
    return Case("gpt2", SIZES["layers"], SIZES["heads"], SIZES["width"], CONTEXT, batch)


def tokens(batch: int, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50257, (batch, count))


def hyperion_model(device: str) -> Any:
    nn.seed(0)
    return nn.GPT(VOCABULARY, CONTEXT, **SIZES).to(device)


def torch_model(own: Any, device: str) -> Any:
    """Return PyTorch's model with the weights of Hyperion's."""
    model = Model(case(1), VOCABULARY).to(device)
    model.load_state_dict({name: torch.from_dlpack(p.data) for name, p in own.named_parameters().items()})
    return model


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# Training

def hyperion_step(model: Any, both: Any, device: str, compiled: bool) -> Callable[[], Any]:
    """Return a training step: bfloat16 copies of the weights are part of the graph, so gradients come back in float32."""
    optimizer = optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY)
    inputs, targets = (hp.asarray(x, device=device) for x in (both[:, :-1], both[:, 1:]))

    def step(inputs: Any, targets: Any) -> Any:
        half = hp.tree_map(lambda p: p.astype("bfloat16") if p.dtype.kind == "f" else p, model)
        loss = nn.cross_entropy(half(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run = hp.jit(step) if compiled else step
    return lambda: run(inputs, targets)


def torch_step(model: Any, both: Any, device: str) -> Callable[[], Any]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, fused=True)
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in (both[:, :-1], both[:, 1:]))

    def loss_of(inputs: Any, targets: Any) -> Any:
        with torch.autocast("cuda", torch.bfloat16):
            scores = model(inputs)
            return functional.cross_entropy(scores.view(-1, scores.shape[-1]), targets.view(-1))

    compiled = torch.compile(loss_of)

    def step() -> Any:
        loss = compiled(inputs, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def of_turns(steps: dict[str, Callable[[], Any]], turns: int, each: int) -> dict[str, list[float]]:
    """Return seconds of a step of each system, several times in turn."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            wait()
            began = time.perf_counter()
            for _ in range(each):
                step()
            wait()
            times[name].append((time.perf_counter() - began) / each)
    return times


def record(part: str, batch: int, times: dict[str, list[float]], work: int, more: dict[str, Any]) -> dict[str, Any]:
    """Return what is written of a case, and print it."""
    typical = {name: statistics.median(several) for name, several in times.items()}
    best = min(seconds for name, seconds in typical.items() if name.startswith("hyperion"))
    others = {name: seconds for name, seconds in typical.items() if not name.startswith("hyperion")}
    ratio = min(others.values()) / best if others else None
    found = {"case": f"{part}_b{batch}", "tokens_per_second": {name: work / seconds for name, seconds in typical.items()}, "ratio": ratio,
             "goal": None if "cpu" in more else GOALS.get((part, batch)), "times": times, **more}
    rates = "  ".join(f"{name} {work / seconds:,.0f} tokens/s ({1e3 * seconds:.2f} ms)" for name, seconds in typical.items())
    print(f"{found['case']:14} {rates}  ratio {0.0 if ratio is None else ratio:.2f} (goal {found['goal']})  {more}", flush=True)
    return found


def train(batch: int, turns: int, device: str) -> dict[str, Any]:
    """Return a record of training steps: Hyperion and PyTorch in turns, after each was warmed alone for its memory."""
    both, pool = tokens(batch, CONTEXT + 1), cupy.get_default_memory_pool()
    own = hyperion_model(device)
    makers: dict[str, Callable[[], Callable[[], Any]]] = {
        "torch.compile": lambda: torch_step(torch_model(own, device), both, device),
        "hyperion": lambda: hyperion_step(own, both, device, False),
        "hyperion jit": lambda: hyperion_step(hyperion_model(device), both, device, True),
    }
    steps: dict[str, Callable[[], Any]] = {}
    more: dict[str, Any] = {"first_losses": {}, "memory_gb": {}, "unavailable": {}}
    for name, make in makers.items():
        torch.cuda.reset_peak_memory_stats()
        pool.free_all_blocks()
        before = pool.total_bytes()
        try:
            step = make()
            losses = [float(step()) for _ in range(3)]
        except Exception as error:          # whatever one of them does not serve yet: the others still count
            more["unavailable"][name] = f"{type(error).__name__}: {error}"[:400]
            continue
        steps[name] = step
        more["first_losses"][name] = losses
        bytes_held = pool.total_bytes() - before if name.startswith("hyperion") else torch.cuda.max_memory_reserved()
        more["memory_gb"][name] = round(bytes_held / 1e9, 2)
        more.setdefault("torch_allocated_gb", round(torch.cuda.max_memory_allocated() / 1e9, 2))
    return record("train", batch, of_turns(steps, turns, 6), batch * CONTEXT, more)


# Text

def hugging_face(own: Any, device: str) -> Callable[[Any], Any]:
    """Return `generate` of Hugging Face's GPT-2, with a static cache and its forward pass compiled."""
    import tempfile

    from transformers import GPT2LMHeadModel

    with tempfile.TemporaryDirectory() as folder:
        own.save_pretrained(folder)
        model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32 if device == "cpu" else torch.bfloat16).to(device).eval()
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None

    def run(prompt: Any) -> Any:
        with torch.no_grad():
            return model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False,
                                  **({} if device == "cpu" else {"cache_implementation": "static"}))

    return run


def plain_torch(own: Any, device: str) -> Callable[[Any], Any]:
    """Return the same in PyTorch alone: keys and values in arrays of a fixed length, a step compiled in CUDA graphs."""
    model = torch_model(own, device).to(torch.bfloat16).eval()
    heads, size, layers, room = SIZES["heads"], SIZES["width"] // SIZES["heads"], SIZES["layers"], PROMPT + NEW
    places = torch.arange(room, device=device)

    def forward(ids: Any, where: Any, keys: Any, values: Any) -> Any:
        x = model.embedding(ids) + model.places(where)
        seen = places[None, :] <= where[:, None]
        for i, block in enumerate(model.blocks):
            parts = block.attention["qkv"](block.attention_norm(x)).view(*x.shape[:2], 3, heads, size).permute(2, 0, 3, 1, 4)
            keys[i].index_copy_(2, where, parts[1])
            values[i].index_copy_(2, where, parts[2])
            mixed = functional.scaled_dot_product_attention(parts[0], keys[i], values[i], attn_mask=seen)
            x = x + block.attention["output"](mixed.transpose(1, 2).reshape(x.shape))
            inner = functional.gelu(block.feedforward["up"](block.feedforward_norm(x)), approximate="tanh")
            x = x + block.feedforward["down"](inner)
        return functional.linear(model.norm(x[:, -1:]), model.embedding.weight).argmax(dim=-1)

    compiled = torch.compile(forward, mode="reduce-overhead")

    def run(prompt: Any) -> Any:
        with torch.no_grad():
            keys, values = ([torch.zeros(len(prompt), heads, room, size, device=device, dtype=torch.bfloat16) for _ in range(layers)]
                            for _ in range(2))
            found, new = [prompt], forward(prompt, places[:PROMPT], keys, values)
            for i in range(PROMPT, room):
                found.append(new)
                new = compiled(new, places[i:i + 1], keys, values).clone()
            return torch.cat(found, dim=1)

    return run


def generate(batch: int, turns: int, device: str) -> dict[str, Any]:
    """Return a record of texts: both systems in turns."""
    own, prompt = hyperion_model(device), tokens(batch, PROMPT)
    there = torch.from_numpy(prompt).to(device)
    half = own.to(dtype="float32" if device == "cpu" else "bfloat16").eval()
    wide = hyperion_model(device)
    steps: dict[str, Callable[[], Any]] = {"hyperion": lambda: np.stack(half.generate(prompt, NEW, temperature=0.0))}
    more: dict[str, Any] = {"same_tokens": {}, "unavailable": {}, **({"cpu": True} if device == "cpu" else {})}
    for name, maker in (("huggingface", hugging_face), *([] if device == "cpu" else [("torch", plain_torch)])):
        try:
            run = maker(wide, device)
            for _ in range(1 if device == "cpu" else 3):
                found = run(there)
            steps[name] = lambda run=run: run(there)
        except Exception as error:          # not installed, or it does not run: the others still count
            more["unavailable"][name] = f"{type(error).__name__}: {error}"[:400]
            continue
        more["same_tokens"][name] = float((found.cpu().numpy() == steps["hyperion"]()).mean())
    return record("generate", batch, of_turns(steps, turns, 1), batch * NEW, more)


# Attention's share

def profile(batch: int, turns: int, device: str) -> dict[str, Any]:
    """Return what part of a training step attention takes, of Hyperion eager and of PyTorch compiled."""
    both, own = tokens(batch, CONTEXT + 1), hyperion_model(device)
    theirs = torch_step(torch_model(own, device), both, device)
    mine = hyperion_step(own, both, device, False)
    for step in (mine, mine, theirs, theirs):
        step()
    with hp.profile() as p:
        mine()
    totals = [total for total in p.totals() if total.device != "cpu"]
    print("\n".join(str(p).splitlines()[:24]), flush=True)
    whole = sum(total.seconds for total in totals)
    share = sum(total.seconds for total in totals if "attention" in total.name) / whole
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as q:
        theirs()
        wait()
    events = [(e.key, e.self_device_time_total) for e in q.key_averages()]
    words = ("flash", "attention", "sdpa", "fmha", "cudnn_generated")
    attending = sum(t for name, t in events if any(word in name.lower() for word in words))
    total = sum(t for _, t in events)
    found = {"case": f"profile_b{batch}", "hyperion_attention_share": share, "hyperion_ms": 1e3 * whole,
             "torch_attention_share": attending / total, "torch_ms": total / 1e3}
    print(found, flush=True)
    return found


PARTS = {"train": (train, (16, 64)), "generate": (generate, (1, 64)), "profile": (profile, (16,))}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="hyperion bench gpt2", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--threads", type=int, default=1, help="threads on a CPU (default 1)")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--batches", nargs="+", type=int, help="only these batches")
    parser.add_argument("--turns", type=int, default=3, help="times that each system is timed, in turn (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    on_cpu = options.device == "cpu"
    if on_cpu:
        torch.set_num_threads(options.threads)
        os.environ["HYPERION_THREADS"] = str(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = True
    found = []
    for name in ["generate"] if on_cpu else options.parts:
        part, batches = PARTS[name]
        for batch in options.batches or batches:
            if on_cpu or batch in batches:
                found.append(part(batch, options.turns, options.device))
                if not on_cpu:
                    torch.cuda.empty_cache()
                    cupy.get_default_memory_pool().free_all_blocks()
                if options.json is not None:
                    device = f"cpu, {options.threads} threads" if on_cpu else torch.cuda.get_device_name(0)
                    versions = {"hyperion": hp.__version__, "torch": torch.__version__, "device": device}
                    options.json.write_text(json.dumps({**versions, "cases": found}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
