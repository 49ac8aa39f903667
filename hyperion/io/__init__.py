"""Files: models, gathers, results, checkpoints, field snapshots and TOML, all as raw arrays. Nothing read from a file is executed."""

from hyperion.io.checkpoint import load_tree, save_tree
from hyperion.io.datasets import Dataset, read_dataset
from hyperion.io.fields import FieldSeries
from hyperion.io.gathers import Gathers, read_gathers, write_gathers
from hyperion.io.matlab import read_matlab
from hyperion.io.models import read_model
from hyperion.io.pdebench import read_pdebench
from hyperion.io.results import Axis, Results
from hyperion.io.safetensors import SafeTensors, read_safetensors, write_safetensors
from hyperion.io.samples import read_samples
from hyperion.io.toml import read_toml, toml_text

__all__ = [
    "Axis",
    "Dataset",
    "FieldSeries",
    "Gathers",
    "Results",
    "SafeTensors",
    "load_tree",
    "read_dataset",
    "read_gathers",
    "read_matlab",
    "read_model",
    "read_pdebench",
    "read_safetensors",
    "read_samples",
    "read_toml",
    "save_tree",
    "toml_text",
    "write_gathers",
    "write_safetensors",
]
