"""neuraloperator's small Darcy example, and what both systems share: data, the order of batches, the error."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

TRAIN, TEST, ERRORS = "DARCY_SMALL_TRAIN", "DARCY_SMALL_TEST", "DARCY_SMALL_ERRORS"       # environment: two files, and a folder


@dataclasses.dataclass(frozen=True)
class Case:
    """An FNO from a two-valued permeability on 16 x 16 points to the pressure; modes: both signs together."""

    name: str
    modes: tuple[int, int] = (8, 8)
    width: int = 24
    layers: int = 4
    epochs: int = 15
    examples: int = 1000

    def data(self) -> tuple[np.ndarray, ...]:
        """Return inputs and targets to train on, inputs and targets to test: (examples, 1, 16, 16) float32."""
        arrays = []
        for variable, count in ((TRAIN, self.examples), (TEST, None)):
            with np.load(os.environ[variable]) as file:
                arrays += [file[name][:count, None].astype(np.float32) for name in ("x", "y")]
        return tuple(arrays)

    def order(self, seed: int, epoch: int, batch: int) -> list[np.ndarray]:
        """Return the examples of each batch of an epoch."""
        shuffled = np.random.default_rng((seed, epoch)).permutation(self.examples)
        return np.split(shuffled, range(batch, self.examples, batch))

    def turns(self, system: str, begin: Callable[[int], None], epoch: Callable[[int, int], None], answer: Callable[[], np.ndarray],
              truth: np.ndarray) -> Callable[[], np.ndarray]:
        """Return a call that trains for one epoch: an uncounted one first, then all epochs of seed 0, of seed 1...

        begin(seed): makes the network. epoch(seed, number): trains. answer(): of the test. After the last epoch of a seed its error is
        written to the folder of errors.
        """
        count = {"calls": 0}

        def call() -> np.ndarray:
            seed, number = divmod(max(count["calls"] - 1, 0), self.epochs)
            if number == 0:
                begin(seed)
            epoch(seed, number)
            last = count["calls"] and number == self.epochs - 1
            count["calls"] += 1
            if not last:
                return np.zeros(())
            away = (answer() - truth).reshape(len(truth), -1)
            error = np.mean(np.linalg.norm(away, axis=1) / np.linalg.norm(truth.reshape(len(truth), -1), axis=1))
            (Path(os.environ[ERRORS]) / f"{system}-{seed}.json").write_text(json.dumps(float(error)), encoding="utf-8")
            return np.zeros(())

        return call


FULL = [Case("darcy_16")]
SMOKE = [Case("darcy_16", (4, 4), 4, 2, 2, 64)]
