"""Networks of single points: the kernels against their references, for any number of threads, and what falls back on NumPy."""

import numpy as np
import pytest

import hyperion as hp
from hyperion.cpu import find_compiler, pointwise
from hyperion.errors import CompilerError, SpeedWarning

NATIVE = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture
def small(monkeypatch):
    """The kernels serve arrays of any size."""
    monkeypatch.setattr(pointwise, "THRESHOLD", 1)
    monkeypatch.setattr(pointwise, "PARALLEL", 1)


def wide(value):
    """Return arguments in float64."""
    if isinstance(value, list | tuple):
        parts = [wide(part) for part in value]
        return pointwise.Layer(*parts) if isinstance(value, pointwise.Layer) else parts
    return value.astype(np.float64) if isinstance(value, np.ndarray) else value


def flat(value):
    """Return the arrays in a result, None where there is none."""
    return [value] if not isinstance(value, list | tuple) else [leaf for part in value for leaf in flat(part)]


@NATIVE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", pointwise.reference)
def test_kernels_agree_with_their_references_and_threads_change_nothing(name, dtype, small, monkeypatch):
    # Sums of up to 4000 terms of size 1 after three layers, each of which adds the error of sums of up to 70 terms.
    tolerance = 100 * np.finfo(dtype).eps
    for arguments in pointwise.cases(name, dtype):
        expected = flat(pointwise.reference[name](*[wide(value) for value in arguments]))
        found = []
        for threads in ("1", "3"):
            monkeypatch.setenv("HYPERION_THREADS", threads)
            found.append(flat(pointwise.variants[name](*arguments)))
        for one, many, exact in zip(*found, expected, strict=True):
            if exact is None:
                assert one is None and many is None
                continue
            assert one.dtype == dtype and one.shape == exact.shape
            np.testing.assert_array_equal(one, many)
            np.testing.assert_allclose(one, exact, rtol=0, atol=tolerance * max(1.0, float(np.max(np.abs(exact)))))


def test_without_a_compiler_operations_serve_after_one_warning(small, monkeypatch):
    def refuse(*arguments):
        raise CompilerError("no C compiler found")

    monkeypatch.setattr(pointwise, "_loaded", {})
    monkeypatch.setattr(pointwise, "load", refuse)
    x, weight = np.ones((2, 3, 40), np.float32), np.full((1, 3), 2.0, np.float32)
    with pytest.warns(SpeedWarning, match="no C compiler") as caught:
        out = hp.pointwise_network(x, [hp.PointLayer(weight, bias=[1.0], activation=hp.relu)])
        hp.pointwise_network(x.astype(np.float64), [hp.PointLayer(weight.astype(np.float64))])
    assert len(caught) == 1
    np.testing.assert_array_equal(out.numpy(), np.full((2, 1, 40), 7.0, np.float32))


@NATIVE
def test_small_arrays_other_dtypes_and_many_layers_are_left_to_numpy():
    layer = pointwise.Layer(np.ones((1, 1), np.float32))
    large = np.ones((1, 1, 1, pointwise.THRESHOLD), np.float32)
    assert pointwise.network(large, [layer]) is not None
    assert pointwise.network(large[..., 1:], [layer]) is None
    assert pointwise.network(large.astype(np.float16), [layer]) is None
    assert pointwise.network(large, [layer] * (pointwise.MOST_LAYERS + 1)) is None
    assert pointwise.network(np.empty((0, 1, 1, 5), np.float32), [layer]) is None
