"""Fields in rows and columns: what several methods make of one thing, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from hyperion.errors import InputError, ShapeError
from hyperion.plot.sections import clip_of
from hyperion.plot.style import SIGNED_COLOURS, plain_array, styled

__all__ = ["fields"]


@styled
def fields(
    rows: Mapping[str, Sequence[object]],
    columns: Sequence[str],
    *,
    limits: float | Sequence[float] | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
    upwards: bool = False,
    label: str = "",
) -> Figure:
    """Return a figure of signed fields in rows and columns, white where they are zero.

    rows: arrays (n, m), one for each column, by the row's title; None leaves a place empty.  columns: their titles.
    limits: the largest magnitude of the colours, one for all, with a bar, or one for each column; None: the 99.5th percentile of all.
    notes: what stands below a row, one text for each column, by its title.  upwards: whether the first axis points up.
    label: of the colour bar, with the unit.
    Raises: InputError without rows or columns; ShapeError for rows of other lengths, or fields that are not 2-D.

    >>> import numpy as np
    >>> figure = fields({"solver": [np.eye(4), np.ones((4, 4))], "network": [None, np.eye(4)]}, ["1 s", "2 s"], limits=1.0)
    >>> len(figure.axes)
    5
    """
    if not rows or not columns:
        raise InputError(f"fields(rows of {len(rows)}, columns={list(columns)!r}): give at least one of each")
    table = {name: [None if field is None else plain_array(field, repr(name), 2) for field in row] for name, row in rows.items()}
    wrong = [name for name, row in [*table.items(), *(notes or {}).items()] if len(row) != len(columns)]
    if wrong:
        raise ShapeError(f"fields: row {wrong[0]!r} has another length than the {len(columns)} columns; give None, or '', where nothing is")
    if limits is None:
        limits = max((clip_of(field, 99.5) for row in table.values() for field in row if field is not None), default=1.0)
    ends = list(limits) if isinstance(limits, Sequence) else [float(limits)] * len(columns)
    if len(ends) != len(columns):
        raise ShapeError(f"fields(limits={limits!r}): give one number, or one for each of the {len(columns)} columns")
    bar = not isinstance(limits, Sequence)
    size = 1.9 * len(columns) + (1.1 if bar else 0.3), (1.9 + (0.25 if notes else 0.05)) * len(rows) + 0.4
    figure = Figure(figsize=size, layout="constrained")
    panels, image = figure.subplots(len(rows), len(columns), squeeze=False), None
    for i, (name, row) in enumerate(table.items()):
        for panel, title, field, end, note in zip(panels[i], columns, row, ends, (notes or {}).get(name, [""] * len(columns)), strict=True):
            _panel(panel, title if i == 0 else "", note)
            if field is None:
                panel.set_frame_on(False)
                continue
            image = panel.imshow(field, cmap=SIGNED_COLOURS, vmin=-end, vmax=end, origin="lower" if upwards else "upper")
        panels[i, 0].set_ylabel(name)
    if image is not None and bar:
        figure.colorbar(image, ax=panels, label=label, shrink=0.5, aspect=30, extend="both")
    for panel in panels.ravel():
        if not panel.has_data() and not panel.get_title() and not panel.get_ylabel():
            panel.remove()
    return figure


def _panel(panel: Any, title: str, note: str) -> None:
    panel.set(xticks=[], yticks=[])
    panel.set_title(title, fontsize=9, loc="center", fontweight="normal")
    panel.set_xlabel(note, fontsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(True)
