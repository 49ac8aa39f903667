"""Recorded graphs as C text."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd.formulas import recording_whole, text_of
from hyperion.errors import GraphError


def leaf(value):
    return hp.asarray(np.array(value), requires_grad=True)


def test_derivatives_and_comparisons_become_text():
    x = leaf(0.5)

    def slope():
        y = hp.where(x > 0.0, x * x, -x)
        return hp.vjp(lambda z: hp.where(z > 0.0, z * z, -z), x)[1](hp.ones_like(y))[0]

    lines = recording_whole(lambda: text_of([("out", recording_whole(slope))], {x.node: "x"}))
    assert lines is not None and "(x > (real)(0.0)) ? (real)1 : (real)0" in lines and lines.endswith(";") and "out = t" in lines


def test_without_text_for_an_operation_there_is_none():
    x = leaf(0.5)
    assert text_of([("out", hp.atan(x))], {x.node: "x"}) is None
    assert text_of([("out", hp.sum(x))], {x.node: "x"}) is None
    assert text_of([("out", x ** 2.5)], {x.node: "x"}) is None


def test_a_result_that_was_not_recorded_is_refused():
    x = leaf(0.5)
    with hp.no_grad():
        y = hp.sin(x)
    with pytest.raises(GraphError, match="depends on nothing that is given"):
        text_of([("out", y)], {x.node: "x"})
    assert text_of([("out", hp.zeros(()))], {x.node: "x"}) == "out = 0;"
