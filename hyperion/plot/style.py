"""How every figure looks, and what they share: axes in metres or kilometres, depth downwards, positions marked."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperion.errors import ShapeError

__all__ = ["SPEED_COLOURS", "length_scale", "plain_array", "section", "styled"]

SPEED_COLOURS = "viridis"        # perceptually uniform: equal steps of speed look equal, also in grey and to colour-blind readers
SIGNED_COLOURS = "RdBu_r"        # white is zero
STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "figure.facecolor": "white",
    "axes.prop_cycle": cycler(color=["#1b1b1b", "#9a9a9a", "#d1495b", "#00798c", "#edae49", "#5d4e8c"]),
    "mathtext.default": "regular",
}
Arguments = ParamSpec("Arguments")


def styled(function: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Make a function draw in this style, whatever the caller's matplotlib settings are; those stay as they are."""

    @functools.wraps(function)
    def inside(*arguments: Arguments.args, **options: Arguments.kwargs) -> Figure:
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": matplotlib.get_backend()}):
            return function(*arguments, **options)

    return inside


def plain_array(values: object, name: str, axes: int) -> np.ndarray:
    """Return values as an array with the right number of axes. Raises: ShapeError, with the name, otherwise."""
    array = np.asarray(values)
    if array.ndim != axes or array.size == 0:
        raise ShapeError(f"{name} has shape {array.shape}; a figure needs {axes} axes, none empty: give a slice such as model[:, :, 0]")
    return array


def length_scale(extent: float) -> tuple[float, str]:
    """Return by what to multiply metres, and the unit: kilometres from 2 km on.

    >>> length_scale(900.0), length_scale(10000.0)
    ((1.0, 'm'), (0.001, 'km'))
    """
    return (1e-3, "km") if extent >= 2000.0 else (1.0, "m")


def section(
    axes: Axes, values: np.ndarray, spacing: Sequence[float], origin: Sequence[float], limits: tuple[float, float], colours: str
) -> Any:
    """Draw a section (nz, nx) with depth downwards, each node at the middle of its pixel; returns the image."""
    nz, nx = values.shape
    scale, _ = length_scale(nx * spacing[1])
    left, right = ((origin[1] + (i - 0.5) * spacing[1]) * scale for i in (0, nx))
    top, bottom = ((origin[0] + (i - 0.5) * spacing[0]) * scale for i in (0, nz))
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], extent=(left, right, bottom, top), interpolation="nearest")
    axes.set_aspect("equal" if 0.2 <= nz * spacing[0] / (nx * spacing[1]) <= 5 else "auto")
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return image


def label_section(axes: Axes, width: float, bottom: bool = True, left: bool = True) -> None:
    """Name the axes of a section that is `width` metres wide."""
    unit = length_scale(width)[1]
    if bottom:
        axes.set_xlabel(f"Distance ({unit})")
    if left:
        axes.set_ylabel(f"Depth ({unit})")
