"""Random numbers: generators that are seeded, split and resume; the same numbers on every run, machine, device and thread count."""

from hyperion.autograd.random.generator import Generator, mark, replay
from hyperion.autograd.random.implicit import gamma_probability, log_gamma_sample

__all__ = ["Generator", "gamma_probability", "log_gamma_sample", "mark", "replay"]
