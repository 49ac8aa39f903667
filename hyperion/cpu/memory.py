"""How much main memory is free, as the system says it."""
import os
from pathlib import Path

from .pool import POOL

_GROUP = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def free_memory() -> int:
    """Return the bytes of main memory that this process may still take: what the system could give, and idle buffers of its own.

    Within a control group (a container) no more than that group's limit leaves.

    >>> free_memory() > 0
    True
    """
    found = [_available()]
    for limit, used in _LIMITS:
        try:
            found.append(int((_GROUP / limit).read_text()) - int((_GROUP / used).read_text()))
        except (OSError, ValueError):                  # no such group, or no limit ("max")
            continue
    return max(0, min(found)) + POOL.idle_bytes


def _available() -> int:
    """Return what the system calls available; where it does not say, half of its memory."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
