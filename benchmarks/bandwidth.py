"""Memory bandwidth of this machine: `a = b + c` on float32 by NumPy, one Python thread per processor (NumPy releases the GIL)."""

import threading
import time

import numpy as np


def add_bandwidth(array_bytes: int, threads: int, seconds: float = 0.3) -> float:
    """Return the bandwidth [GB/s] of a = b + c over arrays of `array_bytes` in all: 12 bytes an element, without write-allocate.

    Each thread adds its own part over and over, five rounds in about `seconds`; the best counts, since neighbours only slow it.
    """
    count = array_bytes // 4 // 3 // threads
    parts = [[np.full(count, float(i), np.float32) for i in range(3)] for _ in range(threads)]
    repeats = max(1, int(seconds / 5 * 20e9 * threads / (12.0 * count * threads)))

    def work(part, gate):
        gate.wait()
        for _ in range(repeats):
            np.add(part[1], part[2], out=part[0])
        gate.wait()

    best = 0.0
    for _ in range(5):
        gate = threading.Barrier(threads + 1)
        team = [threading.Thread(target=work, args=(part, gate)) for part in parts]
        for member in team:
            member.start()
        gate.wait()
        start = time.perf_counter()
        gate.wait()
        best = max(best, 12.0 * count * threads * repeats / (time.perf_counter() - start) / 1e9)
        for member in team:
            member.join()
    return best


def measure(threads: int) -> dict[str, float]:
    """Return {"memory": GB/s, "cache": GB/s}: arrays of 384 MB in all, and of 12 MB, what a 2-D case of a million cells keeps."""
    return {"memory": add_bandwidth(384 << 20, threads), "cache": add_bandwidth(12 << 20, threads)}
