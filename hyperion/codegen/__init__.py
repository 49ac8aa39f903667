"""Text of kernels: programs of linear stencils, their transposes, and the C that runs them. Raw data only, never Tensors."""
from .cuda import CudaKernel, CudaProgram, CudaSweep, cuda_text
from .elementwise import elementwise_lines
from .program import Assign, Program, Read, Stencil, Term, here, sweeps
from .render import c_text
from .transforms import cofactors, lifted, linearise, outside_slabs, undone
from .transposing import Adjoint, adjoint

__all__ = [
    "Adjoint", "Assign", "CudaKernel", "CudaProgram", "CudaSweep", "Program", "Read", "Stencil", "Term", "adjoint", "c_text", "cofactors",
    "cuda_text", "elementwise_lines", "here", "lifted", "linearise", "outside_slabs", "sweeps", "undone",
]
