"""Data sets from the solvers of this folder: what each kind draws and solves, and how a file of samples is made in parallel."""
from .making import make_dataset
from .recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe", "make_dataset"]
