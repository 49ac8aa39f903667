"""Hyperion's worker as on a grid that is in motion everywhere: no cell is left alone because it is still at rest."""

from collections.abc import Callable

import moving
import numpy as np
from peers import hyperion_wave
from wave_cases import Case

version = hyperion_wave.version
device_mb = hyperion_wave.device_mb


def note(case: Case) -> str:
    return f"{hyperion_wave.note(case)}, every cell swept"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    """Return the call of Hyperion's worker."""
    moving.sweep_everything()
    return hyperion_wave.prepare(case, threads)
