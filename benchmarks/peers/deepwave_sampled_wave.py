"""deepwave's worker with its option for a smaller history: the gradient is sampled at every 4th step (250 Hz here)."""

import functools

from peers import deepwave_wave
from wave_cases import Case

EVERY = 4
version = deepwave_wave.version
prepare = functools.partial(deepwave_wave.prepare, every=EVERY)


def note(case: Case) -> str:
    return f"CPML {deepwave_wave.WIDTH}, gradient sampled every {EVERY} steps"
