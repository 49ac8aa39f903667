"""What is minimised: a number from predicted and observed gathers."""

from typing import Any

import hyperion.autograd as hp
from hyperion.errors import ShapeError

__all__ = ["l2"]


def l2(predicted: Any, observed: Any) -> hp.Tensor:
    """Return half the sum of the squared differences, 0.5 * sum((predicted - observed)^2).

    predicted, observed: gathers of one shape, for example (shots, receivers, steps), in one unit.
    Returns: Tensor of shape (); its gradient with respect to `predicted` is the residual.
    Raises: ShapeError if the shapes differ.

    >>> import numpy as np
    >>> float(l2(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
    2.5
    """
    predicted, observed = hp.asarray(predicted), hp.asarray(observed)
    if predicted.shape != observed.shape:
        raise ShapeError(f"l2(predicted, observed): shapes {predicted.shape} and {observed.shape}; they must agree")
    residual = predicted - observed
    return 0.5 * hp.sum(residual * residual)
