"""Settings from the environment: where caches lie, how many threads run, which compiler is asked for.

HYPERION_CACHE    folder of compiled kernels; default $XDG_CACHE_HOME/hyperion, else ~/.cache/hyperion
HYPERION_THREADS  threads of the native kernels; default: the processors this process may use
HYPERION_DEBUG    stages of compiled programs to print: ir, passes, code, memory, with commas between
HYPERION_CC       command of the C compiler; default $CC, then gcc, clang, and the ziglang wheel

Standard library only: this module knows nothing of the rest of Hyperion.
"""

import os
from pathlib import Path

__all__ = ["STAGES", "cache_folder", "compiler_command", "debug_stages", "threads"]


def cache_folder(name: str = "") -> Path:
    """Return the folder of Hyperion's caches, or of one of them; it is not created.

    Reads HYPERION_CACHE, then XDG_CACHE_HOME. The value is taken anew at every call.

    >>> cache_folder("cpu").parent == cache_folder()
    True
    """
    own = os.environ.get("HYPERION_CACHE", "").strip()
    if own:
        base = Path(own).expanduser()
    else:
        shared = os.environ.get("XDG_CACHE_HOME", "").strip()
        # The XDG specification says that a relative path is to be ignored.
        base = (Path(shared) if os.path.isabs(shared) else Path("~/.cache").expanduser()) / "hyperion"
    return base / name if name else base


def threads() -> int:
    """Return the number of threads for native kernels: HYPERION_THREADS, else the processors this process may use.

    Raises: ValueError if HYPERION_THREADS is not a whole number of at least 1.

    >>> threads() >= 1
    True
    """
    text = os.environ.get("HYPERION_THREADS", "").strip()
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"HYPERION_THREADS={text!r}: it must be a whole number of at least 1; unset it to use all processors")
    return int(text)


STAGES = ("ir", "passes", "code", "memory")


def debug_stages() -> tuple[str, ...]:
    """Return the stages of compiled programs (see hyperion.jit) that are to be printed: HYPERION_DEBUG, a list with commas.

    Raises: ValueError if one of them is unknown.

    >>> set(debug_stages()) <= set(STAGES)
    True
    """
    text = os.environ.get("HYPERION_DEBUG", "")
    asked = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in asked:
        if word not in STAGES:
            raise ValueError(f"HYPERION_DEBUG={text!r}: {word!r} is no stage; use some of {', '.join(STAGES)}")
    return asked


def compiler_command() -> str | None:
    """Return the C compiler that the environment asks for (HYPERION_CC, then CC), or None if it leaves the choice to us.

    >>> command = compiler_command()
    >>> command is None or len(command) > 0
    True
    """
    for variable in ("HYPERION_CC", "CC"):
        text = os.environ.get(variable, "").strip()
        if text:
            return text
    return None
