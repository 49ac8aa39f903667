"""Curves of several methods in panels, one colour for each method: errors over time, spectra, error against cost."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from hyperion.errors import InputError, ShapeError
from hyperion.plot.style import styled

__all__ = ["Panel", "curves", "training"]

QUIET = "#b8b8b8"


@dataclass(frozen=True)
class Panel:
    """One panel of `curves`.

    curves: by name, y (n,), or (several, n) for several alike (seeds); or a pair (x, y) where each has its own x.
    labels: of the axes, (x, y), with units.  x: of all curves that do not have their own, (n,); None: 1, 2, ...
    log_x, log_y: whether an axis is logarithmic.  limits: (lowest, highest) of the y axis, either may be None.
    points: names of curves drawn as points without a line.  dotted: names of curves drawn with dots, and a line.
    notes: a text beside each point of a curve, by its name.  marks: texts at vertical lines, {text: x}.
    """

    curves: Mapping[str, Any]
    labels: tuple[str, str]
    x: Any = None
    log_x: bool = False
    log_y: bool = False
    limits: tuple[float | None, float | None] = (None, None)
    points: Collection[str] = ()
    dotted: Collection[str] = ()
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)

    def read(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return x (n,) and y (several, n) of each curve, or refuse what cannot be drawn."""
        if not self.curves:
            raise InputError("Panel(curves={}): give at least one curve by its name")
        unknown = {*self.points, *self.dotted, *self.notes} - set(self.curves)
        if unknown:
            raise InputError(f"Panel: points, dotted or notes name {sorted(unknown)!r}; the curves are {list(self.curves)!r}")
        found = {}
        for name, given in self.curves.items():
            own, values = given if isinstance(given, tuple) and len(given) == 2 else (self.x, given)
            y = np.atleast_2d(np.asarray(values, float))
            x = np.arange(1.0, y.shape[-1] + 1.0) if own is None else np.asarray(own, float)
            if y.ndim != 2 or x.shape != y.shape[1:] or not x.size:
                raise ShapeError(f"Panel: curve {name!r} has shape {np.shape(values)} at x of shape {x.shape}; give (n,) or (several, n) "
                                 "at (n,), none empty")
            if len(self.notes.get(name, x)) != len(x):
                raise ShapeError(f"Panel(notes): {len(self.notes[name])} for the {len(x)} points of {name!r}; give one for each")
            found[name] = x, np.where(np.isfinite(y), y, np.nan)
        return found


def training(rows: Sequence[Mapping[str, Any]], curves: Mapping[str, str], label: str) -> Panel:
    """Return a panel of losses and errors over the steps of a training.

    rows: of its history, each with `step`.  curves: {name: key of the rows}; rows without the key are left out, and dots say where it was
        looked at.  label: of the y axis.

    >>> training([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "test": 1.5}], {"batch": "loss", "unseen": "test"}, "loss").dotted
    ('unseen',)
    """
    found = {name: [(row["step"], row[key]) for row in rows if row.get(key) is not None] for name, key in curves.items()}
    dotted = tuple(name for name, pairs in found.items() if len(pairs) < len(rows))
    return Panel({name: tuple(map(list, zip(*pairs, strict=True))) for name, pairs in found.items()}, ("step", label), log_y=True,
                 dotted=dotted)


@styled
def curves(*panels: Panel, colours: Mapping[str, str] | None = None, reference: str = "reference", widths: Sequence[float] = ()) -> Figure:
    """Return a figure of panels side by side (four in two rows), with one legend of the names above them.

    colours: by name; curves without one are thin and grey, and named at their right end. None: the colours of the style, in turn.
    reference: the name of a curve drawn broad, under the others.  widths: of the panels, relative to each other; default: equal.
    Raises: InputError, ShapeError for curves that cannot be drawn.

    >>> error = Panel({"solver": [0.1, 0.2], "network": [[0.3, 0.2], [0.2, 0.1]]}, ("step", "relative L2 error"), log_y=True)
    >>> [len(axes.lines) for axes in curves(error).axes]
    [3]
    """
    read = [panel.read() for panel in panels]
    if not panels or (widths and len(widths) != len(panels)):
        raise InputError(f"curves({len(panels)} panels, widths={widths!r}): give at least one Panel, and as many widths, or none")
    names = list(dict.fromkeys(name for found in read for name in found))
    if colours is None:
        turn = ["#d1495b", "#00798c", "#9a9a9a", "#edae49", "#5d4e8c", "#3d7c47"]
        others = [name for name in names if name != reference]
        colours = {reference: "#1b1b1b"} | {name: turn[i % len(turn)] for i, name in enumerate(others)}
    across = 2 if len(panels) == 4 else len(panels)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(5.6 if across == 1 else min(4.6 * across, 10.5), 3.4 * down + 0.3), layout="constrained")
    places = figure.subplots(down, across, squeeze=False, width_ratios=list(widths) or None).ravel()
    for place, panel, found in zip(places, panels, read, strict=True):
        _draw(place, panel, found, colours, reference)
    handles = {text: line for place in places[::-1] for line, text in zip(*place.get_legend_handles_labels(), strict=True)}
    handles = {name: handles[name] for name in names if name in handles}
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=min(len(handles), 2 * across + 1))
    return figure


def _draw(place: Any, panel: Panel, found: Mapping[str, Any], colours: Mapping[str, str], reference: str) -> None:
    for name, (x, values) in found.items():
        colour, wide = colours.get(name, QUIET), name == reference
        marker = "D" if name in panel.points else "o" if name in panel.dotted else ""
        for i, y in enumerate(values):
            place.plot(x, y, marker=marker, markersize=5 if name in panel.points else 3, color=colour, zorder=1 if wide else 2,
                       linestyle="" if name in panel.points else "-", linewidth=2.6 if wide else 1.4 if name in colours else 0.9,
                       label=name if i == 0 and name in colours else None)
        if name not in colours:
            place.annotate(name, (x[-1], values[0, -1]), xytext=(7 if name in panel.points else 3, 0), textcoords="offset points",
                           fontsize=7, color="#8a8a8a", va="center")
        for text, *point in zip(panel.notes.get(name, ()), x, values[0], strict=False):
            place.annotate(f" {text}", tuple(point), xytext=(2, 3), textcoords="offset points", fontsize=7, color=colour)
    for text, at in panel.marks.items():
        place.axvline(at, color="#1b1b1b", linewidth=0.7, linestyle=(0, (4, 3)))
        place.annotate(f" {text}", (at, 0.01), xycoords=("data", "axes fraction"), fontsize=8)
    place.set(xlabel=panel.labels[0], ylabel=panel.labels[1], xscale="log" if panel.log_x else "linear",
              yscale="log" if panel.log_y else "linear")
    place.set_ylim(*panel.limits)
    for logarithmic, axis in ((panel.log_x, place.xaxis), (panel.log_y, place.yaxis)):
        if logarithmic:
            _plain_numbers(axis)
    if not panel.log_x and all(np.array_equal(x, x.round()) for x, _ in found.values()):
        place.xaxis.get_major_locator().set_params(integer=True)
    place.grid(color="#e3e6ea", linewidth=0.6)
    place.set_axisbelow(True)


def _plain_numbers(axis: Any) -> None:
    """Write 0.02, 0.05, 0.1 where a logarithmic axis spans less than two decades: powers of ten alone would be one number or none."""
    low, high = axis.get_view_interval()
    if low > 0.0 and high / low < 100.0:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_minor_formatter(ticker.NullFormatter())
