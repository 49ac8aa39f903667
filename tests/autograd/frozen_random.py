"""The first numbers of every draw, as they must stay: `python -m tests.autograd.frozen_random` prints the dict in test_random.py."""

from typing import Any

import numpy as np

from hyperion.autograd.random import Generator

DRAWS: dict[str, Any] = {
    "bits": lambda g: g.bits((2,)),
    "uniform": lambda g: g.uniform((3,), dtype="float64"),
    "normal": lambda g: g.normal((3,), dtype="float64"),
    "complex": lambda g: g.normal((1,), dtype="complex128"),
    "truncated_normal": lambda g: g.truncated_normal((3,), -1.0, 3.0, dtype="float64"),
    "integers": lambda g: g.integers((5,), -10, 1000),
    "bernoulli": lambda g: g.bernoulli((6,), 0.3),
    "rademacher": lambda g: g.rademacher((4,)),
    "permutation": lambda g: g.permutation(7),
    "choice": lambda g: g.choice(9, (4,), replace=False, probabilities=np.arange(9.0)),
    "categorical": lambda g: g.categorical((6,), [0.0, 1.0, 0.5]),
    "laplace": lambda g: g.laplace((3,), dtype="float64"),
    "exponential": lambda g: g.exponential((3,), dtype="float64"),
    "gumbel": lambda g: g.gumbel((3,), dtype="float64"),
    "log_gamma": lambda g: g.log_gamma((4,), np.array([0.01, 0.7, 3.0, 1e4]), dtype="float64"),
    "poisson": lambda g: g.poisson((4,), np.array([0.5, 9.0, 30.0, 1e6])),
    "split": lambda g: g.split(3)[2].bits((1,)),
    "at": lambda g: g.at(123).bits((1,)),
}


def first_numbers(name: str) -> list[Any]:
    """Return the first numbers of a draw under seed 2026, floats as hexadecimal text."""
    values = DRAWS[name](Generator(2026)).numpy()
    flat = values.view(np.float64) if values.dtype.kind == "c" else values
    return [x.hex() if isinstance(x, float) else x for x in flat.tolist()]


if __name__ == "__main__":
    for name in DRAWS:
        print(f"    {name!r}: {first_numbers(name)!r},".replace("'", '"'))
