"""What is known of a training: the mean loss over a data set, and rows of numbers on disk."""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import as_tensor
from hyperion.errors import FileError, InputError
from hyperion.io.files import write_bytes
from hyperion.nn.module import Module

__all__ = ["MetricsFile", "make_folder", "mean_loss"]


def mean_loss(model: Module, loss: Callable[..., Any], batches: Iterable[Sequence[Any]]) -> float:
    """Return the mean of a loss over batches, in evaluation behaviour and without recording; each batch counts as its number of examples.

    loss(model, *batch): a mean over the examples of the batch. batches: such as `Batches(data, size).once()`, in which each example comes
    once.
    Raises: InputError if there is no batch.

    >>> import numpy as np
    >>> from hyperion import nn
    >>> data = nn.Batches(nn.Arrays(np.arange(5.0)), size=2)
    >>> mean_loss(nn.Identity(), lambda model, x: model(x).mean(), data.once())
    2.0
    """
    training = [module.training for _, module in model.named_modules()]
    total, count = 0.0, 0
    model.eval()
    try:
        with hp.no_grad():
            for batch in batches:
                rows = as_tensor(batch[0]).shape[0]
                total, count = total + rows * float(loss(model, *batch)), count + rows
    finally:
        for (_, module), mode in zip(model.named_modules(), training, strict=True):
            object.__setattr__(module, "training", mode)
    if not count:
        raise InputError("mean_loss(batches): there is no batch; an iterator gives its batches only once, so make a new one for each "
                         "evaluation")
    return total / count


class MetricsFile:
    """Rows of numbers in a folder, as metrics.jsonl (one object a line) and metrics.csv (one column for each name).

    Every row is on disk when `write` returns. A name that comes up later adds a column.
    Raises: FileError if the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = MetricsFile(folder)
    ...     file.write({"step": 1, "loss": 2.5})
    ...     file.write({"step": 2, "loss": 2.0, "validation loss": 2.25})
    ...     print(Path(folder, "metrics.csv").read_text())
    step,loss,validation loss
    1,2.5,
    2,2.0,2.25
    <BLANKLINE>
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.columns: list[str] = []

    def __repr__(self) -> str:
        return f"MetricsFile {self.folder}, {', '.join(self.columns) or 'empty'}"

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows; a last line that was cut off by a crash is left out."""
        rows: list[dict[str, Any]] = []
        if (self.folder / "metrics.jsonl").is_file():
            for line in (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    rows.append(json.loads(line))
        return rows

    def keep(self, step: int) -> None:
        """Drop the rows after a step: a resumed run writes them again."""
        self._write_all([row for row in self.rows() if row["step"] <= step])

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row, which has a "step"."""
        if not self.columns:
            self.keep(int(row["step"]) - 1)
        self._append("metrics.jsonl", json.dumps(row) + "\n")
        if set(row) <= set(self.columns):
            self._append("metrics.csv", self._line(row))
        else:
            self._write_all(self.rows())

    def _write_all(self, rows: list[dict[str, Any]]) -> None:
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        header = self._line({name: name for name in self.columns}) if rows else ""
        make_folder(self.folder)
        write_bytes(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        write_bytes(self.folder / "metrics.csv", (header + "".join(map(self._line, rows))).encode())

    def _line(self, row: Mapping[str, Any]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([row.get(name, "") for name in self.columns])
        return text.getvalue()

    def _append(self, name: str, text: str) -> None:
        try:
            with open(self.folder / name, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise FileError(f"{self.folder / name}: could not be written ({error.strerror}); free some space") from error


def make_folder(folder: Path) -> None:
    """Make a folder, or say why that cannot be.

    >>> make_folder(Path("."))
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"folder={str(folder)!r}: cannot be made ({error.strerror}); give a folder you may write to") from error
