"""Fields in rows and columns: what several methods make of one thing, side by side."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from hyperion.errors import InputError, ShapeError
from hyperion.plot.sections import clip_of
from hyperion.plot.style import SIGNED_COLOURS, plain_array, styled

__all__ = ["error_notes", "fields"]

Limits = float | Sequence[float] | Mapping[str, float] | None


@styled
def fields(
    rows: Mapping[str, Sequence[object]],
    columns: Sequence[str],
    *,
    limits: Limits = None,
    notes: Mapping[str, Sequence[str]] | None = None,
    spacing: Sequence[float] | None = None,
    axes: Sequence[str] = ("Depth (m)", "Distance (m)"),
    upwards: bool = False,
    label: str = "",
) -> Figure:
    """Return a figure of signed fields in rows and columns, white where they are zero.

    rows: arrays (n, m), one for each column, by the row's title; None leaves a place empty.  columns: their titles.
    limits: the largest magnitude of the colours: a number for all, one for each column, or a mapping that gives one for each row; each
        scale has its colour bar.  None: the 99.5th percentile of all.
    notes: what stands above a field, such as its error: one text for each column, by the row's title.
    spacing: of the nodes along both axes; None draws no axes.  axes: their names, with units.  upwards: whether the first one points up.
    label: of the colour bars, with the unit.
    Raises: InputError without rows or columns, and for limits, notes or a spacing that cannot be; ShapeError for rows of other lengths, or
        fields that are not 2-D.

    >>> figure = fields({"solver": [np.eye(4), np.ones((4, 4))], "network": [None, np.eye(4)]}, ["1 s", "2 s"], limits=1.0)
    >>> len(figure.axes)
    5
    """
    table = _table(rows, columns)
    ends = _ends(limits, table, columns)
    texts = _notes(notes, table, columns)
    steps = None if spacing is None else _steps(spacing, axes)
    bars = _bars(limits, table, columns)
    lines = max(text.count("\n") + 1 for text in columns) + (1 if any(map(any, texts.values())) else 0)
    size = (1.9 * len(columns) + (1.1 if bars[0][0] == "right" else 0.3) + (0.5 if steps else 0.1),
            1.95 * len(table) + 0.17 * lines + (0.7 if bars[0][0] == "bottom" else 0.1) + (0.45 if steps else 0.1))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(table), len(columns), squeeze=False, sharex=steps is not None, sharey=steps is not None)
    for i, (name, row) in enumerate(table.items()):
        for j, field in enumerate(row):
            panel = panels[i, j]
            title = "\n".join(text for text in (columns[j] if i == 0 else "", texts[name][j]) if text)
            panel.set_title(title, fontsize=9, loc="center", fontweight="normal")
            if field is None:
                panel.set_axis_off()
                continue
            extent = None if steps is None else _extent(field.shape, steps, upwards)
            panel.imshow(field, cmap=SIGNED_COLOURS, vmin=-ends[i, j], vmax=ends[i, j], origin="lower" if upwards else "upper",
                         extent=extent, interpolation="nearest")
            panel.spines[["top", "right"]].set_visible(True)
            if steps is None:
                panel.set(xticks=[], yticks=[])
            elif not any(below[j] is not None for below in list(table.values())[i + 1:]):
                panel.set_xlabel(axes[1])
                panel.tick_params(labelbottom=True)
        _name_row(panels[i, 0], name, row[0] is None, "" if steps is None else axes[0])
    for location, indices in bars:
        chosen = [panels[i, j] for i, j in indices if panels[i, j].images]
        if chosen:
            bar = figure.colorbar(chosen[0].images[0], ax=[panels[i, j] for i, j in indices], label=label, location=location, extend="both",
                                  shrink=0.8 if len(bars) > 1 else 0.5, aspect=16 if len(bars) > 1 else 30, pad=0.02)
            bar.locator = ticker.MaxNLocator(3 if location == "bottom" else 5, symmetric=True)
            bar.update_ticks()
    return figure


def error_notes(found: Sequence[Any], truth: Sequence[Any], digits: int = 3) -> list[str]:
    """Return the relative L2 errors of fields as texts to stand above them.

    >>> error_notes([np.full((2, 2), 1.1)], [np.ones((2, 2))])
    ['error 0.100']
    """
    return [f"error {np.linalg.norm(a - b) / np.linalg.norm(b):.{digits}f}" for a, b in zip(found, truth, strict=True)]


def _name_row(panel: Any, name: str, empty: bool, axis: str) -> None:
    """Write a row's name to its left, also where its first field is missing."""
    text = "\n".join(part for part in (name, axis if not empty else "") if part)
    if empty:
        panel.text(-0.02, 0.5, text, transform=panel.transAxes, rotation=90, ha="right", va="center", fontsize=9)
    panel.set_ylabel(text)


def _table(rows: Mapping[str, Sequence[object]], columns: Sequence[str]) -> dict[str, list[np.ndarray | None]]:
    if not rows or not columns:
        raise InputError(f"fields(rows of {len(rows)}, columns={list(columns)!r}): give at least one of each")
    for name, row in rows.items():
        if not isinstance(row, Sequence | np.ndarray) or isinstance(row, str) or len(row) != len(columns):
            raise ShapeError(f"fields: row {name!r} has another length than the {len(columns)} columns; give None where nothing is")
    return {name: [None if field is None else plain_array(field, repr(name), 2) for field in row] for name, row in rows.items()}


def _ends(limits: Limits, table: Mapping[str, Sequence[np.ndarray | None]], columns: Sequence[str]) -> np.ndarray:
    """Return the largest magnitude of the colours in each place, (rows, columns)."""
    if limits is None:
        limits = max((clip_of(field, 99.5) for row in table.values() for field in row if field is not None), default=1.0)
    if isinstance(limits, Mapping):
        if set(limits) != set(table):
            raise InputError(f"fields(limits for {list(limits)!r}): give one for each of the rows {list(table)!r}")
        values = [[limits[name]] * len(columns) for name in table]
    elif isinstance(limits, Sequence | np.ndarray) and not isinstance(limits, str) and np.ndim(limits) == 1:
        if len(limits) != len(columns):
            raise ShapeError(f"fields(limits={limits!r}): give one number, or one for each of the {len(columns)} columns")
        values = [list(limits)] * len(table)
    else:
        values = [[limits] * len(columns)] * len(table)
    for value in (value for row in values for value in row):
        if not isinstance(value, Real) or isinstance(value, bool) or not 0.0 < float(value) < math.inf:
            raise InputError(f"fields(limits={limits!r}): {value!r} is no largest magnitude of colours; give finite numbers above 0")
    return np.array(values, float)


def _bars(limits: Limits, table: Mapping[str, Any], columns: Sequence[str]) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return where each colour bar stands, and the places it is for."""
    places = [[(i, j) for j in range(len(columns))] for i in range(len(table))]
    if isinstance(limits, Mapping):
        return [("right", row) for row in places]
    if limits is None or isinstance(limits, Real):
        return [("right", [place for row in places for place in row])]
    return [("bottom", [row[j] for row in places]) for j in range(len(columns))]


def _notes(notes: Mapping[str, Sequence[str]] | None, table: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Sequence[str]]:
    unknown = set(notes or {}) - set(table)
    if unknown:
        raise InputError(f"fields(notes for {sorted(unknown)!r}): the rows are {list(table)!r}")
    for name, texts in (notes or {}).items():
        if not isinstance(texts, Sequence) or isinstance(texts, str) or len(texts) != len(columns):
            raise ShapeError(f"fields(notes): row {name!r} has another length than the {len(columns)} columns; give '' where nothing is")
    return {name: (notes or {}).get(name, [""] * len(columns)) for name in table}


def _steps(spacing: Sequence[float], axes: Sequence[str]) -> tuple[float, float]:
    steps = list(spacing) if isinstance(spacing, Sequence | np.ndarray) and not isinstance(spacing, str) else []
    if len(steps) != 2 or not all(isinstance(step, Real) and 0.0 < float(step) < math.inf for step in steps) or len(axes) != 2:
        raise InputError(f"fields(spacing={spacing!r}, axes={axes!r}): give the distance of the nodes along both axes, and two names")
    return float(steps[0]), float(steps[1])


def _extent(shape: tuple[int, ...], steps: tuple[float, float], upwards: bool) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) with each node at the middle of its pixel, the first one at 0."""
    low, high = -0.5 * steps[0], (shape[0] - 0.5) * steps[0]
    return -0.5 * steps[1], (shape[1] - 0.5) * steps[1], *((low, high) if upwards else (high, low))
