"""Figures of a function of one space variable and time, found by a network, beside a reference."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hyperion.errors import InputError, ShapeError
from hyperion.plot.style import SIGNED_COLOURS, SPEED_COLOURS, styled

__all__ = ["solution", "solution_errors"]


@styled
def solution(
    x: Any, t: Any, found: Any, truth: Any, moments: Sequence[float], *, places: Sequence[Any] = (), symbol: str = "u", signed: bool = True,
    title: str = "", limits: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure of a solution over time and space, and of some moments of it beside the reference.

    x (n,), t (m,): where found and truth, (n, m), are.  moments: three times, of which the nearest are shown.
    places: arrays (k, 2) of points (x, t) to show: the first as fine dots, others as larger ones.
    symbol: what the function is called.  signed: colours from -1 to 1, white at 0; else from 0 on.  limits: of the curves.
    Raises: ShapeError for arrays that do not fit, InputError for a number of moments other than three.

    >>> x, t = np.linspace(-1.0, 1.0, 5), np.linspace(0.0, 1.0, 4)
    >>> len(solution(x, t, np.zeros((5, 4)), np.zeros((5, 4)), (0.0, 0.5, 1.0)).axes)
    5
    """
    x, t, found, truth = _checked(x, t, found, truth)
    if len(moments) != 3:
        raise InputError(f"solution(moments={moments!r}): give three times")
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    panel = figure.add_subplot(grid[0, :])
    colours: Any = {"cmap": SIGNED_COLOURS, "vmin": -1.0, "vmax": 1.0} if signed else {"cmap": SPEED_COLOURS, "vmin": 0.0}
    image = panel.imshow(found, extent=(t[0], t[-1], x[0], x[-1]), origin="lower", aspect="auto", **colours)
    panel.spines[["top", "right"]].set_visible(True)
    for k, points in enumerate(places):
        fine: Any = {"s": 0.6, "alpha": 0.6} if k == 0 else {"s": 6.0}
        panel.scatter(points[:, 1], points[:, 0], color="#1b1b1b" if signed else "white", linewidths=0.0, **fine)
    panel.set(xlabel="t", ylabel="x", title=title or f"{symbol}(x, t) of the network", xlim=(t[0], t[-1]), ylim=(x[0], x[-1]))
    figure.colorbar(image, ax=panel, label=symbol)
    for k, moment in enumerate(moments):
        i, panel = int(np.abs(t - moment).argmin()), figure.add_subplot(grid[1, k])
        panel.plot(x, truth[:, i], color="#b8b8b8", linewidth=3.0, label="reference")
        panel.plot(x, found[:, i], color="#d1495b", linewidth=1.2, linestyle="--", label="network")
        panel.set(title=f"t = {t[i]:.2f}", xlabel="x", ylim=limits, ylabel="" if k else symbol)
        if not k:
            panel.legend(frameon=False, fontsize=8)
    return figure


@styled
def solution_errors(
    x: Any, t: Any, found: Any, truth: Any, history: Any, published: Mapping[str, float], *, symbol: str = "u",
    decades: tuple[float, float] = (-7.0, -2.0),
) -> Figure:
    """Return a figure of the error over time and space, and of loss and error over the steps of the training.

    history: rows of step, loss and relative L2 error (NaN where it was not looked at), then what else.  published: errors by their source.
    symbol: what the function is called.  decades: of the colours.

    >>> x, t = np.linspace(-1.0, 1.0, 5), np.linspace(0.0, 1.0, 4)
    >>> len(solution_errors(x, t, np.ones((5, 4)), np.zeros((5, 4)), [[1, 0.5, np.nan], [2, 0.3, 0.1]], {"a paper": 1e-3}).axes[1].lines)
    3
    """
    x, t, found, truth = _checked(x, t, found, truth)
    history = np.asarray(history, float)
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(np.log10(np.abs(found - truth) + 1e-12), cmap="magma", vmin=decades[0], vmax=decades[1],
                        extent=(t[0], t[-1], x[0], x[-1]), origin="lower", aspect="auto")
    left.spines[["top", "right"]].set_visible(True)
    left.set(xlabel="t", ylabel="x", title=f"log10 of the error of {symbol}")
    figure.colorbar(image, ax=left)
    right.semilogy(history[:, 0], history[:, 1], color="#9a9a9a", linewidth=0.8, label="loss")
    seen = np.isfinite(history[:, 2])
    right.semilogy(history[seen, 0], history[seen, 2], "-", color="#d1495b", label=f"relative L2 error of {symbol}")
    for (source, value), style in zip(published.items(), (":", "--", "-.") * len(published), strict=False):
        right.axhline(value, color="#30638e", linewidth=0.8, linestyle=style, label=f"{source}: {value:g}")
    right.set(xlabel="step (at the jumps, points are drawn anew)", ylabel="loss and error")
    right.legend(frameon=False, fontsize=8)
    return figure


def _checked(x: Any, t: Any, found: Any, truth: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, t, found, truth = (np.asarray(part, float) for part in (x, t, found, truth))
    if x.ndim != 1 or t.ndim != 1 or not found.shape == truth.shape == (x.size, t.size) or not found.size:
        raise ShapeError(f"solution of shape {found.shape} beside {truth.shape} at x {x.shape}, t {t.shape}: both must be (x, t)")
    return x, t, found, truth
