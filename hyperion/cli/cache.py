"""What `hyperion cache` does: show the machine code kept on disk, and clear it."""

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from hyperion import config
from hyperion.errors import FileError, InputError, nearest

__all__ = ["cache_command", "cache_text", "clear"]

PARTS = {"cpu": ".so", "gpu": ".cubin"}     # folders of the cache, and what their files are called
LEFT = 3600.0       # [s] after which a folder of a compilation is what a killed process left behind
DAY = 86400.0


def cache_command(words: Sequence[str]) -> int:
    """`hyperion cache`, `hyperion cache clear [cpu|gpu]`"""
    if not words:
        print(cache_text())
        return 0
    action, *parts = words
    if action != "clear":
        raise InputError(f"cache {action!r}: {nearest(action, ['clear'])}; `hyperion cache` shows it, `hyperion cache clear` empties it")
    if len(parts) > 1 or (parts and parts[0] not in PARTS):
        raise InputError(f"cache clear {' '.join(parts)!r}: {nearest(parts[0], PARTS)}; name one part, or none for all")
    count, size = clear(parts or list(PARTS))
    print(f"{count} files removed, {size / 2**20:.1f} MiB; kernels are compiled again when they are used")
    return 0


def cache_text() -> str:
    """Return what the cache holds, a line for each part.

    >>> "cpu" in cache_text()
    True
    """
    folder = config.cache_folder()
    rows = [f"{folder}"]
    for part in PARTS:
        files = _files(part)
        if not files:
            rows.append(f"  {part}  empty")
            continue
        times = [path.stat().st_mtime for path in files]
        size = sum(path.stat().st_size for path in files) / 2**20
        ages = " to ".join(dict.fromkeys(f"{(time.time() - t) / DAY:.1f}" for t in (max(times), min(times))))
        left = f", {len(_left(part))} unfinished" if _left(part) else ""
        rows.append(f"  {part}  {len(files)} files, {size:.1f} MiB, {ages} days old{left}")
    return "\n".join(rows)


def clear(parts: Sequence[str]) -> tuple[int, int]:
    """Remove the files of parts of the cache, and nothing else that may lie there; return their number and bytes.

    Processes that use a library at the moment go on with it.
    Raises: FileError if a file cannot be removed.
    """
    count = size = 0
    for part in parts:
        for path in _files(part):
            try:
                size += path.stat().st_size
                path.unlink()
                count += 1
            except FileNotFoundError:       # another process cleared it
                continue
            except OSError as error:
                raise FileError(f"cache clear: {path}: {error.strerror or error}; remove it as its owner, or set HYPERION_CACHE") from error
        for path in _left(part):
            shutil.rmtree(path, ignore_errors=True)
    return count, size


def _files(part: str) -> list[Path]:
    folder = config.cache_folder(part)
    return sorted(path for path in folder.glob(f"*{PARTS[part]}") if path.is_file()) if folder.is_dir() else []


def _left(part: str) -> list[Path]:
    """Return folders of compilations that were killed."""
    found: list[Path] = []
    for path in config.cache_folder(part).glob("build-*"):
        with contextlib.suppress(OSError):
            if path.is_dir() and time.time() - path.stat().st_mtime > LEFT:
                found.append(path)
    return found
