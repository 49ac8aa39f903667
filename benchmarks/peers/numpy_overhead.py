"""NumPy's worker for the FFT cases."""

from collections.abc import Callable

import numpy as np
from overhead_cases import Case


def version() -> str:
    return np.__version__


def note(case: Case) -> str:
    return "one thread"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    library = np.fft
    transform = {"fft": library.fft, "fft2": library.fft2, "rfft2": library.rfft2}[case.kind]
    options = {}
    signal = case.signal()

    def transforms() -> np.ndarray:
        for _ in range(case.loops):
            result = transform(signal, **options)
        return result

    return transforms
