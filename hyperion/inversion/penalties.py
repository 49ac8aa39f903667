"""Penalties of a model: what a stage adds to the misfit so that data with noise and gaps do not decide what they cannot."""

import math
from collections.abc import Sequence
from typing import Any

import hyperion.autograd as hp
from hyperion.errors import InputError, ShapeError
from hyperion.inversion.checks import is_number

__all__ = ["TotalVariation"]


class TotalVariation:
    """weight * mean over the cells of sqrt(|gradient of the model|^2 + floor^2): few edges instead of many ripples.

    weight: what a mean slope of 1 [unit of the model per m] adds to the misfit.  spacing: distance of the nodes [m], for each axis.
    floor: slopes below this [unit of the model per m] are smoothed, not sharpened; above 0, it keeps the penalty differentiable.
    reference: a model, shape of the grid: then the slope is that of the change against it; None: that of the model itself.
    It is called with a model (*grid), a Tensor or an array, and returns a Tensor of one number.
    Raises: InputError for numbers that cannot be; when called, ShapeError for a model of other axes, or that does not fit the reference.
    Source: Rudin, Osher and Fatemi 1992, Physica D 60, 259, eq. 2.3a; in full-waveform inversion: Esser et al. 2018, SIAM J. Imaging
    Sci. 11, 376.

    >>> import numpy as np
    >>> edge = np.where(np.arange(6) < 3, 1500.0, 2000.0) * np.ones((4, 1))
    >>> ramp = np.linspace(1500.0, 2000.0, 6) * np.ones((4, 1))
    >>> variation = TotalVariation(1e-3, (10.0, 10.0), floor=1e-3)
    >>> round(float(variation(edge)), 5), round(float(variation(ramp)), 5)         # a jump costs no more than a slope of its height
    (0.01, 0.01)
    """

    def __init__(self, weight: float, spacing: Sequence[float], floor: float = 0.4, reference: Any = None):
        steps = list(spacing) if isinstance(spacing, Sequence) else []
        if not steps or not all(is_number(step) and step > 0.0 for step in steps):
            raise InputError(f"TotalVariation(spacing={spacing!r}): give the distance of the nodes [m] for each axis, such as grid.spacing")
        if not (is_number(weight) and math.isfinite(weight) and weight >= 0.0) or not (is_number(floor) and floor > 0.0):
            raise InputError(f"TotalVariation(weight={weight!r}, floor={floor!r}): the weight must be 0 or more, the floor above 0")
        self.weight, self.spacing, self.floor = float(weight), tuple(float(step) for step in steps), float(floor)
        self.reference = None if reference is None else hp.as_tensor(reference).detach()

    def __call__(self, model: Any) -> hp.Tensor:
        model = hp.as_tensor(model)
        if model.ndim != len(self.spacing) or min(model.shape) < 2:
            raise ShapeError(f"TotalVariation: a model of shape {model.shape}; it must have {len(self.spacing)} axes of 2 nodes or more")
        if self.reference is not None:
            if self.reference.shape != model.shape:
                raise ShapeError(f"TotalVariation: the reference has shape {self.reference.shape}, the model {model.shape}; on coarser "
                                 "grids use one made for them, or none")
            model = model - self.reference
        first = tuple(slice(0, -1) for _ in model.shape)
        squares: Any = self.floor**2
        for axis, step in enumerate(self.spacing):
            after = tuple(slice(1, None) if k == axis else s for k, s in enumerate(first))
            slope = (model[after] - model[first]) * (1.0 / step)
            squares = squares + slope * slope
        return self.weight * hp.mean(hp.sqrt(squares))
