"""How far a long piece of work is."""

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperion.cli.run import Run

__all__ = ["Progress", "duration"]


class Progress:
    """Steps of a long piece of work: a bar on a terminal, a line now and then elsewhere, every step in log.txt. Made by `Run.progress`."""

    LINE_EVERY = 5.0        # [s] between lines where there is no terminal

    def __init__(self, run: "Run", total: int, label: str, start: int):
        self._run, self.total, self.label, self.done = run, total, label, start
        self._start, self._began, self._shown = start, time.monotonic(), 0.0

    def __repr__(self) -> str:
        return f"Progress {self.label}: {self.done} of {self.total}"

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty() and self._run._bar is None:
            import tqdm

            self._run._bar = tqdm.tqdm(total=self.total, initial=self._start, desc=self.label, file=sys.stderr, dynamic_ncols=True)
        self._began = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._run._bar is not None:
            self._run._bar.close()
            self._run._bar = None

    def step(self, n: int = 1, **values: Any) -> None:
        """Count n steps and show values, such as misfit=0.012."""
        self.done += n
        shown = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
        elapsed = time.monotonic() - self._began
        rate = (self.done - self._start) / elapsed if elapsed > 0 else 0.0
        pace = f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each" if rate > 0 else "-"
        left = duration((self.total - self.done) / rate) if rate > 0 else "-"
        line = f"{self.label}: {self.done}/{self.total}{', ' if shown else ''}{shown}, {pace}, {left} left"
        self._run._to_file(line)
        if self._run._bar is not None:
            self._run._bar.set_postfix_str(shown, refresh=False)
            self._run._bar.update(n)
        elif self.done >= self.total or time.monotonic() - self._shown > self.LINE_EVERY:
            self._shown = time.monotonic()
            self._run._to_console(line)


def duration(seconds: float) -> str:
    """Return a time span for people.

    >>> duration(4.2), duration(75), duration(4000)
    ('4.2 s', '1 min 15 s', '1 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
