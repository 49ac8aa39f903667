"""Random models of the earth, for what learns from many of them."""

import numpy as np

from hyperion.autograd.random import Generator
from hyperion.errors import InputError
from hyperion.inversion.checks import is_whole
from hyperion.pde import GaussianField, Grid

__all__ = ["bent_layers", "random_layers"]

WATER, SLOWEST, FASTEST = 1500.0, 1550.0, 4300.0     # [m/s]
MOST_LAYERS, WAVES, FAULTS = 9, 3, 2


def random_layers(grid: Grid, generator: Generator, count: int, water: float | None = None, salt: float = 0.5) -> np.ndarray:
    """Return models of folded and faulted layers under water, some with a body of salt.

    grid: 2-D. generator: model i is drawn by generator.at(i). count: how many. water: depth of the seabed [m]; None: 12 % of the grid's.
    salt: probability of a body, 0 to 1.
    Returns: speed [m/s], float32, (count, *grid), 1500 in the water, 1550 to 4300 below: five to nine layers that are faster the deeper
    they lie, within 180 m/s, of random depths, bent by three cosines and shifted along up to two faults.
    Raises: InputError for a grid that is not 2-D, or numbers that cannot be.

    >>> models = random_layers(Grid((48, 96), 25.0), Generator(0), 3)
    >>> models.shape, float(models[:, 0].max()), bool(models.max() <= 4300.0)
    ((3, 48, 96), 1500.0, True)
    """
    if not isinstance(generator, Generator):
        raise InputError(f"random_layers(generator={generator!r}): give a hp.random.Generator: Generator(0)")
    seabed = 0.12 * grid.extent[0] if water is None else float(water)
    if grid.ndim != 2 or not 0.0 < seabed < 0.9 * grid.extent[0]:
        raise InputError(f"random_layers({grid}, water={water!r}): needs a 2-D grid, and water over at most 90 % of its depth")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or not 0.0 <= salt <= 1.0:
        raise InputError(f"random_layers(count={count!r}, salt={salt!r}): give a whole number of at least 1, and a probability")
    return np.stack([_model(grid, generator.at(i), seabed, salt) for i in range(count)])


def bent_layers(
    grid: Grid, generator: Generator, count: int, speeds: tuple[float, float] = (1700.0, 3000.0), quiet: float = 0.16,
) -> np.ndarray:
    """Return models of four layers that get faster with depth, bent at random, under a part where the speed is the same everywhere.

    grid: 2-D. generator: draws them. count: how many. speeds: slowest and fastest [m/s]. quiet: that part's portion of the depth.
    Returns: speed [m/s], float32, (count, *grid).
    Raises: InputError for a grid that is not 2-D, or numbers that cannot be.

    >>> models = bent_layers(Grid((24, 32), 25.0), Generator(0), 3)
    >>> models.shape, bool((models[:, :4] == 1700.0).all()), float(models.max())
    ((3, 24, 32), True, 3000.0)
    """
    if grid.ndim != 2 or not is_whole(count) or not 0.0 < speeds[0] < speeds[1] or not 0.0 <= quiet < 1.0:
        raise InputError(f"bent_layers({grid}, count={count!r}, speeds={speeds!r}, quiet={quiet!r}): needs a 2-D grid, at least 1, "
                         "two speeds that rise, and a portion below 1")
    bends = GaussianField(grid.shape, tau=6.0, alpha=3.0, periodic=False).sample(generator, count, "float64").numpy()
    bends = bends / np.sqrt((bends**2).mean(axis=(1, 2), keepdims=True))
    depth = np.linspace(0.0, 1.0, grid.shape[0])[:, None]
    layer = np.floor(np.clip(depth + 0.12 * bends, 0.0, 0.999) * 4.0) / 3.0
    return (speeds[0] + (speeds[1] - speeds[0]) * layer * np.clip((depth - quiet) / 0.1, 0.0, 1.0)).astype(np.float32)


def _model(grid: Grid, generator: Generator, seabed: float, salt: float) -> np.ndarray:
    """Return one model. Depth below the seabed is measured in units of the sediments' thickness, distance in the same."""
    thickness = grid.extent[0] - seabed
    z, x = np.meshgrid((grid.axis(0) - seabed) / thickness, grid.axis(1) / thickness, indexing="ij")
    width = grid.extent[1] / thickness

    def between(low: float, high: float, shape: tuple[int, ...] = ()) -> np.ndarray:
        return generator.uniform(shape, low, high, "float64").numpy()

    layers = int(between(5, MOST_LAYERS + 1))
    tops = np.sort(between(0.0, 1.0, (MOST_LAYERS,))[:layers])
    tops[0] = 0.0
    speeds = 1700.0 + 1600.0 * tops**0.8 + generator.normal((MOST_LAYERS,), 0.0, 180.0, "float64").numpy()[:layers]
    grow = np.clip(z / 0.28, 0.0, 1.0)                                    # the seabed is flat
    sizes, phases = generator.normal((WAVES,), 0.0, 0.08, "float64").numpy(), between(0.0, 2.0 * np.pi, (WAVES,))
    bend = sum(size / k * np.cos(k * np.pi * x / width + phase) for k, (size, phase) in enumerate(zip(sizes, phases, strict=True), 1))
    places, dips, throws = between(0.2 * width, 0.8 * width, (FAULTS,)), between(0.3, 0.6, (FAULTS,)), between(0.045, 0.11, (FAULTS,))
    sides, there = np.sign(between(-1.0, 1.0, (FAULTS,))), int(between(0.0, FAULTS + 1.0))
    depth = z + bend * grow
    for place, dip, throw, side in list(zip(places, dips, throws, sides, strict=True))[:there]:
        depth = depth - np.where((x - place) * side > dip * z, throw * grow, 0.0)
    speed = speeds[np.clip(np.searchsorted(tops, depth, side="right") - 1, 0, layers - 1)] + 180.0 * np.clip(z, 0.0, 1.0)
    middle, half = (between(0.25 * width, 0.75 * width), between(0.38, 0.6)), (between(0.23, 0.5), between(0.09, 0.18))
    body = ((x - middle[0]) / half[0]) ** 2 + ((z - middle[1] - 0.07 * np.cos(8.0 * x)) / half[1]) ** 2 < 1.0
    drawn, fast = between(0.0, 1.0), between(3600.0, 4200.0)
    speed = np.where(body & (drawn < salt), fast, speed)
    return np.where(z < 0.0, WATER, np.clip(speed, SLOWEST, FASTEST)).astype(np.float32)
