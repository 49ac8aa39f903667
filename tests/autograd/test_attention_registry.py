"""Attention against the formula at random: every mask, shape, dtype, layout, term and direction, on every way that computes it."""

import itertools
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import hyperion as hp
from hyperion import nn
from hyperion.autograd.ops import attending
from hyperion.cpu import attention as native
from hyperion.cpu import find_compiler
from hyperion.errors import DtypeError, InputError, ShapeError
from tests.autograd.attention_registry import CASES, DTYPES, LAYOUTS, MASKS, TERMS, Case, Shape, check

NEVER = 1 << 60
SETTINGS: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
WAYS = [
    pytest.param("kernel", marks=pytest.mark.skipif(find_compiler() is None, reason="no C compiler")), "tiles", "rows",
    pytest.param("gpu", marks=pytest.mark.gpu),
]


@pytest.fixture(params=WAYS)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device; on a CPU the compiled kernel serves all tables, or NumPy does, in whole tiles or in very small ones."""
    monkeypatch.setattr(native, "THRESHOLD", 1 if request.param == "kernel" else NEVER)
    monkeypatch.setattr(native, "PARALLEL", 1)
    if request.param == "rows":
        monkeypatch.setattr(attending, "TILE", 512)
        monkeypatch.setattr(attending, "ROWS", 3)
    return "cuda:0" if request.param == "gpu" else "cpu"


@pytest.mark.parametrize("mask", MASKS)
def test_every_mask_with_every_term_dtype_and_layout(mask: str, place: str) -> None:
    """Each entry at least once, in turns: two shapes, in which all dtypes, layouts and terms come along."""
    number = list(MASKS).index(mask)
    for turn, term in enumerate(TERMS):
        pick = number + turn
        for shape in (Shape(2, 2, 2, 37, 75, 20, 33), Shape(1, 1, 3, 70, 70, 64, 64)):
            layout = list(LAYOUTS)[pick % len(LAYOUTS)]
            check(Case(shape, mask, layout, term, DTYPES[pick % len(DTYPES)], 100 * number + turn), place)


@settings(max_examples=60, **SETTINGS)
@given(case=CASES)
def test_random_cases(place: str, case: Case) -> None:
    check(case, place)


@pytest.mark.full
@settings(max_examples=4000, **SETTINGS)
@given(case=CASES)
def test_many_random_cases(place: str, case: Case) -> None:
    check(case, place)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask", MASKS)
def test_taylor_expansions_end_where_the_gradient_says(mask: str, dtype: str, place: str) -> None:
    """|f(x + h u) - f(x) - h <grad, u>| falls as h^2, in float32 too: down to where rounding is as large."""
    case = Case(Shape(1, 1, 2, 20, 24, 8, 6), mask, "heads before tokens", "smooth" if len(mask) % 2 else "nothing", dtype, 7)
    f, given = case.call(place)
    random = np.random.default_rng(5)
    moves = [hp.Tensor(random.standard_normal(x.shape).astype(dtype)).to(place) for x in given]
    g = hp.Tensor(case.arrays[3].astype(np.float64)).to(place)

    def value(*xs: Any) -> Any:
        return hp.sum(hp.astype(f(*xs)[0], "float64") * g)

    start = float(value(*given))
    along = sum(float(hp.sum(hp.astype(a, "float64") * hp.astype(u, "float64"))) for a, u in zip(
        hp.grad(value, (0, 1, 2))(*given), moves, strict=True))
    steps = [0.1, 0.05, 0.025]
    rests = [abs(float(value(*(x + h * u for x, u in zip(given, moves, strict=True)))) - start - h * along) for h in steps]
    if case.mask == "nothing":
        assert rests == [0.0, 0.0, 0.0]
        return
    noise = 20 * float(np.finfo(dtype).eps * np.linalg.norm(case.arrays[3]))         # errors of some eps, of either sign
    assert rests[-1] > 2 * noise, "the steps are large enough to say something"
    for large, small in itertools.pairwise(rests):
        assert small <= large / 4 * 1.35 + noise, f"rests {rests} do not fall as the square of the step"


def test_packed_texts_and_patterns_refuse_what_they_cannot_be() -> None:
    for wrong in ([1, 3], [0, 3, 2], []):
        with pytest.raises((InputError, DtypeError), match="bounds"):
            nn.Document.packed(wrong)
    with pytest.raises(ShapeError, match="as many texts"):
        nn.Document.packed([0, 2, 4], [0, 3])
    with pytest.raises(InputError, match="window=-1 must be 0 or more"):
        nn.BlockSparse.bigbird(4, -1, 1, 1, 8)


def test_the_figure_of_the_documentation_can_be_drawn() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "attention_figure.py"
    figure = runpy.run_path(str(path))["draw"]()
    assert [panel.get_title() for panel in figure.axes[:2]] == ["Causal(): 53%", "SlidingWindow(200): 27%"]
