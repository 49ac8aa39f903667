"""CUDA kernels on the CPU, for tests: the same text, compiled by the host's C++ compiler after `emulator.h`; threads take turns."""

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("clang++")
FOLDER = Path(tempfile.mkdtemp(prefix="hyperion-emulator-"))
BACKWARDS = False       # whether blocks run from the last to the first: kernels may not depend on their order


@functools.cache
def library(text: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """Compile a CUDA text; each kernel `name` gets an entry point `launch_name`."""
    names = re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(", text)
    names = [name for name in names if name != "name"]
    for macro in re.findall(r"^MAP\((\w+)\)", text, re.MULTILINE):
        names += [f"{macro}_back"]
    ends = "".join(f'extern "C" void launch_{name}(unsigned x, unsigned y, unsigned z, unsigned block, bool backwards, void **arguments) '
                   f"{{ launched<{name}>({name}, Dim{{x, y, z}}, block, backwards, arguments); }}\n" for name in names)
    source = (Path(__file__).parent / "emulator.h").read_text() + text.replace('extern "C" __global__', "__global__") + "\n" + ends
    stem = FOLDER / hashlib.sha256((source + repr(options)).encode()).hexdigest()[:20]
    stem.with_suffix(".cpp").write_text(source)
    macros = [option for option in options if option.startswith("-D")] + ["-DALONE"] * ("__syncthreads" not in text)
    subprocess.run([COMPILER, "-std=c++17", "-O0", "-w", "-shared", "-fPIC", *macros, "-o", f"{stem}.so", f"{stem}.cpp"], check=True)
    return ctypes.CDLL(f"{stem}.so")


def run(text: str, options: tuple[str, ...], name: str, grid: tuple[int, ...], block: int, arguments: tuple[Any, ...]) -> None:
    """Run a kernel. arguments: as CuPy takes them: arrays, NumPy scalars, Python ints (64 bits)."""
    held = []
    for value in arguments:
        if isinstance(value, np.ndarray):
            held.append(np.array(value.ctypes.data, np.uint64))
        elif isinstance(value, np.generic):
            held.append(np.array(value))
        else:
            held.append(np.array(value, np.int64 if value < 1 << 63 else np.uint64))
    places = (ctypes.c_void_p * len(held))(*(x.ctypes.data for x in held))
    getattr(library(text, options), f"launch_{name}")(*(*grid, 1, 1)[:3], block, ctypes.c_bool(BACKWARDS), places)
