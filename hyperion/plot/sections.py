"""Figures of models and fields: sections, their difference, profiles, snapshots."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hyperion.errors import InputError, ShapeError
from hyperion.plot.style import SIGNED_COLOURS, SPEED_COLOURS, label_section, length_scale, plain_array, section, styled

__all__ = ["difference", "models", "profiles", "snapshots"]


@styled
def models(
    models: Mapping[str, object],
    spacing: Sequence[float],
    *,
    origin: Sequence[float] = (0.0, 0.0),
    sources: object = None,
    receivers: object = None,
    limits: tuple[float, float] | None = None,
    label: str = "P-wave speed (m/s)",
) -> Figure:
    """Return a figure of models under one colour scale, depth downwards, sources and receivers marked.

    models: arrays (nz, nx) by title, all of one shape. spacing, origin: (z, x) [m]. sources, receivers: positions (..., 2) [m], (z, x);
        they are drawn on the first panel. limits: of the colours; default: smallest and largest of all models. label: of the colour bar,
        with the unit.
    Raises: ShapeError if a model is not 2-D or the shapes differ; InputError if there is none.

    >>> models({"true": np.full((20, 40), 1500.0)}, (10.0, 10.0)).axes[0].get_ylabel()
    'Depth (m)'
    """
    arrays = same_shape(models)
    nz, nx = next(iter(arrays.values())).shape
    low, high = limits or (min(float(a.min()) for a in arrays.values()), max(float(a.max()) for a in arrays.values()))
    figure, panels = panel_grid(len(arrays), nz * spacing[0], nx * spacing[1])
    image: Any = None
    for panel, (title, values) in zip(panels, arrays.items(), strict=False):
        image = section(panel, values, spacing, origin, (low, high), SPEED_COLOURS)
        panel.set_title(title)
        edges = panel.get_subplotspec()
        label_section(panel, nx * spacing[1], edges is None or edges.is_last_row(), edges is None or edges.is_first_col())
    mark_positions(panels[0], sources, receivers, length_scale(nx * spacing[1])[0])
    figure.colorbar(image, ax=panels[:len(arrays)], label=label, shrink=0.9, pad=0.02, aspect=30)
    return figure


@styled
def difference(
    first: object,
    second: object,
    spacing: Sequence[float],
    *,
    origin: Sequence[float] = (0.0, 0.0),
    title: str = "Difference",
    label: str = "P-wave speed difference (m/s)",
    limit: float | None = None,
) -> Figure:
    """Return a figure of first - second, white where they agree.

    first, second: (nz, nx). spacing, origin: (z, x) [m]. limit: of the colours on both sides; default: the 99.5th percentile of the
        magnitude.
    Raises: ShapeError if they are not 2-D or of different shapes.

    >>> len(difference(np.ones((9, 12)), np.zeros((9, 12)), (5.0, 5.0)).axes)
    2
    """
    arrays = same_shape({"first": first, "second": second})
    change = np.asarray(arrays["first"], float) - arrays["second"]
    limit = limit or clip_of(change, 99.5)
    nz, nx = change.shape
    figure, (panel, *_) = panel_grid(1, nz * spacing[0], nx * spacing[1])
    image = section(panel, change, spacing, origin, (-limit, limit), SIGNED_COLOURS)
    panel.set_title(title)
    label_section(panel, nx * spacing[1])
    figure.colorbar(image, ax=panel, label=label, shrink=0.9, pad=0.02, aspect=30)
    return figure


@styled
def profiles(
    models: Mapping[str, object],
    spacing: Sequence[float],
    positions: Sequence[float],
    *,
    origin: Sequence[float] = (0.0, 0.0),
    label: str = "P-wave speed (m/s)",
) -> Figure:
    """Return a figure of vertical profiles of several models, one panel for each distance.

    models: arrays (nz, nx) by name. spacing, origin: (z, x) [m]. positions: distances [m]; the nearest column is drawn.
    Raises: ShapeError if the models differ in shape; InputError if a position lies outside the model.

    >>> len(profiles({"true": np.ones((9, 12))}, (5.0, 5.0), [20.0, 40.0]).axes)
    2
    """
    arrays = same_shape(models)
    nz, nx = next(iter(arrays.values())).shape
    columns = [round((x - origin[1]) / spacing[1]) for x in positions]
    for x, column in zip(positions, columns, strict=True):
        if not 0 <= column < nx:
            raise InputError(f"positions: {x:g} m lies outside the model; it must be in "
                             f"{origin[1]:g}..{origin[1] + (nx - 1) * spacing[1]:g} m")
    if not columns:
        raise InputError("positions: none given; give at least one distance in m")
    figure = Figure(figsize=(0.6 + 2.1 * len(columns), 4.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(columns), sharey=True, sharex=True))
    scale, unit = length_scale(nz * spacing[0])
    across, across_unit = length_scale((nx - 1) * spacing[1])
    depth = (origin[0] + spacing[0] * np.arange(nz)) * scale
    for panel, x, column in zip(panels, positions, columns, strict=True):
        for name, values in arrays.items():
            panel.plot(values[:, column], depth, label=name)
        panel.set_title(f"{round(x * across, 2 if across < 1.0 else 0):g} {across_unit}")
        panel.set_ylim(depth[-1], depth[0])
        panel.grid(color="#e3e6ea", linewidth=0.6)
        panel.locator_params(axis="x", nbins=4)
    panels[0].set_ylabel(f"Depth ({unit})")
    figure.supxlabel(label, fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(arrays), 4))
    return figure


@styled
def snapshots(
    fields: Mapping[str, object],
    spacing: Sequence[float],
    *,
    origin: Sequence[float] = (0.0, 0.0),
    background: object = None,
    sources: object = None,
    receivers: object = None,
    label: str = "Pressure",
) -> Figure:
    """Return a figure of wavefields under one symmetric colour scale, over the outline of a model.

    fields: arrays (nz, nx) by title, in the order to show. background: a model (nz, nx) whose contours are drawn. sources, receivers:
        positions (..., 2) [m].
    Raises: ShapeError if the shapes differ or are not 2-D; InputError if there is none.

    >>> len(snapshots({"0.1 s": np.ones((9, 12)), "0.2 s": np.zeros((9, 12))}, (5.0, 5.0)).axes)
    3
    """
    arrays = same_shape(fields)
    nz, nx = next(iter(arrays.values())).shape
    limit = max(clip_of(values, 99.5) for values in arrays.values())
    figure, panels = panel_grid(len(arrays), nz * spacing[0], nx * spacing[1])
    scale = length_scale(nx * spacing[1])[0]
    image: Any = None
    for panel, (title, values) in zip(panels, arrays.items(), strict=False):
        image = section(panel, values, spacing, origin, (-limit, limit), SIGNED_COLOURS)
        if background is not None:
            model = plain_array(background, "background", 2)
            if model.shape != values.shape:
                raise ShapeError(f"background has shape {model.shape}, the fields {values.shape}; they must agree")
            if np.ptp(model) > 0:
                x, z = ((origin[i] + spacing[i] * np.arange(model.shape[i])) * scale for i in (1, 0))
                levels = np.linspace(float(model.min()), float(model.max()), 7)[1:-1]
                panel.contour(x, z, model, levels=levels, colors="#333333", linewidths=0.4, alpha=0.45)
        panel.set_title(title)
        edges = panel.get_subplotspec()
        label_section(panel, nx * spacing[1], edges is None or edges.is_last_row(), edges is None or edges.is_first_col())
        mark_positions(panel, sources, receivers, scale, legend=panel is panels[0])
    figure.colorbar(image, ax=panels[:len(arrays)], label=label, shrink=0.9, pad=0.02, aspect=30, extend="both")
    return figure


def same_shape(models: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Return the 2-D arrays of a mapping. Raises: InputError if it is empty, ShapeError if an array is not 2-D or shapes differ."""
    if not models:
        raise InputError("no array given; give at least one by its title: {'true': model}")
    arrays = {name: plain_array(values, repr(name), 2) for name, values in models.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1:
        raise ShapeError(f"arrays of different shapes {sorted(shapes)} in one figure; they must agree: draw them on one grid")
    return arrays


def clip_of(values: np.ndarray, percentile: float) -> float:
    """Return a percentile of the magnitude to end a colour scale with; 1 for an array of zeros."""
    return float(np.percentile(np.abs(values), percentile)) or float(np.abs(values).max()) or 1.0


def panel_grid(count: int, height: float, width: float) -> tuple[Figure, list]:
    """Return a figure with `count` panels for sections of height x width [m]: wide ones below each other, others side by side."""
    ratio = min(max(height / width, 0.2), 1.6)
    columns = 1 if count == 1 or (ratio < 0.55 and count <= 3) else 2 if count <= 4 else 3
    rows = math.ceil(count / columns)
    panel_width = {1: 6.6, 2: 4.0, 3: 3.0}[columns]
    figure = Figure(figsize=(panel_width * columns + 1.2, rows * (0.93 * panel_width * ratio + 0.3) + 0.4), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel())
    for panel in panels[count:]:
        panel.remove()
    return figure, panels


def mark_positions(panel, sources: object, receivers: object, scale: float, legend: bool = True) -> None:
    """Mark sources by stars and receivers by small triangles, each position once."""
    for positions, marker, size, colour, name in ((receivers, "v", 9, "#ffffff", "receivers"), (sources, "*", 55, "#ff5d5d", "sources")):
        if positions is None:
            continue
        points = np.unique(np.asarray(positions, float).reshape(-1, 2), axis=0) * scale
        points = points[::math.ceil(len(points) / 100)]           # more than 100 marks would be a line
        panel.scatter(points[:, 1], points[:, 0], s=size, marker=marker, c=colour, label=name,
                      edgecolors="#1b1b1b", linewidths=0.4, zorder=3, clip_on=False)
    if legend and (sources is not None or receivers is not None):
        panel.legend(loc="lower right", ncols=2, frameon=True, framealpha=0.8, edgecolor="none", handletextpad=0.3, borderpad=0.3)
