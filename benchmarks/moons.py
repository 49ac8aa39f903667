"""Training of micrograd's two moons: Hyperion (scenarios/moons.py) beside micrograd, in one process, in turns.

    hyperion bench moons                                  (or: python benchmarks/moons.py)
    hyperion bench moons --steps 20 --json figures.jsonl

Both start from the same weights, see the same points and take the same steps: the losses must agree at every step, and the script says
by how much they differ. micrograd (pip install micrograd) works with Python numbers, so its time does not depend on threads.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scenarios")]

import moons  # noqa: E402
import numpy as np  # noqa: E402

import hyperion as hp  # noqa: E402

SIZES, PENALTY = [2, 16, 16, 1], 1e-4


def rate(k: int, steps: int) -> float:
    return 1.0 - 0.9 * k / steps


def train_hyperion(points, classes, layers, steps):
    """Return the loss at each step, the accuracy at the last, and the seconds of each step."""
    x, y = hp.asarray(points), hp.asarray(classes)
    layers = hp.tree_map(hp.asarray, layers)
    step = hp.value_and_grad(lambda p: moons.loss_of(p, x, y, PENALTY), has_aux=True)
    losses, seconds, accuracy = [], [], 0.0
    for k in range(steps):
        began = time.perf_counter()
        (loss, scores), gradient = step(layers)
        length = rate(k, steps)
        layers = hp.tree_map(lambda p, g, length=length: p - length * g, layers, gradient)
        seconds.append(time.perf_counter() - began)
        losses.append(loss.item())
        accuracy = float(np.mean((scores.numpy() > 0.0) == (classes > 0.0)))
    return losses, accuracy, seconds


def train_micrograd(points, classes, layers, steps):
    """The same with micrograd's engine, as in its demo notebook."""
    from micrograd.engine import Value
    from micrograd.nn import MLP

    model = MLP(SIZES[0], SIZES[1:])
    for ours, theirs in zip(layers, model.layers, strict=True):
        for j, neuron in enumerate(theirs.neurons):
            for i, w in enumerate(neuron.w):
                w.data = float(ours["weight"][i, j])
    losses, seconds, accuracy = [], [], 0.0
    for k in range(steps):
        began = time.perf_counter()
        scores = [model([Value(v) for v in point]) for point in points.tolist()]
        margins = [(1 + -y * score).relu() for y, score in zip(classes.tolist(), scores, strict=True)]
        loss = sum(margins) * (1.0 / len(margins)) + PENALTY * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= rate(k, steps) * p.grad
        seconds.append(time.perf_counter() - began)
        losses.append(loss.data)
        accuracy = float(np.mean([(y > 0) == (score.data > 0) for y, score in zip(classes, scores, strict=True)]))
    return losses, accuracy, seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="hyperion bench moons", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="of training (default 100)")
    parser.add_argument("--samples", type=int, default=100, help="points (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of points and weights (default 0)")
    parser.add_argument("--smoke", action="store_true", help="few points and steps, to see that everything runs; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object a line")
    options = parser.parse_args()
    if options.steps < 1 or options.samples < 2:
        parser.error("--steps must be at least 1, --samples at least 2")
    if options.json is not None and options.json.exists():
        parser.error(f"--json {options.json}: it exists; remove it or name another file")
    steps, samples = (3, 10) if options.smoke else (options.steps, options.samples)
    generator = np.random.default_rng(options.seed)
    points, classes = moons.make_moons(samples, 0.1, generator)
    layers = moons.initial(SIZES, generator)

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, load {load:.2f}; {samples} points, {steps} steps")
    systems = {"hyperion": train_hyperion}
    try:
        versions = {"micrograd": importlib.metadata.version("micrograd")}
        systems["micrograd"] = train_micrograd
    except importlib.metadata.PackageNotFoundError:
        versions = {}
        print("  micrograd left out: it is not installed (pip install micrograd)")
    versions["hyperion"] = hp.__version__
    repeats = {"hyperion": 5, "micrograd": 1}                      # the median of them, by time
    train_hyperion(points, classes, layers, 3)                     # not counted: first calls fill caches
    found = {}
    for name, train in systems.items():
        runs = sorted((train(points, classes, layers, steps) for _ in range(repeats[name])), key=lambda run: sum(run[2]))
        found[name] = runs[len(runs) // 2]
    records = []
    for name, (losses, accuracy, seconds) in found.items():
        total = sum(seconds)
        ratio = total / sum(found["hyperion"][2])
        print(f"{name:<10} {total:9.4f} s   {1e3 * statistics.median(seconds):9.3f} ms a step   ratio {ratio:7.1f}   "
              f"loss {losses[-1]:.6f}   accuracy {100 * accuracy:g} %")
        records.append({"case": "moons", "system": name, "version": versions[name], "device": "cpu", "seconds": total,
                        "throughput": steps / total, "unit": "steps/s", "peak_mb": None, "ratio_to_hyperion": ratio,
                        "note": f"{samples} points, {steps} steps, accuracy {100 * accuracy:g} %"})
    if "micrograd" in found:
        ours, theirs = np.array(found["hyperion"][0]), np.array(found["micrograd"][0])
        worst = float(np.max(np.abs(ours - theirs) / np.abs(theirs)))
        print(f"losses differ by at most {worst:.1e}")
        if worst > 1e-6:
            print("the two did not take the same steps", file=sys.stderr)
            return 1
    if options.json is not None:
        options.json.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
