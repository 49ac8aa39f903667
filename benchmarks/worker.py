"""One system in a process of its own: prepares a case, then runs it once for every line it is sent.

    python worker.py MODULE CASES INDEX THREADS RESULT

MODULE: peers.<system>_wave, with `version()`, `note(case)` and `prepare(case, threads) -> call`; CASES and INDEX name the case, e.g.
wave_cases:FULL 0. The first call's result is written to RESULT (.npy), so that the systems can be compared. Answers are JSON lines.
"""

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def memory():
    """Return (now, high-water mark) of this process's resident memory [MB]."""
    if Path("/proc/self/status").exists():
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return tuple(int(fields[key].split()[0]) / 1024.0 for key in ("VmRSS", "VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0**2 if sys.platform == "darwin" else 1024.0)
    return peak, peak


def serve(module, cases, index, threads, result):
    # Libraries print to file descriptor 1; the protocol keeps a copy of it and everything else goes to stderr.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])

    def say(**answer):
        out.write(json.dumps(answer) + "\n")

    def timed(call):
        gc.collect()
        start = time.perf_counter()
        value = call()
        return time.perf_counter() - start, value

    module_name, list_name = cases.split(":")
    case = getattr(importlib.import_module(module_name), list_name)[int(index)]
    try:
        system = importlib.import_module(module)
        version = system.version()
    except ImportError as error:
        return say(missing=str(error))
    base = memory()[0]
    try:
        call = system.prepare(case, int(threads))
        first, value = timed(call)
        np.save(result, np.asarray(value))
        del value
        say(version=version, note=system.note(case), first=first, base_mb=base)
        for _ in sys.stdin:
            seconds = timed(call)[0]
            say(seconds=seconds, peak_mb=memory()[1] if getattr(case, "device", "cpu") == "cpu" else system.device_mb())
    except Exception as error:
        say(failed=f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    serve(*sys.argv[1:])
