"""The pools of buffers and arrays: aligned, used again, returned when dropped, bounded."""

import gc
import pickle
import threading

import numpy as np
import pytest

from hyperion.cpu import pool as pools
from hyperion.cpu.pool import ArrayPool, BufferPool


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


# Arrays over memory that is used again

FLOAT = np.dtype(np.float32)


def test_memory_of_an_array_is_used_again_only_after_its_last_view_has_died():
    pool = ArrayPool()
    array, first = pool.empty((100, 1000), FLOAT)
    array[:] = 7.0
    view = array[3:, ::2].T
    flat = memoryview(array)
    del array
    other, second = pool.empty((100, 1000), FLOAT)
    other[:] = 1.0
    assert second != first and (view == 7.0).all()
    del view
    assert pool.empty((100, 1000), FLOAT)[1] != first          # a buffer of Python's holds it, too
    del flat
    assert pool.empty((1000, 99), FLOAT)[1] == first           # other shapes of about the size take it


@pytest.mark.parametrize("shape", [(1,), (3, 5), (), (1000, 1001), (0, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_of_a_pool_are_ordinary(shape, dtype):
    array, address = ArrayPool().empty(shape, np.dtype(dtype))
    assert array.shape == shape and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable and address % 128 == 0
    array[...] = 3
    assert (pickle.loads(pickle.dumps(array)) == array).all() and type(array) is np.ndarray
    with pytest.raises(ValueError):
        array.resize((7, 7))                                   # NumPy refuses: the memory is not its own


def test_idle_memory_of_arrays_is_bounded_oldest_class_first(monkeypatch):
    monkeypatch.setattr(pools, "IDLE_BYTES", 3_000_000)
    pool = ArrayPool()
    held = [pool.empty((size,), np.dtype(np.uint8)) for size in (1_000_000, 1_000_000, 1_300_000, 1_300_000)]
    newest = held[-1][1]
    while held:
        held.pop(0)
    assert pool._bytes == sum(size * len(found) for size, found in pool._idle.items()) <= 3_000_000 and pool._idle
    assert pool.empty((1_300_000,), np.dtype(np.uint8))[1] == newest
    pool.clear()
    assert not pool._idle and not pool._bytes


def test_an_array_that_the_collector_drops_inside_empty_does_not_deadlock():
    pool, before = ArrayPool(), gc.get_threshold()

    class Cycle:
        pass

    def churn():
        for _ in range(300):
            knot = Cycle()
            knot.me, knot.array = knot, pool.empty((1000,), FLOAT)
            del knot
            pool.empty((2000,), FLOAT)

    gc.set_threshold(1)
    try:
        worker = threading.Thread(target=churn, daemon=True)
        worker.start()
        worker.join(60)
        assert not worker.is_alive(), "empty waits for a lock that its own thread holds"
    finally:
        gc.set_threshold(*before)


def test_threads_share_a_pool_of_arrays():
    pool, wrong = ArrayPool(), []

    def work(value):
        for _ in range(200):
            array, _ = pool.empty((10_000,), FLOAT)
            array[:] = value
            if not (array == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
