"""Making a data set: samples in batches, batches over processes, each kept as soon as it is done."""
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hyperion.autograd.random import Generator
from hyperion.cpu.allocation import keep_pages
from hyperion.errors import InputError, NonFiniteError, nearest
from hyperion.io import Axis
from hyperion.io.datasets import DatasetParts, Stored

from ..checks import is_whole
from .recipes import RECIPES

Progress = Callable[[int, int], None]


def make_dataset(
    kind: str, path: str | Path, samples: int, *, seed: int = 0, workers: int = 1, resume: bool = False, overwrite: bool = False,
    progress: Progress | None = None, **options: Any,
) -> Path:
    """Make a file of samples by a solver and return its path; `hyperion.io.read_dataset` reads it.

    kind: name of a recipe, such as "darcy". samples: how many. seed: of all of them; sample i is drawn by Generator(seed).at(i).
    workers: processes that share the work. options: the kind's own, by name. progress: called with (samples done, samples in all).
    Batches are kept beside the file, in `path` + ".parts", and joined at the end; `resume` goes on from those that a run left behind, and
    returns at once if the file is there and was made with the same arguments. The file is the same bytes whatever the number of workers
    and interruptions.
    Raises: InputError for unknown kinds and options, or a resumed run with other ones; FileError for a path that exists or cannot be
    written; what the solvers raise, NonFiniteError with the samples of the batch.

    >>> import tempfile
    >>> from hyperion.io import read_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = make_dataset("random-field", f"{folder}/fields.h5", 3, resolution=16)
    ...     read_dataset(path).inputs["field"].shape
    (3, 16, 16)
    """
    if kind not in RECIPES:
        raise InputError(f"make_dataset({kind!r}): unknown kind; {nearest(str(kind), RECIPES)}")
    if not is_whole(samples, 1):
        raise InputError(f"make_dataset(samples={samples!r}): give a whole number of at least 1")
    if not is_whole(workers, 1):
        raise InputError(f"make_dataset(workers={workers!r}): give a whole number of at least 1")
    Generator(seed)                                               # refuses what is no seed
    recipe = RECIPES[kind]
    settled = recipe.settled(options)
    declared = recipe.arrays(settled)
    count, size = int(samples), settled["batch"]
    described = {"kind": kind, "summary": recipe.summary, "samples": count, "seed": int(seed)} | settled
    sample = Axis("sample")
    stored = {f"{a.role}/{name}": Stored(a.unit, (sample, *a.axes)) for name, a in declared.items()}
    stored["seeds"] = Stored("", (sample,))
    batches = [range(first, min(first + size, count)) for first in range(0, count, size)]
    with DatasetParts(Path(path), described, stored, resume, overwrite) as parts:
        if parts.complete:
            return parts.path
        wanted = [i for i in range(len(batches)) if not parts.has(i)]
        done = count - sum(len(batches[i]) for i in wanted)
        if progress:
            progress(done, count)
        for i in _run(kind, settled, int(seed), [(i, batches[i]) for i in wanted], parts.folder, int(workers)):
            done += len(batches[i])
            if progress:
                progress(done, count)
        parts.join(len(batches), count)
    return parts.path


def _run(kind: str, options: dict[str, Any], seed: int, work: list[tuple[int, range]], folder: Path, workers: int) -> Iterator[int]:
    """Make batches, and yield the number of each when it is on disk."""
    if workers == 1 or len(work) < 2:
        for number, members in work:
            yield _one(kind, options, seed, number, members, folder)
        return
    # Fresh processes: a fork would copy locks that threads of this one may hold.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(min(workers, len(work)), context, _begin)
    try:
        tasks = [pool.submit(_one, kind, options, seed, number, members, folder) for number, members in work]
        for task in concurrent.futures.as_completed(tasks):
            yield task.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Set a worker up: one thread, memory that is kept, and an end when the process that started it ends, however it ends."""
    os.environ["HYPERION_THREADS"] = "1"
    keep_pages()
    signal.signal(signal.SIGINT, signal.SIG_IGN)                  # Ctrl-C is the parent's: it cancels what has not begun
    above = multiprocessing.parent_process()

    def follow() -> None:
        if above is not None:
            above.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _one(kind: str, options: dict[str, Any], seed: int, number: int, members: range, folder: Path) -> int:
    """Make one batch and keep it."""
    recipe, root = RECIPES[kind], Generator(seed)
    generators = [root.at(i) for i in members]
    keys = [generator.state()["key"] for generator in generators]
    try:
        made = recipe.make(options, generators)
    except NonFiniteError as error:
        raise NonFiniteError(f"samples {members.start} to {members.stop - 1}: {error}") from error
    declared = recipe.arrays(options)
    arrays = {f"{declared[name].role}/{name}": np.asarray(made[name]).astype(options["dtype"]) for name in declared}
    DatasetParts.keep(folder, number, arrays | {"seeds": np.array(keys)})
    return number
