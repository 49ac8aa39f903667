"""Text of kernels: programs of linear stencils, their transposes, and the C that runs them. Raw data only, never Tensors."""
from .elementwise import elementwise_lines
from .program import Adjoint, Assign, Program, Stencil, Term, adjoint, cofactors, here, lifted, linearise, outside_slabs, sweeps, undone
from .render import c_text

__all__ = [
    "Adjoint", "Assign", "Program", "Stencil", "Term", "adjoint", "c_text", "cofactors", "elementwise_lines", "here", "lifted",
    "linearise", "outside_slabs", "sweeps", "undone",
]
