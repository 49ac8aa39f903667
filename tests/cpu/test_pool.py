"""The pool of buffers: aligned, used again, returned when dropped, bounded."""

import gc
import threading

import numpy as np
import pytest

from hyperion.cpu import pool as pools
from hyperion.cpu.pool import BufferPool


def address(buffer):
    return buffer.bytes.ctypes.data


@pytest.mark.parametrize("size", [1, 127, 128, 4096, 1_000_003])
def test_buffers_are_aligned_and_large_enough(size):
    buffer = BufferPool().take(size)
    assert buffer.bytes.size == size and buffer.bytes.dtype == np.uint8 and address(buffer) % 128 == 0


def test_a_dropped_buffer_is_used_again_without_the_collector():
    pool = BufferPool()
    gc.disable()
    try:
        buffer = pool.take(1_000_000)
        first = address(buffer)
        del buffer
        assert address(pool.take(1_000_000)) == first
    finally:
        gc.enable()


def test_a_buffer_that_the_collector_drops_inside_take_does_not_deadlock():
    pool, before = BufferPool(), gc.get_threshold()

    class Cycle:
        pass

    def churn():
        for _ in range(300):
            knot = Cycle()
            knot.me, knot.buffer = knot, pool.take(1000)
            del knot
            pool.take(2000)

    gc.set_threshold(1)
    try:
        worker = threading.Thread(target=churn, daemon=True)
        worker.start()
        worker.join(60)
        assert not worker.is_alive(), "take waits for a lock that its own thread holds"
    finally:
        gc.set_threshold(*before)


def test_a_buffer_in_use_is_not_given_out_twice():
    pool = BufferPool()
    first, second = pool.take(1000), pool.take(1000)
    first.bytes[:], second.bytes[:] = 1, 2
    assert first.bytes.sum() == 1000 and second.bytes.sum() == 2000


def test_the_smallest_buffer_that_fits_is_taken_and_no_giant_for_a_dwarf():
    pool = BufferPool()
    sizes = {size: pool.take(size) for size in (500_000, 700_000, 100_000_000)}
    places = {size: address(b) for size, b in sizes.items()}
    sizes.clear()
    assert address(pool.take(600_000)) == places[700_000]
    assert address(pool.take(600_000)) not in (places[500_000], places[100_000_000])


def test_idle_memory_is_bounded_oldest_first(monkeypatch):
    monkeypatch.setattr(pools, "IDLE_BYTES", 3_000_000)
    pool = BufferPool()
    held = [pool.take(1_000_000) for _ in range(5)]
    while held:
        held.pop(0)
    assert sum(raw.size for raw in pool._idle) <= 3_000_000 and len(pool._idle) == 2
    pool.clear()
    assert not pool._idle


def test_threads_share_a_pool():
    pool, wrong = BufferPool(), []

    def work(value):
        for _ in range(200):
            buffer = pool.take(10_000)
            buffer.bytes[:] = value
            if not (buffer.bytes == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
