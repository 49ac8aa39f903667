"""A C loop over the grid, one sweep a time step, without an absorbing layer: what a careful programmer writes for this one case.

Four rows at once share their reads, OpenMP splits the rows between threads, and the compiler makes vectors of it.
"""

import ctypes
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from wave_cases import Case, weights

TEXT = r"""
#define ROW(o, A, B, C, D, E, F, G, H, I) { const float *p = u + (o) * s; \
  q[(o) * s + x] = 2 * E - q[(o) * s + x] + k[(o) * s + x] * (2 * W0 * E + W1 * ((D + F) + (p[x + 1] + p[x - 1])) \
    + W2 * ((C + G) + (p[x + 2] + p[x - 2])) + W3 * ((B + H) + (p[x + 3] + p[x - 3])) + W4 * ((A + I) + (p[x + 4] + p[x - 4]))); }
void run(float *now, float *next, const float *scaled, long rows, long columns, long s, long steps, const float *samples, long source,
         const long *receivers, long count, float *gathers) {
  for (long n = 0; n < steps; n++) {
    for (long r = 0; r < count; r++) gathers[r * steps + n] = now[receivers[r]];
    #pragma omp parallel for schedule(static)
    for (long y = 0; y < rows; y += 4) {
      const float *restrict u = now + y * s, *restrict k = scaled + y * s;
      float *restrict q = next + y * s;
      #pragma omp simd
      for (long x = 0; x < columns; x++) {
        const float a = u[x - 4 * s], b = u[x - 3 * s], c = u[x - 2 * s], d = u[x - s], e = u[x], f = u[x + s], g = u[x + 2 * s],
                    h = u[x + 3 * s], i = u[x + 4 * s], j = u[x + 5 * s], l = u[x + 6 * s], m = u[x + 7 * s];
        ROW(0, a, b, c, d, e, f, g, h, i) ROW(1, b, c, d, e, f, g, h, i, j)
        ROW(2, c, d, e, f, g, h, i, j, l) ROW(3, d, e, f, g, h, i, j, l, m)
      }
    }
    next[source] += scaled[source] * samples[n];
    float *swap = now; now = next; next = swap;
  }
}
"""
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC", "-shared")


def version() -> str:
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    try:
        return subprocess.run([*compiler, "-dumpversion"], capture_output=True, text=True, check=True).stdout.strip()
    except OSError as error:
        raise ImportError(f"{compiler[0]}: {error}") from error


def note(case: Case) -> str:
    return "C, one sweep a step, no layer"


def prepare(case: Case, threads: int) -> Callable[[], np.ndarray]:
    if case.equation != "acoustic" or case.ndim != 2 or case.order != 8 or case.gradient or case.shots != 1 or case.shape[0] % 4:
        raise ValueError(f"{case.name}: the loop is for one acoustic shot in two dimensions, of order 8, on rows by fours")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    named = [f"-DW{i}={float(w)!r}f" for i, w in enumerate(weights(case.order) / case.spacing**2)]
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "loop.c"), Path(folder, "loop.so")
        source.write_text(TEXT)
        subprocess.run([*shlex.split(os.environ.get("CC", "gcc")), *FLAGS, *named, str(source), "-o", str(library)], check=True)
        run = ctypes.CDLL(str(library)).run
    halo, left = 4, 16
    rows, columns = case.shape
    stride = left + columns + left
    field, other, scaled = (np.zeros((rows + 2 * halo, stride), np.float32) for _ in range(3))
    inside = (slice(halo, -halo), slice(left, -left))

    def place(nodes):
        return np.ascontiguousarray(nodes[:, 0] * stride + nodes[:, 1], np.int64)

    source, receivers = int(place(case.sources()[0])[0]), place(case.receivers()[0])
    samples = np.ascontiguousarray(case.wavelet() / case.spacing**2)

    def forward():
        scaled[inside] = (case.step * case.speed()) ** 2
        for array in (field, other):
            array.fill(0.0)
        gathers = np.empty((1, len(receivers), case.steps), np.float32)
        start = [ctypes.c_void_p(array[halo:, left:].ctypes.data) for array in (field, other, scaled)]
        sizes = [ctypes.c_long(n) for n in (rows, columns, stride, case.steps)]
        run(*start, *sizes, ctypes.c_void_p(samples.ctypes.data), ctypes.c_long(source), ctypes.c_void_p(receivers.ctypes.data),
            ctypes.c_long(len(receivers)), ctypes.c_void_p(gathers.ctypes.data))
        return gathers

    return forward
