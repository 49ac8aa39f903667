"""Media and surveys that tests of several equations share."""

import numpy as np

from hyperion import pde


def water_over_solid(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return a random elastic medium whose uppermost eight rows do not resist shear."""
    random = np.random.default_rng(2)
    medium = {key: v * (1.0 + 0.2 * random.random(shape)) for key, v in (("p_speed", 2500.0), ("s_speed", 1200.0), ("density", 2000.0))}
    medium["s_speed"][:8] = 0.0
    return medium


def blast_heard_as_shear(ndim: int, peak_frequency: float) -> pde.Survey:
    """Return the survey of a source of pressure below that water, heard as a shear stress."""
    wavelet = pde.ricker(peak_frequency, 0.2, 1e-3)
    return pde.Survey([[(80.0,) * ndim]], [[(150.0, *(130.0,) * (ndim - 1))]], wavelet, source_field="pressure", receiver_field="szx")


class Column:
    """A plane wave down a narrow periodic grid onto an interface; all lies so far from the edges that nothing wraps around in time.

    shape, spacing: of the grid. sources: positions in a plane above the interface. above, beyond: a receiver on either side of it.
    """

    spacing = 4.0

    def __init__(self, ndim: int, count: int = 420, wide: int = 4):
        self.shape = (count,) + (wide,) * (ndim - 1)
        plane = np.stack(np.meshgrid(*[np.arange(wide) * self.spacing] * (ndim - 1), indexing="ij"), axis=-1).reshape(-1, ndim - 1)
        self.sources = np.concatenate([np.full((len(plane), 1), 130 * self.spacing), plane], axis=1)
        self.above, self.beyond = ([row * self.spacing, *plane[0]] for row in (150, 270))
        self.below = (np.arange(count) >= 190).reshape(-1, *[1] * (ndim - 1))

    def medium(self, upper: dict[str, float], lower: dict[str, float]) -> dict[str, np.ndarray]:
        """Return {parameter: array}: one medium over another."""
        return {k: np.broadcast_to(np.where(self.below, float(lower[k]), float(upper[k])), self.shape) for k in upper}
