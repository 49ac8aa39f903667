"""Low-pass filters of data and wavelets, the same for both, so that filtered data belong to the filtered wavelet."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal

from hyperion.errors import InputError
from hyperion.inversion.checks import is_number, is_whole

__all__ = ["Butterworth", "Gaussian", "Lowpass"]


@dataclass(frozen=True)
class Lowpass(ABC):
    """Base of the filters. frequency: where the amplitude has fallen to the filter's stated value [Hz]."""

    frequency: float

    def __post_init__(self) -> None:
        if not (is_number(self.frequency) and self.frequency > 0.0):
            raise InputError(f"frequency={self.frequency!r} Hz: a low-pass needs a finite frequency above 0")

    def __call__(self, samples: np.ndarray, step: float, axis: int = -1) -> np.ndarray:
        """Filter along an axis of time.

        samples: array with time along `axis`; step: sampling interval [s].
        Returns: array of the same shape and dtype.
        Raises: InputError if the frequency is above Nyquist's, 1 / (2 step).
        """
        samples = np.asarray(samples)
        if not self.frequency < 0.5 / step:
            raise InputError(f"frequency={self.frequency:g} Hz is not below Nyquist's {0.5 / step:g} Hz of step={step:g} s; lower it")
        return np.moveaxis(self._filter(np.moveaxis(samples, axis, -1), step), -1, axis).astype(samples.dtype, copy=False)

    @abstractmethod
    def response(self, frequency: np.ndarray) -> np.ndarray:
        """Return the amplitude response at the frequencies [Hz] (of the continuous filter)."""

    @property
    @abstractmethod
    def precursor(self) -> float:
        """How long before the input the output begins [s]; 0 for a causal filter."""

    @abstractmethod
    def _filter(self, samples: np.ndarray, step: float) -> np.ndarray:
        """Filter along the last axis."""


@dataclass(frozen=True)
class Gaussian(Lowpass):
    """A zero-phase Gaussian low-pass: half amplitude at `frequency`.

    A Ricker wavelet stays a Ricker wavelet: its peak f becomes (f^-2 + ln 2 / frequency^2)^(-1/2). The response in time is a Gaussian
    too, of standard deviation 0.19 / frequency, so it neither rings nor reaches far before the first sample.

    >>> float(Gaussian(5.0).response(5.0))
    0.5
    """

    def response(self, frequency: np.ndarray) -> np.ndarray:
        return 0.5 ** (np.asarray(frequency) / self.frequency) ** 2

    @property
    def precursor(self) -> float:
        return 0.75 / self.frequency  # four standard deviations

    def _filter(self, samples: np.ndarray, step: float) -> np.ndarray:
        steps = samples.shape[-1]
        padded = _fast_length(steps + math.ceil(2.0 / (self.frequency * step)))  # ten standard deviations: no wrap-around
        spectrum = np.fft.rfft(samples.astype(np.float64, copy=False), padded, axis=-1)
        return np.fft.irfft(spectrum * self.response(np.fft.rfftfreq(padded, step)), padded, axis=-1)[..., :steps]


@dataclass(frozen=True)
class Butterworth(Lowpass):
    """A causal Butterworth low-pass: amplitude 1/sqrt(2) at `frequency`, falling by `order` x 6 dB per octave.

    Being causal, it commutes exactly with any simulation that starts at rest: filtered data are the data of the filtered wavelet.
    """

    order: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.order):
            raise InputError(f"order={self.order!r}: must be a whole number of at least 1")

    def response(self, frequency: np.ndarray) -> np.ndarray:
        return 1.0 / np.sqrt(1.0 + (np.asarray(frequency) / self.frequency) ** (2 * self.order))

    @property
    def precursor(self) -> float:
        return 0.0

    def _filter(self, samples: np.ndarray, step: float) -> np.ndarray:
        sections = scipy.signal.butter(self.order, self.frequency, fs=1.0 / step, output="sos")
        return np.asarray(scipy.signal.sosfilt(sections, samples.astype(np.float64, copy=False), axis=-1))


def _fast_length(length: int) -> int:
    return int(scipy.fft.next_fast_len(length, real=True) or length)
