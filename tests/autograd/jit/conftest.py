"""Tests of the compiler run programs by NumPy unless they ask for native code: compiling hundreds of programs takes minutes."""

from collections.abc import Iterator

import pytest

from hyperion.cpu import program


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let programs run as calls of NumPy, as on a machine without a compiler."""
    monkeypatch.setattr(program, "available", lambda: False)
    yield
