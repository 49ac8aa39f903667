"""Host kernels: the C compiler, its cache on disk, and the native time loop. Raw arrays only."""
from .compiler import Compiler, find_compiler, load
from .multitensor import MultiTensor, squares_kernel
from .timeloop import Context, Image, Points, TimeLoop

__all__ = ["Compiler", "Context", "Image", "MultiTensor", "Points", "TimeLoop", "find_compiler", "load", "squares_kernel"]
