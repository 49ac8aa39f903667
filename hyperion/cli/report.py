"""The one-page report of a run: what it found, its pictures, its options."""

import html
from collections.abc import Mapping
from typing import Any

from hyperion.io.toml import flatten_table

__all__ = ["report_html"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 1080px; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #d5dbe2; padding-bottom: 0.3rem; }
figure { margin: 1.6rem 0; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.92rem; }
td { padding: 0.16rem 1.6rem 0.16rem 0; vertical-align: top; }
td:first-child, figcaption, p.state { color: #5b6875; font-size: 0.92rem; }
caption { text-align: left; font-weight: 600; padding: 0.6rem 0 0.2rem; }
th { text-align: left; font-weight: 600; padding: 0.16rem 1.6rem 0.16rem 0; vertical-align: bottom; }
table.grid td:not(:first-child) { font-family: ui-monospace, monospace; }
td:last-child { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>
<body>
<h1>{title}</h1>
<p class="state">{state}</p>
<p>{description}</p>
{body}
<p>Arrays with units and axes: <a href="result.h5">result.h5</a>. Log: <a href="log.txt">log.txt</a>.</p>
</body>
</html>
"""


def report_html(
    scenario: str,
    description: str,
    state: str,
    seconds: float,
    facts: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]],
    figures: list[str],
    config: Mapping[str, Any],
    versions: Mapping[str, str],
) -> str:
    """Return the report as HTML text; pictures are links into the folder `figures`, so the directory can be moved or packed as a whole.

    state: how the run ended. seconds: how long it took. facts: its figures of merit by name. tables: by title, {row: {column: value}}; a
        fact called "row: column" stands there alone. figures: names of pictures in the order to show.

    >>> facts, tables = {"model error": 0.0677, "network: cost": 2.5}, {"Errors": {"network": {"cost": 2.5}}}
    >>> text = report_html("fwi", "Inverts.", "finished", 3.0, facts, tables, ["models"], {"shots": 16}, {"python": "3.11"})
    >>> '<img src="figures/models.png"' in text, "0.0677" in text, "network: cost" in text, "<td>2.5</td>" in text
    (True, True, False, True)
    """
    escape = html.escape
    pictures = "\n".join(
        f'<figure><img src="figures/{escape(name, quote=True)}.png" alt="{escape(name, quote=True)}">'
        f"<figcaption>{escape(name.replace('-', ' '))}</figcaption></figure>" for name in figures)
    shown = {f"{row}: {column}" for rows in tables.values() for row, cells in rows.items() for column in cells}
    alone = {name: value for name, value in facts.items() if name not in shown}
    sections = {
        "Results": "\n".join([*(grid(title, rows) for title, rows in tables.items()), table(alone) if alone else ""]).strip(),
        "Figures": pictures,
        "Options": table(flatten_table(config)),
        "Versions": table(versions),
    }
    body = "\n".join(f"<h2>{title}</h2>\n{content}" for title, content in sections.items() if content)
    state = f"{escape(state)} after {seconds:.1f} s"
    return PAGE.format(title=escape(scenario), style=STYLE, state=state, description=escape(description), body=body)


def table(rows: Mapping[str, Any]) -> str:
    """Return names and values as an HTML table."""
    return "<table>" + "".join(f"<tr><td>{html.escape(name)}</td><td>{_text(value)}</td></tr>" for name, value in rows.items()) + "</table>"


def grid(title: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return rows and columns of values as an HTML table, a value a cell."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    lines = ["".join(f"<th>{html.escape(text)}</th>" for text in ("", *columns))]
    for name, cells in rows.items():
        values = "".join(f"<td>{_text(cells[column]) if column in cells else ''}</td>" for column in columns)
        lines.append(f"<td>{html.escape(name)}</td>{values}")
    return f'<table class="grid"><caption>{html.escape(title)}</caption>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _text(value: Any) -> str:
    return html.escape(f"{value:.6g}" if isinstance(value, float) else str(value))
