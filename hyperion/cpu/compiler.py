"""Compile C text on first use and keep the library on disk, by content, compiler and flags."""
import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hyperion import config
from hyperion.errors import CompilerError

# -ffast-math is avoided: it would make the library switch the whole process to flush-to-zero when it is loaded.
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared",
         "-pthread")


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command that runs it, and where it was found."""

    command: tuple[str, ...]
    origin: str

    def identity(self) -> str:
        """Return what tells this compiler from another version of itself: path, size and date of its executable."""
        path = Path(shutil.which(self.command[0]) or self.command[0]).resolve()
        stat = path.stat()
        return f"{' '.join(self.command)} {path} {stat.st_size} {stat.st_mtime_ns}"


def find_compiler() -> Compiler | None:
    """Return the C compiler to use: HYPERION_CC or CC, else gcc, clang, cc, else the ziglang wheel; None if there is none.

    Raises: CompilerError if the environment names a compiler that does not exist.

    >>> compiler = find_compiler()
    >>> compiler is None or len(compiler.command) > 0
    True
    """
    asked = config.compiler_command()
    if asked:
        command = tuple(shlex.split(asked))
        if not command or shutil.which(command[0]) is None:
            raise CompilerError(f"HYPERION_CC or CC={asked!r}: no such program; name a C compiler (gcc, clang) or unset the variable")
        return Compiler(command, "environment")
    for name in ("gcc", "clang", "cc"):
        if shutil.which(name):
            return Compiler((name,), "path")
    if importlib.util.find_spec("ziglang") is not None:
        return Compiler((sys.executable, "-m", "ziglang", "cc"), "ziglang wheel")
    return None


@functools.cache
def _processor() -> str:
    """Return what -march=native depends on: the machine and its instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return platform.machine() + "".join(sorted({line for line in lines if line.startswith(wanted)}))


def load(text: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compile C text unless the cache on disk holds it, and load the library.

    text: a whole translation unit. flags: added to the common ones, such as -DNAME=VALUE.
    Raises: CompilerError if there is no compiler, or with the compiler's first messages if it refuses the text.

    >>> load("int twice(int x) { return 2 * x; }").twice(21) if find_compiler() else 42
    42
    """
    compiler = find_compiler()
    if compiler is None:
        raise CompilerError("no C compiler found: looked for gcc, clang, cc and the ziglang wheel; install one (pip install ziglang) "
                            "or set HYPERION_CC")
    return _load(text, (*FLAGS, *flags), compiler, compiler.identity(), config.cache_folder("cpu"))


@functools.lru_cache(maxsize=256)
def _load(text: str, flags: tuple[str, ...], compiler: Compiler, identity: str, folder: Path) -> ctypes.CDLL:
    key = hashlib.sha256("\0".join((text, *flags, identity, _processor())).encode()).hexdigest()[:32]
    library = folder / f"{key}.so"
    if not _is_whole(library):
        _compile(text, flags, compiler, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError:
        if library.exists():
            raise
        _compile(text, flags, compiler, library)        # somebody cleared the cache in between
        return ctypes.CDLL(str(library))


def _is_whole(library: Path) -> bool:
    """Tell whether a library is there, with its digest at the end: mapping one that a crash cut off would kill the process."""
    try:
        content = library.read_bytes()
    except OSError:
        return False
    return content[-32:] == hashlib.sha256(content[:-32]).digest()


def _compile(text: str, flags: tuple[str, ...], compiler: Compiler, library: Path) -> None:
    """Write the library under a name of its own, then rename it: other processes see a whole one or none."""
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as scratch:
            source, built = Path(scratch, "kernel.c"), Path(scratch, "kernel.so")
            source.write_text(text)
            command = [*compiler.command, *flags, str(source), "-o", str(built)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode:
                message = "\n".join(done.stderr.splitlines()[:12])
                raise CompilerError(f"{' '.join(compiler.command)} refused generated C text (exit {done.returncode}):\n{message}")
            with built.open("r+b") as file:            # behind what the loader reads
                file.write(hashlib.sha256(file.read()).digest())
            os.replace(built, library)
    except OSError as error:
        raise CompilerError(f"kernel cache {library.parent}: {error.strerror or error}; make it writable or set HYPERION_CACHE "
                            "to a folder that is") from error
