"""What Hyperion's wave solver costs: the absorbing layer, and how time grows with cells, steps and shots over four decades.

    hyperion bench wave_costs                              (or: python benchmarks/wave_costs.py)
    hyperion bench wave_costs --plot costs.png --json costs.jsonl

Every cell is swept at every step, as on a grid that is in motion everywhere.
The layer: solves on a grid with 20 cells of CPML on every side, on the same nodes without, and on as many cells without, in turns.
Sources in opposite corners keep the whole grid in motion: cells at rest, which a run leaves alone, would hide what a layer costs.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import moving
import numpy as np

from hyperion import pde
from hyperion.errors import SamplingWarning

WIDTH = 20
LAYERS = {  # name: equation, nodes, order, steps
    "acoustic_2d": (pde.Acoustic, (1000, 1000), 8, 200),
    "acoustic_3d": (pde.Acoustic, (200, 200, 200), 8, 24),
    "elastic_2d": (pde.Elastic, (600, 600), 4, 200),
}
SMALL = (24, 24)  # nodes of the grid on which steps and shots are counted


def call(
    equation: type[pde.Equation], nodes: tuple[int, ...], order: int, width: int, steps: int, threads: int, shots: int = 1
) -> Callable[[], object]:
    """Return a solve with sources in opposite corners, between which no cell counts as at rest, and one receiver."""
    wave = pde.Solver(equation(), pde.Grid(nodes, 10.0), order=order, boundary=pde.CPML(width), threads=threads)
    ones = np.ones(nodes, np.float32)
    values = {"speed": 2500.0, "p_speed": 2500.0, "s_speed": 1400.0, "density": 2000.0}
    parameters = {name: values[name] * ones for name in wave.equation.parameters}
    corners = np.broadcast_to([[0.0] * len(nodes), [10.0 * (n - 1) for n in nodes]], (shots, 2, len(nodes)))
    survey = pde.Survey(corners, corners[:, :1] + 20.0, pde.Wavelet(np.sin(0.05 * np.arange(steps)).astype(np.float32), 1e-3))
    return lambda: wave.solve(survey, **parameters)


def seconds(calls: list[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Return the times of each call, run in turns after one run that is not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for run, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            run()
            if turn:
                own.append(time.perf_counter() - start)
    return times


def layer(name: str, threads: int, repeats: int) -> dict[str, object]:
    """Return the ratios of times with a layer to those without: on the same nodes, and on as many cells."""
    equation, nodes, order, steps = LAYERS[name]
    grown = tuple(n + 2 * WIDTH for n in nodes)
    choices = [(nodes, WIDTH), (nodes, 0), (grown, 0)]
    with_layer, same, grown_times = seconds([call(equation, n, order, width, steps, threads) for n, width in choices], repeats)
    median = statistics.median
    return {
        "case": f"layer_{name}", "seconds": median(with_layer), "best": min(with_layer),
        "cells_over_nodes": math.prod(grown) / math.prod(nodes),
        "over_same_nodes": median(a / b for a, b in zip(with_layer, same, strict=True)),
        "over_as_many_cells": median(a / b for a, b in zip(with_layer, grown_times, strict=True)),
    }


def growth(threads: int, repeats: int, decades: int) -> list[dict[str, object]]:
    """Return times over cells (layer included), steps and shots."""
    points: list[tuple[str, int, Callable[[], object]]] = []
    for k in range(2 * decades + 1):
        n = round(math.sqrt(3000 * 10 ** (k / 2))) - 2 * WIDTH
        points.append(("cells", (n + 2 * WIDTH) ** 2, call(pde.Acoustic, (n, n), 8, WIDTH, 64, threads)))
    for k in range(decades + 1):
        points.append(("steps", 10 * 10**k, call(pde.Acoustic, SMALL, 8, WIDTH, 10 * 10**k, threads)))
        points.append(("shots", 10**k, call(pde.Acoustic, SMALL, 8, WIDTH, 20, threads, shots=10**k)))
    return [{"case": f"growth_{over}", over: count, "seconds": min(seconds([run], repeats)[0])} for over, count, run in points]


def exponent(records: list[dict[str, object]], over: str) -> float:
    """Return the exponent of the growth over the upper two decades."""
    rows = sorted((r[over], r["seconds"]) for r in records if over in r)
    last = [row for row in rows if row[0] >= rows[-1][0] / 100]
    return float(np.polyfit(np.log([c for c, _ in last]), np.log([s for _, s in last]), 1)[0])


def plot(records: list[dict[str, object]], path: Path) -> None:
    """Draw times over cells, steps and shots, with lines of linear growth through the last points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, over in zip(figure.subplots(1, 3), ("cells", "steps", "shots"), strict=True):
        rows = np.array(sorted((r[over], r["seconds"]) for r in records if over in r), float)
        axes.loglog(*rows.T, "o", label=f"exponent {exponent(records, over):.2f} at the end")
        axes.loglog(rows[:, 0], rows[-1, 1] * rows[:, 0] / rows[-1, 0], "-", linewidth=0.8, label="linear")
        axes.set_xlabel({"cells": "cells, layer included", "steps": "time steps", "shots": "shots"}[over])
        axes.set_ylabel("s")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="hyperion bench wave_costs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5, help="of each solve (default 5)")
    parser.add_argument("--decades", type=int, default=4, help="of growth (default 4)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the growth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object a line")
    options = parser.parse_args()
    moving.sweep_everything()
    warnings.simplefilter("ignore", SamplingWarning)  # times do not depend on it
    print(f"{options.threads} threads, load {os.getloadavg()[0] if hasattr(os, 'getloadavg') else float('nan'):.2f}")
    records = []
    for name in LAYERS:
        records.append(layer(name, options.threads, options.repeats))
        r = records[-1]
        print(f"{r['case']:<20} {r['seconds']:.3f} s with CPML({WIDTH}): {r['over_same_nodes']:.2f} times the same nodes without, "
              f"{r['over_as_many_cells']:.2f} times as many cells without ({r['cells_over_nodes']:.2f} times the nodes)", flush=True)
    records += growth(options.threads, options.repeats, options.decades)
    for over in ("cells", "steps", "shots"):
        rows = sorted((r[over], r["seconds"]) for r in records if over in r)
        print(f"{over:<6} " + "  ".join(f"{count:.3g}: {s:.3g} s" for count, s in rows) + f"   exponent {exponent(records, over):.2f}")
    if options.plot:
        plot(records, options.plot)
    if options.json:
        options.json.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
