"""Figures of models, fields, gathers and misfits, from raw arrays.

Each function returns a matplotlib Figure and touches no global state of matplotlib.
"""

from hyperion.plot.answers import answers
from hyperion.plot.lines import Panel, curves, training
from hyperion.plot.sections import difference, models, profiles, snapshots
from hyperion.plot.spacetime import solution, solution_errors
from hyperion.plot.tables import error_notes, fields
from hyperion.plot.traces import gathers, misfit

__all__ = ["Panel", "curves", "difference", "fields", "gathers", "misfit", "models", "profiles", "snapshots", "solution", "solution_errors"]
__all__ += ["answers", "error_notes", "training"]
