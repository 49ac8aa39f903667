"""Draws docs/attention.svg: which tiles a mask leaves, how the softmax goes over them, and who works when on a GPU.

    PYTHONPATH=. python docs/attention_figure.py [FILE]

The tiles are those that the library finds, the curves its arithmetic in NumPy; the times of the last panel are a sketch.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hyperion import nn
from hyperion.autograd.visibility import visibility

TOKENS, TILE = 1024, 64
COLOURS = {0: "#f4f4f4", 1: "#fdae6b", 2: "#6baed6"}
KINDS = {0: "never loaded", 1: "masked inside", 2: "not masked"}


def tiles(panel: Axes, name: str, mask: Any) -> None:
    """Draw what becomes of each tile of a table of scores."""
    kinds = visibility(np, mask.bare(), [x.data for x in mask.arrays], 1, 1, TOKENS, TOKENS).kinds(TILE, TILE)[0, 0]
    colours = matplotlib.colors.ListedColormap([COLOURS[i] for i in range(3)])
    panel.pcolormesh(kinds, cmap=colours, vmin=0, vmax=2, edgecolors="white", linewidth=0.6, rasterized=True)
    panel.invert_yaxis()
    panel.set(aspect="equal", xticks=[], yticks=[], title=f"{name}: {(kinds > 0).mean():.0%}")
    panel.title.set_fontsize(9)


def softmax(panel: Axes) -> None:
    """Draw what a row of scores knows after each tile: the largest so far, and the log-sum-exp of what it has seen."""
    each = 12           # scores of a tile that are drawn
    scores = np.random.default_rng(19).standard_normal((TOKENS // TILE, each)) * 1.5
    largest, total, known, tops = -np.inf, 0.0, [], []
    for tile in scores:
        before, largest = largest, max(largest, tile.max())
        total = total * np.exp(before - largest) + np.exp(tile - largest).sum()
        known.append(largest + np.log(total))
        tops.append(largest)
    count = np.arange(1, len(scores) + 1)
    places = np.repeat(count, each) - 1 + np.tile(np.arange(1, each + 1) / each, len(scores))
    panel.plot(places, scores.ravel(), ".", color="#b0b0b0", markersize=2.5, label="scores of one query")
    panel.step(count, tops, where="post", color="#d94801", label="m: the largest so far")
    panel.plot(count, known, "o-", color="#2171b5", markersize=3, label="m + log l")
    for before, after, place in zip(tops, tops[1:], count[1:], strict=False):
        if after > before:
            panel.annotate(f"times {np.exp(before - after):.2f}", (place, after), (0, -9), textcoords="offset points", fontsize=7,
                           color="#d94801")
    exact = np.log(np.exp(scores).sum())
    panel.axhline(exact, color="#2171b5", linewidth=0.7, linestyle=":")
    panel.set(xlabel="tiles of keys gone over", title="Online softmax: when m grows, l and O are multiplied", ylim=(None, exact + 3.6))
    panel.title.set_fontsize(9)
    panel.tick_params(labelsize=7)
    panel.xaxis.label.set_fontsize(8)
    panel.legend(frameon=False, fontsize=7, loc="upper left", ncols=3, handlelength=1.2, columnspacing=1.0)


def pipeline(panel: Axes) -> None:
    """Draw who works when: the copy engine ahead, tensor cores on two warpgroups in turn, exponentials in between."""
    load, score, soft, output = "#bdbdbd", "#6baed6", "#fdae6b", "#74c476"

    def bar(row: float, begin: float, length: float, colour: str, text: str) -> None:
        panel.barh(row, length, left=begin, height=0.72, color=colour, edgecolor="white")
        panel.text(begin + length / 2, row, text, ha="center", va="center", fontsize=6.5)

    for i in range(5):
        bar(0, 1.5 * i, 0.75, load, f"K{i}")
        bar(0, 1.5 * i + 0.75, 0.75, load, f"V{i}")
    for group, (rows, delay) in enumerate((((1, 2), 1.0), ((3, 4), 1.9))):
        for i in range(4):
            begin = delay + 1.8 * i
            bar(rows[0], begin, 0.9, score, f"S{i}" if i == 0 else f"S{i}, O{i - 1}")
            bar(rows[1], begin + 0.9, 0.9, soft, f"exp {i}")
        bar(rows[0], delay + 7.2, 0.9, output, "O3")
        panel.text(-0.15, rows[0] + 0.5, f"warpgroup {group + 1}", ha="right", va="center", fontsize=7)
    panel.text(-0.15, 0, "copies (TMA)", ha="right", va="center", fontsize=7)
    panel.invert_yaxis()
    panel.set(xticks=[], yticks=[], xlim=(-2.3, 10.3), title="Pipeline: scores S of the next tile run beside O += P V of this one")
    panel.title.set_fontsize(9)
    panel.annotate("time", (10.2, 4.75), (8.6, 4.75), arrowprops={"arrowstyle": "->", "linewidth": 0.7}, fontsize=7, va="center")
    panel.spines[:].set_visible(False)


def draw() -> Figure:
    """Return the figure."""
    figure = Figure(figsize=(10.0, 6.0), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    grid = figure.add_gridspec(2, 4, height_ratios=[1.0, 1.05])
    documents = nn.Document.packed([0, 210, 330, 700, 1024])
    masks = {
        "Causal()": nn.Causal(), "SlidingWindow(200)": nn.SlidingWindow(200), "Document & Causal": documents & nn.Causal(),
        "BlockSparse.bigbird": nn.BlockSparse.bigbird(TOKENS // TILE, 1, 1, 2, TILE),
    }
    for i, (name, mask) in enumerate(masks.items()):
        panel = figure.add_subplot(grid[0, i])
        tiles(panel, name, mask)
        panel.set_xlabel("keys", fontsize=8)
        panel.set_ylabel("queries" if i == 0 else "", fontsize=8)
    figure.legend(handles=[Patch(color=COLOURS[i], label=KINDS[i]) for i in (2, 1, 0)], loc="outside upper center", ncols=3, frameon=False,
                  fontsize=8)
    softmax(figure.add_subplot(grid[1, :2]))
    pipeline(figure.add_subplot(grid[1, 2:]))
    return figure


if __name__ == "__main__":
    with matplotlib.rc_context({"svg.hashsalt": "attention", "svg.fonttype": "none", "font.family": "sans-serif"}):
        to = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("attention.svg")
        draw().savefig(to, metadata={"Date": None} if to.suffix == ".svg" else None, dpi=110)
