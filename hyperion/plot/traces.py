"""Figures of data and of the course of an inversion: shot gathers side by side, the misfit curve."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hyperion.errors import InputError, ShapeError
from hyperion.plot.sections import clip_of, same_shape
from hyperion.plot.style import length_scale, plain_array, styled

__all__ = ["gathers", "misfit"]


@styled
def gathers(
    gathers: Mapping[str, object],
    step: float,
    *,
    positions: object = None,
    clip: float | None = None,
    residual: bool = True,
    label: str = "Pressure",
) -> Figure:
    """Return a figure of shot gathers side by side under one clip, time downwards.

    gathers: arrays (receivers, steps) by title, such as observed and predicted. step: [s]. positions: distance of each receiver [m];
        default: its number. clip: amplitude that is black or white; default: the 98th percentile of the first gather. residual: with
        exactly two gathers, add second - first, at a scale of its own: its title says how many times it is magnified.
    Raises: ShapeError if the shapes disagree; InputError if there is none or the step is not positive.

    >>> data = np.random.default_rng(0).standard_normal((12, 50))
    >>> [panel.get_title(loc="left") for panel in gathers({"observed": data, "predicted": data}, 4e-3).axes[:3]]
    ['observed', 'predicted', 'predicted - observed']
    >>> gathers({"observed": data, "predicted": 1.04 * data}, 4e-3).axes[2].get_title(loc="left")
    'predicted - observed, x20'
    """
    arrays = same_shape(gathers)
    if not step > 0:
        raise InputError(f"step={step!r} s: it must be positive")
    receivers, steps = next(iter(arrays.values())).shape
    clip = clip or clip_of(next(iter(arrays.values())), 98)
    clips = dict.fromkeys(arrays, clip)
    if residual and len(arrays) == 2:
        (first, observed), (second, predicted) = arrays.items()
        difference = np.asarray(predicted, float) - observed
        factor = magnification(difference, clip)
        title = f"{second} - {first}" + (f", x{factor:g}" if factor > 1.0 else "")
        arrays[title], clips[title] = difference, clip / factor
    if positions is None:
        left, right, name = -0.5, receivers - 0.5, "Receiver"
    else:
        x = plain_array(positions, "positions", 1)
        if len(x) != receivers:
            raise ShapeError(f"positions: {len(x)} for gathers of {receivers} receivers; give one for each")
        scale, unit = length_scale(float(np.ptp(x)))
        half = 0.5 * float(np.ptp(x)) / max(receivers - 1, 1) or 0.5
        left, right, name = (float(x[0]) - half) * scale, (float(x[-1]) + half) * scale, f"Distance ({unit})"
    figure = Figure(figsize=(1.0 + 2.7 * len(arrays), 4.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(arrays), sharex=True, sharey=True))
    image = bar = None
    for panel, (title, values) in zip(panels, arrays.items(), strict=True):
        image = panel.imshow(values.T, cmap="gray", vmin=-clips[title], vmax=clips[title], aspect="auto", interpolation="antialiased",
                             extent=(left, right, (steps - 0.5) * step, -0.5 * step))
        bar = bar or image                                        # the scale shown is that of the gathers
        panel.set_title(title)
        panel.set_xlabel(name)
        panel.spines[["top", "right"]].set_visible(True)
    panels[0].set_ylabel("Time (s)")
    assert bar is not None
    figure.colorbar(bar, ax=list(panels), label=label, pad=0.02, aspect=32, extend="both")
    return figure


def magnification(residual: np.ndarray, clip: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... up to a million by which a residual can be multiplied with 98 % of it inside the clip.

    >>> magnification(np.full((3, 4), 0.04), 1.0), magnification(np.zeros((3, 4)), 1.0)
    (20.0, 1.0)
    """
    if not residual.any():
        return 1.0
    room = clip / clip_of(residual, 98)
    return max((m * 10.0**n for n in range(6) for m in (1.0, 2.0, 5.0) if m * 10.0**n <= room * (1 + 1e-9)), default=1.0)


@styled
def misfit(
    misfits: Sequence[float] | np.ndarray,
    *,
    stages: Mapping[str, int] | None = None,
    model_errors: Sequence[float] | np.ndarray | None = None,
    label: str = "Misfit, relative to\nthe start of its stage",
) -> Figure:
    """Return a figure of the misfit over the iterations on a logarithmic axis, each stage relative to its first value.

    misfits: one value an iteration, all positive or zero. stages: number of the first iteration of each stage, by title. model_errors:
        relative error of the model at each iteration, if the true model is known; drawn below.
    Raises: InputError if there is no value, a stage begins outside the iterations, or the lengths disagree.

    >>> len(misfit([4.0, 2.0, 3.0, 1.0], stages={"3 Hz": 0, "6 Hz": 2}).axes)
    1
    """
    values = plain_array(misfits, "misfits", 1).astype(float)
    errors = None if model_errors is None else plain_array(model_errors, "model_errors", 1)
    if errors is not None and len(errors) != len(values):
        raise ShapeError(f"model_errors has {len(errors)} values, misfits {len(values)}; give one for each iteration")
    starts = dict(stages or {"": 0})
    for title, start in starts.items():
        if not 0 <= start < len(values):
            raise InputError(f"stages: {title!r} begins at iteration {start}; it must be in 0..{len(values) - 1}")
    figure = Figure(figsize=(6.6, 3.0 if errors is None else 4.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1 if errors is None else 2, 1, sharex=True))
    ends = [*sorted(starts.values())[1:], len(values)]
    for (title, start), end in zip(sorted(starts.items(), key=lambda item: item[1]), ends, strict=True):
        part = values[start:end] / (values[start] or 1.0)
        panels[0].semilogy(np.arange(start, end) + 1, np.where(part > 0, part, np.nan), color="#d1495b", marker="o", markersize=2.5)
        for panel in panels:
            if start:
                panel.axvline(start + 0.5, color="#9aa3ad", linewidth=0.7, linestyle=(0, (4, 3)))
        panels[0].annotate(title, (start + 0.5, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -3), textcoords="offset points",
                           va="top", fontsize=8, color="#5b6875")
    panels[0].set_ylabel(label if len(starts) > 1 else "Misfit / first misfit")
    if errors is not None:
        panels[1].plot(np.arange(len(values)) + 1, errors, color="#00798c", marker="o", markersize=2.5)
        panels[1].set_ylabel("Relative model error")
    for panel in panels:
        panel.grid(color="#e3e6ea", linewidth=0.6, which="both", axis="y")
        panel.margins(x=0.02, y=0.12)
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    panels[-1].set_xlabel("Iteration")
    return figure
