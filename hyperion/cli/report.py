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
    figures: list[str],
    config: Mapping[str, Any],
    versions: Mapping[str, str],
) -> str:
    """Return the report as HTML text; pictures are links into the folder `figures`, so the directory can be moved or packed as a whole.

    state: how the run ended. seconds: how long it took. facts: its figures of merit by name. figures: names of pictures in the order to
        show.

    >>> text = report_html("fwi", "Inverts.", "finished", 3.0, {"model error": 0.0677}, ["models"], {"shots": 16}, {"python": "3.11"})
    >>> '<img src="figures/models.png"' in text, "0.0677" in text
    (True, True)
    """
    escape = html.escape
    pictures = "\n".join(
        f'<figure><img src="figures/{escape(name, quote=True)}.png" alt="{escape(name, quote=True)}">'
        f"<figcaption>{escape(name.replace('-', ' '))}</figcaption></figure>" for name in figures)
    sections = {
        "Results": table(facts) if facts else "",
        "Figures": pictures,
        "Options": table(flatten_table(config)),
        "Versions": table(versions),
    }
    body = "\n".join(f"<h2>{title}</h2>\n{content}" for title, content in sections.items() if content)
    state = f"{escape(state)} after {seconds:.1f} s"
    return PAGE.format(title=escape(scenario), style=STYLE, state=state, description=escape(description), body=body)


def table(rows: Mapping[str, Any]) -> str:
    """Return names and values as an HTML table."""
    shown = ((name, f"{value:.6g}" if isinstance(value, float) else str(value)) for name, value in rows.items())
    return "<table>" + "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in shown) + "</table>"
