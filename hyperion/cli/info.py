"""What `hyperion info` prints: versions, devices, compilers, caches."""

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from hyperion import config
from hyperion.cli.run import versions
from hyperion.cli.scenarios import scenario_folder

__all__ = ["info_text"]


def info_text() -> str:
    """Return what a bug report needs to know of this machine, as text.

    >>> "compilers" in info_text()
    True
    """
    sections = {"versions": versions(), "devices": devices(), "compilers": compilers(), "folders": folders()}
    width = max(len(name) for rows in sections.values() for name in rows)
    return "\n".join(f"{title}\n" + "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items()) for title, rows in
    sections.items())


def devices() -> dict[str, str]:
    """Return the devices by name."""
    found = {"cpu": f"{processor_name()}, {os.cpu_count()} processors, {config.threads()} threads used"}
    if importlib.util.find_spec("cupy") is None:
        return found | {"cuda": "none: CuPy is not installed (extra gpu12 or gpu13)"}
    cupy = importlib.import_module("cupy")
    try:
        for number in range(cupy.cuda.runtime.getDeviceCount()):
            properties = cupy.cuda.runtime.getDeviceProperties(number)
            found[f"cuda:{number}"] = f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        found["cuda"] = f"none: {error}"
    return found


def processor_name() -> str:
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def compilers() -> dict[str, str]:
    """Return the C compilers that could be used, by the order in which they are tried."""
    found: dict[str, str] = {}
    asked = config.compiler_command()
    if asked:
        found["asked for"] = asked
    for name in ("gcc", "clang"):
        path = shutil.which(name)
        found[name] = first_line([path, "--version"]) if path else "not found"
    zig = importlib.util.find_spec("ziglang") is not None
    found["ziglang"] = first_line([sys.executable, "-m", "ziglang", "version"]) if zig else "not installed (extra cc)"
    return found


def first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    return (done.stdout or done.stderr).strip().partition("\n")[0] or f"exit code {done.returncode}"


def folders() -> dict[str, str]:
    """Return the folders Hyperion reads and fills, with the size of each cache."""
    cache = config.cache_folder()
    rows = {"scenarios": str(scenario_folder()), "cache": f"{cache} ({'absent' if not cache.is_dir() else size_text(cache)})"}
    if cache.is_dir():
        rows |= {f"  {part.name}": size_text(part) for part in sorted(cache.iterdir()) if part.is_dir()}
    return rows


def size_text(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB"
