"""Embeddings of coordinates: statistics of random Fourier features, exact periodicity, Taylor mode, state, refusals."""

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn
from hyperion.errors import InputError, ShapeError
from tests.nn.physics_informed import DIRECTION, F64, POINTS, check_jets, check_state


def features(seed: int) -> nn.FourierFeatures:
    return nn.FourierFeatures(2, 12, (0.5, 1.5), generator=hp.random.Generator(seed), **F64)


def test_jets_of_fourier_features() -> None:
    check_jets(features(0))


def test_jets_of_periodic_coordinates() -> None:
    check_jets(nn.Periodic(2, {0: 2.0}, harmonics=2))


def test_features_are_cosines_and_sines_of_a_drawn_matrix_that_is_never_trained() -> None:
    layer = nn.FourierFeatures(2, 4000, (0.5, 3.0), generator=hp.random.Generator(1), **F64)
    b = layer.frequencies.data
    assert b.shape == (2000, 2) and not layer.parameters() and list(layer.named_buffers()) == ["frequencies"]
    np.testing.assert_allclose(b.std(axis=0), [0.5, 3.0], rtol=0.07)        # 4 / sqrt(2 * 2000): four deviations of an estimated one
    phase = 2.0 * np.pi * POINTS @ b.T
    np.testing.assert_allclose(layer(POINTS).data, np.concatenate([np.cos(phase), np.sin(phase)], 1), atol=1e-12)
    np.testing.assert_allclose(hp.mean(hp.square(layer(POINTS)), axis=1).data, 0.5, rtol=1e-12)


def test_the_seed_decides_the_features() -> None:
    np.testing.assert_array_equal(features(3).frequencies.data, features(3).frequencies.data)
    assert not np.allclose(features(3).frequencies.data, features(4).frequencies.data)
    check_state(features)


@pytest.mark.parametrize("harmonics", [1, 3])
def test_a_network_of_periodic_coordinates_is_periodic_with_its_derivatives(harmonics: int) -> None:
    layer = nn.Periodic(2, {-2: 2.5}, harmonics)
    net = nn.Sequential(layer, nn.MLP([layer.outputs, 8, 1], generator=hp.random.Generator(0), **F64))
    here = hp.jet(net, (POINTS,), (DIRECTION,), 4)
    there = hp.jet(net, (POINTS + np.array([5.0, 0.0]),), (DIRECTION,), 4)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-9, atol=1e-10 * abs(a.data).max())
    assert not np.allclose(net(POINTS).data, net(POINTS + np.array([0.0, 2.5])).data)


def test_coordinates_without_a_period_come_first_and_as_they_are() -> None:
    out = nn.Periodic(3, {1: 1.0})(np.array([[5.0, 0.25, 7.0]])).data
    np.testing.assert_allclose(out, [[5.0, 7.0, 0.0, 1.0]], atol=1e-15)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: nn.FourierFeatures(2, 5), InputError, r"FourierFeatures\(outputs\)=5 must be even"),
    (lambda: nn.FourierFeatures(2, 4, 0.0), InputError, r"scale\)=0.0 must be a number above 0"),
    (lambda: nn.FourierFeatures(2, 4, (1.0,)), InputError, "one for each of the 2 coordinates"),
    (lambda: nn.FourierFeatures(2, 4)(np.ones((3, 3))), ShapeError, r"x has shape \(3, 3\); its last axis must have length 2"),
    (lambda: nn.Periodic(2, {}), InputError, "one entry or more"),
    (lambda: nn.Periodic(2, {2: 1.0}), InputError, "2 must be a column from 0 to 1"),
    (lambda: nn.Periodic(2, {0: 1.0, -2: 1.0}), InputError, "given once"),
    (lambda: nn.Periodic(2, {0: -1.0}), InputError, "the period of column 0 must be a number above 0"),
    (lambda: nn.Periodic(2, {0: 1.0}, harmonics=0), InputError, r"Periodic\(harmonics\)=0"),
    (lambda: nn.Periodic(2, {0: 1.0})(1.0), ShapeError, "its last axis must have length 2"),
])
def test_what_is_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
