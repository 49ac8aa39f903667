"""Figures of what an operator answers on a plane: input, truth, answer and their difference, of the median and of the worst example."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hyperion.errors import ShapeError
from hyperion.plot.style import SIGNED_COLOURS, SPEED_COLOURS, styled

__all__ = ["answers"]


@styled
def answers(
    inputs: Any, truth: Any, found: Any, errors: Any, names: tuple[str, str], sources: tuple[str, str] = ("solver", "network"),
) -> Figure:
    """Return a figure of the median and the worst answer on the unit square: input, truth, answer, and the difference of these two.

    inputs, truth, found: (examples, n, m), the first axis upwards.  errors: (examples,).  names: of the input, and of the answer.
    sources: of truth and answer.
    Raises: ShapeError for arrays that do not fit.

    >>> u = np.random.default_rng(0).random((5, 8, 8))
    >>> len(answers(u, u, 0.9 * u, [0.1, 0.3, 0.2, 0.1, 0.1], ("permeability", "pressure")).axes)
    16
    """
    inputs, truth, found, errors = (np.asarray(part, float) for part in (inputs, truth, found, errors))
    if truth.ndim != 3 or not inputs.shape == truth.shape == found.shape or errors.shape != truth.shape[:1] or not truth.size:
        raise ShapeError(f"answers({inputs.shape}, {truth.shape}, {found.shape}, errors {errors.shape}): give (examples, n, m) three times "
                         "and (examples,)")
    order = np.argsort(errors)
    figure = Figure(figsize=(11.5, 5.6), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for row, (rank, i) in enumerate((("median", order[len(order) // 2]), ("worst", order[-1]))):
        away, largest = found[i] - truth[i], float(np.abs(found[i] - truth[i]).max())
        top = float(truth[i].max())
        shown = ((inputs[i], "Greys", None, None, names[0]), (truth[i], SPEED_COLOURS, 0.0, top, f"{names[1]}, {sources[0]}"),
                 (found[i], SPEED_COLOURS, 0.0, top, f"{names[1]}, {sources[1]}"),
                 (away, SIGNED_COLOURS, -largest, largest, f"{sources[1]} - {sources[0]}, error {errors[i]:.4f}"))
        for panel, (values, colours, low, high, title) in zip(panels[row], shown, strict=True):
            image = panel.imshow(values, origin="lower", cmap=colours, vmin=low, vmax=high, extent=(0, 1, 0, 1))
            panel.spines[["top", "right"]].set_visible(True)
            panel.set(xticks=[0, 1], yticks=[0, 1], xlabel="x" if row else "")
            panel.set_title(title, fontsize=9, fontweight="normal", loc="center")
            figure.colorbar(image, ax=panel, shrink=0.8).ax.ticklabel_format(scilimits=(-2, 2))
        panels[row, 0].set_ylabel(f"{rank}\ny")
    return figure
