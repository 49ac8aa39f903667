"""Memory that is freed is kept, in a process of its own: the setting is for good."""
import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from hyperion.cpu import allocation

SCRIPT = """
import resource
import numpy as np
from hyperion.cpu.allocation import keep_pages

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(1 << 18)                        # 2 MiB: 512 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(keep_pages(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is of glibc")
def test_arrays_do_not_touch_fresh_pages():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=True)
    kept, first, second = done.stdout.split()
    # The first array touches its pages once (512, or a few of huge ones); the others find them there. Without: 50 times that.
    assert kept == "True" and int(first) < 1500 and int(second) < 200


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert allocation.keep_pages() is False
