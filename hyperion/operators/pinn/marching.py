"""Time marching: a long time in windows, each a PINN of its own that starts from where the last one ended."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor
from hyperion.errors import InputError
from hyperion.nn.module import Module
from hyperion.operators.pinn.conditions import Condition, Initial, Observed
from hyperion.operators.pinn.domains import Domain
from hyperion.operators.pinn.pinn import PINN
from hyperion.operators.pinn.values import Given

__all__ = ["TimeMarching"]


class TimeMarching(Module):
    """PINNs of one equation in windows of time; called on points, each is answered by the window it is in.

    pinn: of the whole time; its network is where the first window starts from, each later one starts from the one before.
    times: of the windows' ends, rising from the first to the last moment of the domain.
    Iterate over it and train what it gives: the initial condition of a window is the end of the one before, soft or hard as the first.
    Attributes: parts, the PINNs made so far.
    Source: Wight and Zhao 2021, Commun. Comput. Phys. 29, 930, section 3; Krishnapriyan et al. 2021, arXiv:2109.01050, section 4.

    >>> from hyperion import nn, pde
    >>> from hyperion.operators import Box, Initial
    >>> whole = PINN(pde.Heat(), Box(x=(0, 1), t=(0, 2)), nn.MLP([2, 8, 1]), [Initial(u=1.0, hard=True)], diffusivity=1.0)
    >>> marching = TimeMarching(whole, [0, 1, 2])
    >>> for window in marching:
    ...     pass                                            # train it here
    >>> len(marching.parts), marching([[0.5, 0.5], [0.5, 1.5]]).shape
    (2, (2, 1))
    """

    def __init__(self, pinn: PINN, times: Sequence[float]):
        t = pinn.domain.column("t", "TimeMarching: variable")
        ends = (float(pinn.domain.lower[t]), float(pinn.domain.upper[t]))
        try:
            self._times = [float(time) for time in times]
        except (TypeError, ValueError):
            raise InputError(f"TimeMarching(times={times!r}): give numbers, the ends of the windows") from None
        rising = all(a < b for a, b in zip(self._times, self._times[1:], strict=False))
        if len(self._times) < 2 or not rising or (self._times[0], self._times[-1]) != ends:
            raise InputError(f"TimeMarching(times={list(times)}): must rise from {ends[0]:g} to {ends[1]:g}, the time of {pinn.domain!r}")
        if not any(isinstance(c, Initial) for c in pinn.conditions):
            raise InputError("TimeMarching(pinn): has no Initial condition, from which the first window starts")
        self._whole, self._column = pinn, t
        self.parts: list[PINN] = []

    def __iter__(self) -> Iterator[PINN]:
        while len(self.parts) < len(self._times) - 1:
            yield self.begin()

    def begin(self) -> PINN:
        """Return the PINN of the next window. Raises: InputError after the last one."""
        k = len(self.parts)
        if k >= len(self._times) - 1:
            raise InputError(f"TimeMarching.begin(): all {k} windows were begun")
        start, end = self._times[k:k + 2]
        before = self.parts[-1] if k else None
        conditions = [c for own in self._whole.conditions if (c := self._in_window(own, before, start, end)) is not None]
        part = (before or self._whole).window(start, end, conditions)
        if before is not None:                                  # a term that the window before had not, such as what was observed
            part.weights |= {name: self._whole.weights[name] for name in part.weights if name not in before.weights}
        self.parts = [*self.parts, part]
        return part

    def _in_window(self, condition: Condition, before: PINN | None, start: float, end: float) -> Condition | None:
        if isinstance(condition, Initial) and before is not None:
            frozen = hp.tree_map(lambda x: x.detach(), before)
            given = {name: _End(frozen, name, start, 0) for name in before.names}
            rates = {f"{name}_t": _End(frozen, name, start, 1) for name, field in before.equation.fields.items() if field.time_order == 2}
            return Initial(hard=condition.hard, name=condition.name, **given, **rates)
        if isinstance(condition, Observed):
            times = condition.points[:, self._column]
            kept = (times >= start) & (times <= end)
            fields = {name: values[kept] for name, values in condition.fields.items()}
            return Observed(condition.points[kept], name=condition.name, **fields) if kept.any() else None
        return condition

    def forward(self, points: Any) -> Tensor:
        """Return the fields at points, (n, variables), as numbers to look at: (n, fields), without a graph."""
        if len(self.parts) < len(self._times) - 1:
            raise InputError(f"TimeMarching: {len(self.parts)} of {len(self._times) - 1} windows were begun; train the others first")
        array = self._whole.domain.checked(np.asarray(self._whole.points(points).detach().to("cpu").numpy()))
        place = np.clip(np.searchsorted(self._times, array[:, self._column], side="left") - 1, 0, len(self.parts) - 1)
        out = np.zeros((len(array), len(self._whole.names)))
        with hp.no_grad():
            for k, part in enumerate(self.parts):
                if (place == k).any():
                    out[place == k] = part(array[place == k]).to("cpu").numpy()
        return hp.asarray(out)


class _End(Given):
    """A field of a PINN, or its rate, at the end of its window: what the next one starts from."""

    def __init__(self, pinn: PINN, field: str, time: float, order: int):
        self.pinn, self.time, self.order = pinn, time, order
        self.column = pinn.names.index(field)

    def at(self, domain: Domain, points: np.ndarray) -> Tensor:
        """Return the values at points (n, d), whatever their time."""
        moved = points.copy()
        moved[:, domain.names.index("t")] = self.time
        return self._of(self.pinn.points(moved))[:, self.column]

    def along(self, at: dict[str, Tensor]) -> Tensor:
        """Return the values in columns of variables, (n, 1)."""
        columns = [hp.full_like(x, self.time) if name == "t" else x for name, x in at.items()]
        return self._of(hp.concat(columns, axis=-1))[..., self.column:self.column + 1]

    def _of(self, x: Tensor) -> Tensor:
        orders = self.pinn.axis_of("t", self.order)
        return self.pinn.derivatives(x, [orders])[orders] if self.order else self.pinn(x)
