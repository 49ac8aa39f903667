"""Inversion: misfits, filters, gradient processing, shot batches, and full-waveform inversion in stages."""

from hyperion.inversion.batches import Batches
from hyperion.inversion.filters import Butterworth, Gaussian, Lowpass
from hyperion.inversion.fwi import FWI, Progress
from hyperion.inversion.gradient import Chain, Illumination, Mask, Smooth
from hyperion.inversion.imaging import shot_images
from hyperion.inversion.level import reciprocal, wave_energy
from hyperion.inversion.levels import coarse_grid, coarsen, refine
from hyperion.inversion.misfit import l2
from hyperion.inversion.neural import NeuralModel, coordinates, decoder, invert_network
from hyperion.inversion.penalties import TotalVariation
from hyperion.inversion.random_models import bent_layers, random_layers
from hyperion.inversion.stage import Stage, by_adam, by_lbfgs
from hyperion.inversion.synthetic import folded_salt_model, gathers_in, model_error, smoothed, surface_survey, with_noise

__all__ = [
    "FWI", "Batches", "Butterworth", "Chain", "Gaussian", "Illumination", "Lowpass", "Mask", "NeuralModel", "Progress", "Smooth", "Stage",
    "TotalVariation", "bent_layers", "by_adam", "by_lbfgs", "coarse_grid", "coarsen", "coordinates", "decoder", "folded_salt_model",
    "gathers_in", "invert_network", "l2", "model_error", "random_layers", "reciprocal", "refine", "shot_images", "smoothed",
    "surface_survey", "wave_energy", "with_noise",
]
