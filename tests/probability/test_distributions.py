"""Distributions against SciPy, against PyTorch where it is installed, and against their own samples."""

import importlib.util
import math

import numpy as np
import pytest
from scipy import stats

import hyperion as hp
from hyperion import probability as pr
from hyperion.autograd import vmap
from hyperion.autograd.random import Generator
from hyperion.errors import DtypeError, InputError, ShapeError

INF = math.inf
PAIR = np.array([0.7, 2.0])
COVARIANCE = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]])
PARTS = np.array([0.8, 2.0, 3.5])

def wide(values):
    return hp.asarray(np.asarray(values, np.float64))


# ours, SciPy's, values inside the support, values outside
CASES = {
    "Normal": (lambda: pr.Normal(1.0, PAIR), stats.norm(1.0, PAIR), [[-1.0], [0.3], [9.0]], []),
    "LogNormal": (lambda: pr.LogNormal(0.3, PAIR), stats.lognorm(PAIR, 0.0, math.exp(0.3)), [[0.1], [1.0], [7.0]], [[-1.0], [0.0]]),
    "HalfNormal": (lambda: pr.HalfNormal(PAIR), stats.halfnorm(0.0, PAIR), [[0.0], [0.5], [3.0]], [[-1.0]]),
    "Uniform": (lambda: pr.Uniform(-1.0, PAIR), stats.uniform(-1.0, PAIR + 1.0), [[-1.0], [0.0], [0.7]], [[-2.0], [3.0]]),
    "Laplace": (lambda: pr.Laplace(1.0, PAIR), stats.laplace(1.0, PAIR), [[-1.0], [1.5], [9.0]], []),
    "StudentT": (lambda: pr.StudentT([2.5, 7.0], 0.5, PAIR), stats.t([2.5, 7.0], 0.5, PAIR), [[-30.0], [0.4], [2.0]], []),
    "Exponential": (lambda: pr.Exponential(PAIR), stats.expon(0.0, 1.0 / PAIR), [[0.0], [0.5], [9.0]], [[-1.0]]),
    "Gamma": (lambda: pr.Gamma(PAIR, 3.0), stats.gamma(PAIR, 0.0, 1.0 / 3.0), [[1e-3], [0.4], [5.0]], [[-1.0]]),
    "Beta": (lambda: pr.Beta(PAIR, 3.0), stats.beta(PAIR, 3.0), [[1e-3], [0.4], [0.99]], [[-0.1], [1.1]]),
    "Bernoulli": (lambda: pr.Bernoulli(wide([0.1, 0.6])), stats.bernoulli([0.1, 0.6]), [[0.0], [1.0]], [[-1.0], [0.5], [2.0]]),
    "Poisson": (lambda: pr.Poisson(wide([0.7, 30.0])), stats.poisson([0.7, 30.0]), [[0.0], [1.0], [33.0]], [[-1.0], [0.5]]),
}
REAL = [name for name in CASES if name not in ("Bernoulli", "Poisson")]


@pytest.mark.parametrize("name", CASES)
def test_against_scipy(name):
    build, other, inside, outside = CASES[name]
    ours = build()
    log_density = getattr(other, "logpdf", None) if name in REAL else other.logpmf
    np.testing.assert_allclose(ours.log_prob(wide(inside)).numpy(), log_density(np.array(inside)), rtol=1e-12, atol=1e-13)
    for value in outside:
        assert (ours.log_prob(wide(value)).numpy() == -INF).all() and (log_density(np.array(value)) == -INF).all()
    np.testing.assert_allclose(ours.mean.numpy(), other.mean(), rtol=1e-12)
    np.testing.assert_allclose(ours.variance.numpy(), other.var(), rtol=1e-12)
    assert ours.batch_shape == (2,) and ours.event_shape == () and ours.mean.shape == ours.variance.shape == (2,)
    if name != "Poisson":
        entropy = ours.entropy().numpy()
        np.testing.assert_allclose(entropy, other.entropy(), rtol=1e-10, atol=1e-10)
        assert entropy.shape == (2,)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("StudentT", "Beta")])
def test_distribution_functions(name):
    build, other, inside, outside = CASES[name]
    values = np.array(inside + outside)
    np.testing.assert_allclose(build().cdf(wide(values)).numpy(), other.cdf(values), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_samples_follow_their_distribution(name):
    """sqrt(n) D of a right sampler exceeds 1.95 with a probability of 1e-3; of a discrete one, less often."""
    build, other, *_ = CASES[name]
    ours = build()
    drawn = ours.sample(Generator(3), (20_000,))
    assert drawn.shape == (20_000, 2) and drawn.requires_grad is False
    # With steps, the distance is taken where the counted fraction jumps: at the values themselves, from above.
    for i in range(2):
        column = np.sort(drawn.numpy()[:, i])
        points = np.unique(column)
        counted = np.searchsorted(column, points, side="right") / len(column)
        expected = other.cdf(points[:, None])[:, i]
        assert math.sqrt(len(column)) * np.abs(counted - expected).max() < 1.95


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("StudentT", "Beta", "Bernoulli", "Poisson")])
def test_samples_move_with_their_parameters_so_that_their_probability_stays(name):
    """dx/dp = -(dF/dp) / density along the path, for each parameter p: exact, one sample at a time."""
    builders = {
        "Normal": (pr.Normal, (1.0, 0.7)), "LogNormal": (pr.LogNormal, (0.3, 0.7)), "HalfNormal": (pr.HalfNormal, (0.7,)),
        "Uniform": (pr.Uniform, (-1.0, 0.7)), "Laplace": (pr.Laplace, (1.0, 0.7)), "Exponential": (pr.Exponential, (0.7,)),
        "Gamma": (pr.Gamma, (0.7, 3.0)),
    }
    build, parameters = builders[name]
    at = tuple(wide(p) for p in parameters)
    for i in range(len(at)):
        direction = tuple(wide(float(i == j)) for j in range(len(at)))
        x, moved = hp.jvp(lambda *p: build(*p).sample(Generator(1), (50,)), at, direction)
        of_probability = hp.jvp(lambda *p, x=x: build(*p).cdf(x), at, direction)[1].numpy()
        density = np.exp(build(*at).log_prob(x).numpy())
        # x and x itself: HalfNormal's sample is |z| scale, whose sign is lost to the distribution function but not to the path.
        np.testing.assert_allclose(moved.numpy() * density, -of_probability, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", REAL)
def test_the_density_is_the_derivative_of_the_distribution_function(name):
    build, _, inside, _ = CASES[name]
    ours = build()
    if name in ("StudentT", "Beta"):
        with pytest.raises(InputError, match=f"{name}.cdf: no closed form"):
            ours.cdf(0.5)
        return
    x = wide(inside[1])
    density = hp.jvp(ours.cdf, (hp.broadcast_to(x, (2,)),), (wide([1.0, 1.0]),))[1]
    np.testing.assert_allclose(density.numpy(), np.exp(ours.log_prob(x).numpy()), rtol=1e-11)


def test_gradients_of_samples_of_beta_and_student_t():
    """Means of derivatives over 50,000 draws against the derivative of the mean: E x = a / (a + b), E x^2 = s^2 v / (v - 2)."""
    of_a = hp.grad(lambda a: pr.Beta(a, wide(3.0)).sample(Generator(1), (50_000,)).mean())(wide(0.7)).item()
    assert abs(of_a - 3.0 / 3.7**2) < 4.4 * 0.3 / math.sqrt(50_000)        # terms dx/da spread by less than 0.3
    terms = hp.jvp(lambda v: pr.StudentT(v, 0.0, 1.0).sample(Generator(1), (50_000,)) ** 2, (wide(9.0),), (wide(1.0),))[1].numpy()
    assert abs(terms.mean() + 2.0 / 49.0) < 4.4 * terms.std() / math.sqrt(50_000)


def test_normal_of_vectors():
    mean = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    other = [stats.multivariate_normal(m, COVARIANCE) for m in mean]
    value = np.array([[0.5, 0.5, 0.5], [-1.0, 2.0, 4.0], [1.0, 2.0, 3.0]])
    for ours in (pr.MultivariateNormal(wide(mean), wide(COVARIANCE)),
                 pr.MultivariateNormal(wide(mean), scale_tril=wide(np.linalg.cholesky(COVARIANCE)))):
        assert ours.batch_shape == (2,) and ours.event_shape == (3,)
        got = ours.log_prob(wide(value[:, None])).numpy()
        np.testing.assert_allclose(got, np.stack([o.logpdf(value) for o in other], axis=-1), rtol=1e-12)
        np.testing.assert_allclose(ours.entropy().numpy(), [o.entropy() for o in other], rtol=1e-12)
        np.testing.assert_allclose(ours.covariance.numpy(), [COVARIANCE] * 2, rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(ours.variance.numpy(), [np.diag(COVARIANCE)] * 2, rtol=1e-14)
        drawn = ours.sample(Generator(0), (40_000,)).numpy()
        assert drawn.shape == (40_000, 2, 3)
        # 5 standard deviations of an element of a sample covariance: sqrt((c_ii c_jj + c_ij^2) / n) <= sqrt(8 / n)
        np.testing.assert_allclose(np.cov(drawn[:, 0].T), COVARIANCE, atol=5.0 * math.sqrt(8.0 / 40_000))
        np.testing.assert_allclose(drawn[:, 1].mean(axis=0), mean[1], atol=5.0 * math.sqrt(2.0 / 40_000))


def test_derivatives_of_the_normal_of_vectors():
    """d log p / d mean = C^-1 (x - mean); d log p / d C = (C^-1 r r^T C^-1 - C^-1) / 2."""
    mean, x = wide([1.0, 2.0, 3.0]), wide([0.5, 2.5, 2.0])
    of_mean, of_covariance = hp.grad(lambda m, c: pr.MultivariateNormal(m, c).log_prob(x), argnums=(0, 1))(mean, wide(COVARIANCE))
    inverse = np.linalg.inv(COVARIANCE)
    pull = inverse @ (x.numpy() - mean.numpy())
    np.testing.assert_allclose(of_mean.numpy(), pull, rtol=1e-12)
    symmetric = 0.5 * (of_covariance.numpy() + of_covariance.numpy().T)
    np.testing.assert_allclose(symmetric, 0.5 * (np.outer(pull, pull) - inverse), rtol=1e-12, atol=1e-14)
    moved = hp.jvp(lambda m: pr.MultivariateNormal(m, wide(COVARIANCE)).sample(Generator(0), (4,)), (mean,), (wide([1.0, 0.0, 2.0]),))[1]
    np.testing.assert_allclose(moved.numpy(), [[1.0, 0.0, 2.0]] * 4)


def test_dirichlet():
    ours, other = pr.Dirichlet(wide(PARTS)), stats.dirichlet(PARTS)
    value = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(ours.log_prob(wide(value)).numpy(), other.logpdf(value), rtol=1e-12)
    np.testing.assert_allclose(ours.entropy().numpy(), other.entropy(), rtol=1e-12)
    np.testing.assert_allclose(ours.mean.numpy(), other.mean(), rtol=1e-13)
    np.testing.assert_allclose(ours.variance.numpy(), other.var(), rtol=1e-13)
    for outside in ([0.2, 0.3, 0.4], [-0.1, 0.6, 0.5]):
        assert ours.log_prob(wide(outside)).item() == -INF
    drawn = pr.Dirichlet(wide([PARTS, 2.0 * PARTS])).sample(Generator(0), (20_000,)).numpy()
    assert drawn.shape == (20_000, 2, 3)
    np.testing.assert_allclose(drawn[:, 0].mean(axis=0), other.mean(), atol=5.0 * math.sqrt(other.var().max() / 20_000))


def test_categorical():
    p = np.array([[0.1, 0.2, 0.7], [0.0, 0.5, 0.5]])
    for ours in (pr.Categorical(wide(4.0 * p)), pr.Categorical(logits=wide(np.log(np.maximum(p, 1e-300)) + 3.0))):
        with np.errstate(divide="ignore"):
            expected = np.log(p)
        got = np.stack([ours.log_prob(np.array(k)).numpy() for k in range(3)], axis=-1)
        np.testing.assert_allclose(got[p > 0.0], expected[p > 0.0], rtol=1e-12)
        assert got[1, 0] < -600.0
        np.testing.assert_allclose(ours.entropy().numpy(), stats.entropy(p, axis=-1), rtol=1e-12)
        np.testing.assert_allclose(ours.mean.numpy(), [1.6, 1.5], rtol=1e-12)
        np.testing.assert_allclose(ours.variance.numpy(), [0.44, 0.25], rtol=1e-12)
        drawn = ours.sample(Generator(0), (20_000,))
        assert drawn.dtype == np.int64 and drawn.shape == (20_000, 2)
        for column, row in zip(drawn.numpy().T, p, strict=True):
            np.testing.assert_allclose(np.bincount(column, minlength=3) / 20_000, row, atol=5.0 * math.sqrt(0.25 / 20_000))
        assert (ours.log_prob(np.array([3, -1])).numpy() == -INF).all()
    gradient = hp.grad(lambda logits: pr.Categorical(logits=logits).log_prob(np.array([2])).sum())(wide([0.1, -1.0, 2.0])).numpy()
    np.testing.assert_allclose(gradient, [0, 0, 1] - np.exp([0.1, -1.0, 2.0]) / np.exp([0.1, -1.0, 2.0]).sum(), rtol=1e-12)


def test_bernoulli_by_logits_is_that_by_probability_and_keeps_digits_in_the_tails():
    x = wide([[0.0], [1.0]])
    logits = wide([-2.0, 0.5])
    a, b = pr.Bernoulli(logits=logits), pr.Bernoulli(wide(1.0 / (1.0 + np.exp(-logits.numpy()))))
    np.testing.assert_allclose(a.log_prob(x).numpy(), b.log_prob(x).numpy(), rtol=1e-12)
    np.testing.assert_allclose(a.entropy().numpy(), b.entropy().numpy(), rtol=1e-12)
    np.testing.assert_allclose(pr.Bernoulli(logits=wide(-50.0)).log_prob(1.0).item(), -50.0, rtol=1e-15)
    sure = pr.Bernoulli(wide([0.0, 1.0]))
    np.testing.assert_array_equal(sure.log_prob(x).numpy(), [[0.0, -INF], [-INF, 0.0]])
    np.testing.assert_array_equal(sure.entropy().numpy(), [0.0, 0.0])
    assert a.sample(Generator(0), (4,)).dtype == np.float64


def test_mixture():
    p, m, s = np.array([0.3, 0.7]), np.array([-1.0, 2.0]), np.array([0.5, 1.5])
    ours = pr.Mixture(pr.Categorical(wide(p)), pr.Normal(wide(m), wide(s)))
    x = np.array([-3.0, 0.0, 1.0, 9.0])
    parts = stats.norm(m, s)
    np.testing.assert_allclose(ours.log_prob(wide(x)).numpy(), np.log((p * parts.pdf(x[:, None])).sum(axis=-1)), rtol=1e-12)
    np.testing.assert_allclose(ours.cdf(wide(x)).numpy(), (p * parts.cdf(x[:, None])).sum(axis=-1), rtol=1e-12)
    share = p * parts.pdf(x[:, None])
    np.testing.assert_allclose(ours.responsibilities(wide(x)).numpy(), share / share.sum(axis=-1, keepdims=True), rtol=1e-11, atol=1e-300)
    mean = p @ m
    np.testing.assert_allclose([ours.mean.item(), ours.variance.item()], [mean, p @ (s**2 + m**2) - mean**2], rtol=1e-13)
    drawn = ours.sample(Generator(0), (20_000,)).numpy()
    assert math.sqrt(20_000) * stats.kstest(drawn, lambda x: (p * parts.cdf(x[:, None])).sum(axis=-1)).statistic < 1.95
    assert not ours.reparameterised
    with pytest.raises(InputError, match=r"Mixture\.entropy: no closed form"):
        ours.entropy()


def test_mixture_of_vectors():
    means = np.array([[0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    ours = pr.Mixture(pr.Categorical(wide([0.25, 0.75])), pr.MultivariateNormal(wide(means), wide(COVARIANCE)))
    x = np.array([[0.1, 0.2, 0.3], [4.0, 5.0, 6.0]])
    expected = sum(w * stats.multivariate_normal(m, COVARIANCE).pdf(x) for w, m in zip((0.25, 0.75), means, strict=True))
    np.testing.assert_allclose(ours.log_prob(wide(x)).numpy(), np.log(expected), rtol=1e-12)
    drawn = ours.sample(Generator(0), (20_000,)).numpy()
    assert ours.event_shape == (3,) and drawn.shape == (20_000, 3)
    variance = ours.variance.numpy()
    np.testing.assert_allclose(variance, np.diag(COVARIANCE) + 25.0 * 0.25 * 0.75, rtol=1e-12)
    np.testing.assert_allclose(drawn.mean(axis=0), 3.75, atol=5.0 * math.sqrt(variance.max() / 20_000))


# PyTorch, where it is installed

TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra bench)")


def torch_of(name):
    import torch.distributions as td
    from torch import tensor

    def t(x):
        return tensor(np.asarray(x, np.float64))

    return {
        "Normal": lambda m, s: td.Normal(t(m), t(s)), "LogNormal": lambda m, s: td.LogNormal(t(m), t(s)),
        "HalfNormal": lambda s: td.HalfNormal(t(s)), "Uniform": lambda a, b: td.Uniform(t(a), t(b), validate_args=False),
        "Laplace": lambda m, s: td.Laplace(t(m), t(s)), "Exponential": lambda r: td.Exponential(t(r)),
        "Gamma": lambda a, r: td.Gamma(t(a), t(r)), "Beta": lambda a, b: td.Beta(t(a), t(b)), "Dirichlet": lambda c: td.Dirichlet(t(c)),
        "Bernoulli": lambda p: td.Bernoulli(t(p)), "Categorical": lambda p: td.Categorical(t(p)), "Poisson": lambda r: td.Poisson(t(r)),
        "MultivariateNormal": lambda m, c: td.MultivariateNormal(t(m), t(c)), "StudentT": lambda v, m, s: td.StudentT(t(v), t(m), t(s)),
    }[name]


SECOND = COVARIANCE + np.diag([1.0, 2.0, 0.3])
PAIRS = {
    ("Normal", "Normal"): (([0.0, 1.0], [0.5, 2.0]), (1.0, 0.7)),
    ("LogNormal", "LogNormal"): (([0.0, 1.0], [0.5, 2.0]), (1.0, 0.7)),
    ("HalfNormal", "HalfNormal"): (([0.5, 2.0],), (0.7,)),
    ("Uniform", "Uniform"): ((0.0, [1.0, 2.0]), (-0.5, 2.5)),
    ("Uniform", "Normal"): ((0.0, [1.0, 2.0]), (-0.5, 2.5)),
    ("Laplace", "Laplace"): (([0.0, 1.0], [0.5, 2.0]), (1.0, 0.7)),
    ("Exponential", "Exponential"): (([0.5, 2.0],), (0.7,)),
    ("Gamma", "Gamma"): (([0.5, 4.0], [2.0, 0.3]), (1.5, 0.7)),
    ("Exponential", "Gamma"): (([0.5, 2.0],), (1.5, 0.7)),
    ("Gamma", "Exponential"): (([0.5, 4.0], [2.0, 0.3]), (0.7,)),
    ("Beta", "Beta"): (([0.5, 4.0], [2.0, 0.8]), (1.5, 0.7)),
    ("Dirichlet", "Dirichlet"): (([[0.5, 4.0, 1.0], [2.0, 0.3, 1.0]],), (PARTS,)),
    ("Poisson", "Poisson"): (([0.5, 20.0],), (3.0,)),
    ("Bernoulli", "Bernoulli"): (([0.2, 0.9],), (0.5,)),
    ("Categorical", "Categorical"): (([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]],), ([0.3, 0.3, 0.4],)),
    ("MultivariateNormal", "MultivariateNormal"): (([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]], COVARIANCE), ([0.5, 0.5, 0.5], SECOND)),
}


def both(pair):
    (p, q), (of_p, of_q) = pair, PAIRS[pair]
    return getattr(pr, p)(*map(wide, of_p)), getattr(pr, q)(*map(wide, of_q))


def test_every_form_of_the_table_is_tested():
    from hyperion.probability.divergence import FORMS

    assert {(p.__name__, q.__name__) for p, q in FORMS} == set(PAIRS)


@TORCH
@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_divergences_against_torch(pair):
    from torch.distributions import kl_divergence

    of_p, of_q = PAIRS[pair]
    expected = kl_divergence(torch_of(pair[0])(*of_p), torch_of(pair[1])(*of_q)).numpy()
    got = pr.kl_divergence(*both(pair)).numpy()
    assert got.shape == (2,)
    np.testing.assert_allclose(got, np.broadcast_to(expected, (2,)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_divergences_are_means_over_samples(pair):
    """The mean over 40,000 draws lies within 4.4 of its standard deviations, which the draws give themselves (1e-5 each)."""
    p, q = both(pair)
    x = p.sample(Generator(2), (40_000,))
    excess = (p.log_prob(x) - q.log_prob(x)).numpy()
    room = 4.4 * excess.std(axis=0) / math.sqrt(40_000) + 1e-12
    assert (np.abs(excess.mean(axis=0) - pr.kl_divergence(p, q).numpy()) <= room).all()
    itself = pr.kl_divergence(p, p).numpy() if pair[0] == pair[1] else 0.0
    assert np.abs(itself).max() < 1e-13


@TORCH
@pytest.mark.parametrize("name", [*CASES, "Dirichlet", "Categorical", "MultivariateNormal"])
def test_derivatives_of_log_probability_and_entropy_against_torch(name):
    import torch

    cases = {
        "Normal": ((1.0, PAIR), 0.3), "LogNormal": ((0.3, PAIR), 0.9), "HalfNormal": ((PAIR,), 0.4), "Uniform": ((-1.0, PAIR), 0.2),
        "Laplace": ((1.0, PAIR), 0.4), "StudentT": (([2.5, 7.0], 0.5, PAIR), 0.1), "Exponential": ((PAIR,), 0.5),
        "Gamma": ((PAIR, 3.0), 0.4), "Beta": ((PAIR, 3.0), 0.3), "Bernoulli": (([0.1, 0.6],), 1.0), "Poisson": (([0.7, 30.0],), 3.0),
        "Dirichlet": ((PARTS,), [0.2, 0.3, 0.5]), "Categorical": (([0.2, 0.5, 0.3],), 2),
        "MultivariateNormal": (([0.0, 1.0, 2.0], COVARIANCE), [1.0, 0.5, 0.2]),
    }
    parameters, value = cases[name]
    theirs = [torch.tensor(np.asarray(p, np.float64), requires_grad=True) for p in parameters]
    module = getattr(torch.distributions, name)(*theirs)
    x = torch.tensor(value) if name == "Categorical" else torch.tensor(np.asarray(value, np.float64))
    has_entropy = name != "Poisson"
    whole = module.log_prob(x).sum() + (module.entropy().sum() if has_entropy else 0.0)
    gradients = torch.autograd.grad(whole, theirs, allow_unused=True)

    def ours(*p):
        d = getattr(pr, name)(*p)
        total = d.log_prob(np.asarray(value)).sum()
        return total + d.entropy().sum() if has_entropy else total

    got = hp.grad(ours, argnums=tuple(range(len(parameters))))(*map(wide, parameters))
    for g, expected in zip(got, gradients, strict=True):
        mine = g.numpy()
        other = np.zeros_like(mine) if expected is None else expected.numpy()
        if mine.shape == (3, 3):            # what is not symmetric in the derivative of a symmetric matrix has no meaning
            mine, other = mine + mine.T, other + other.T
        # PyTorch's trigamma, in derivatives of digamma, is right to 1e-9 only; its other functions to 1e-14.
        np.testing.assert_allclose(mine, other, rtol=1e-8 if name in ("Gamma", "Beta", "Dirichlet", "StudentT") else 1e-12, atol=1e-12)


# Shapes, dtypes, transforms


def test_float32_by_default_and_the_dtype_of_arrays_otherwise():
    assert pr.Normal(0.0, 1.0).dtype == np.float32
    assert pr.Normal(0.0, wide(1.0)).dtype == np.float64
    assert pr.Normal(hp.asarray([1, 2]), 1.0).sample(Generator(0)).dtype == np.float32
    assert pr.Gamma(hp.asarray([1.0, 2.0], dtype="float16"), 1.0).sample(Generator(0)).dtype == np.float16
    assert repr(pr.Normal([0.0, 1.0], 1.0)) == "Normal (2,), float32"
    assert repr(pr.Dirichlet([1.0, 1.0])) == "Dirichlet (), events (2,), float32"


@pytest.mark.parametrize("name", CASES)
def test_vmap_over_parameters_and_values_is_a_loop(name):
    build = {"Normal": lambda p: pr.Normal(0.1, p), "LogNormal": lambda p: pr.LogNormal(0.1, p), "Uniform": lambda p: pr.Uniform(0.0, p),
             "Laplace": lambda p: pr.Laplace(0.1, p), "StudentT": lambda p: pr.StudentT(p, 0.1), "Beta": lambda p: pr.Beta(p, 2.0),
             "Gamma": lambda p: pr.Gamma(p, 2.0), "Bernoulli": lambda p: pr.Bernoulli(logits=p)}.get(name, getattr(pr, name))
    p, x = wide([0.9, 2.0, 3.0]), wide([0.3, 0.6, 0.8] if name not in ("Bernoulli", "Poisson") else [0.0, 1.0, 1.0])
    mapped = vmap(lambda p, x: build(p).log_prob(x))(p, x).numpy()
    np.testing.assert_allclose(mapped, [build(a).log_prob(b).item() for a, b in zip(p, x, strict=True)], rtol=1e-14)


def test_the_hessian_of_a_log_likelihood_is_the_information():
    """For n normal values the second derivatives of -log p at the estimates are n / s^2 and 2 n / s^2."""
    x = wide(np.random.default_rng(0).normal(2.0, 1.5, 200))
    mean, scale = x.numpy().mean(), x.numpy().std()

    def loss(theta):
        return -pr.Normal(theta[0], theta[1]).log_prob(x).sum()

    rows = [hp.hvp(loss, (wide([mean, scale]),), (wide(unit),))[0].numpy() for unit in np.eye(2)]
    np.testing.assert_allclose(rows, np.diag([200.0 / scale**2, 400.0 / scale**2]), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("call, error, message", [
    (lambda: pr.Normal(0.0, -1.0), InputError, r"Normal\(scale\): 1 of 1 values break the rule, the first is -1; it must be above 0"),
    (lambda: pr.Normal([0.0, 1.0], [1.0, 2.0, 3.0]), ShapeError, r"mean \(2,\), scale \(3,\)"),
    (lambda: pr.Normal(math.nan, 1.0), InputError, r"Normal\(mean\)"),
    (lambda: pr.Normal(1j, 1.0), DtypeError, "complex"),
    (lambda: pr.Uniform(1.0, 1.0), InputError, "high must exceed low"),
    (lambda: pr.Gamma(0.0, 1.0), InputError, r"Gamma\(concentration\)"),
    (lambda: pr.Beta(1.0, INF), InputError, r"Beta\(b\)"),
    (lambda: pr.Poisson(-1.0), InputError, r"Poisson\(rate\)"),
    (lambda: pr.Bernoulli(1.5), InputError, "from 0 to 1"),
    (lambda: pr.Bernoulli(), InputError, "give one of the two"),
    (lambda: pr.Bernoulli(0.5, logits=0.0), InputError, "give one of the two"),
    (lambda: pr.Categorical(), InputError, "give one of the two"),
    (lambda: pr.Categorical([1.0, -1.0]), InputError, r"Categorical\(probabilities\)"),
    (lambda: pr.Categorical([0.0, 0.0]), InputError, "some category of each row must be possible"),
    (lambda: pr.Categorical(logits=[0.0, math.nan]), InputError, r"Categorical\(logits\)"),
    (lambda: pr.Categorical(1.0), ShapeError, "no last axis of categories"),
    (lambda: pr.Dirichlet([1.0]), ShapeError, "2 parts or more"),
    (lambda: pr.Dirichlet([1.0, 0.0]), InputError, r"Dirichlet\(concentration\)"),
    (lambda: pr.MultivariateNormal([0.0, 0.0]), InputError, "give one of covariance and scale_tril"),
    (lambda: pr.MultivariateNormal([0.0, 0.0], np.eye(3)), ShapeError, r"mean has shape \(2,\), covariance has \(3, 3\)"),
    (lambda: pr.MultivariateNormal(np.zeros((2, 3)), np.ones((4, 3, 3)) * np.eye(3)), ShapeError, "must broadcast"),
    (lambda: pr.MultivariateNormal([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]), InputError, "must be symmetric"),
    (lambda: pr.MultivariateNormal([0.0, 0.0], scale_tril=[[1.0, 0.5], [0.0, 1.0]]), InputError, "0 above the diagonal"),
    (lambda: pr.MultivariateNormal([0.0, 0.0], scale_tril=[[1.0, 0.0], [0.0, -1.0]]), InputError, "diagonal must be above 0"),
    (lambda: pr.MultivariateNormal([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), ValueError, "cholesky"),
    (lambda: pr.Mixture(pr.Normal(0.0, 1.0), pr.Normal([0.0], 1.0)), InputError, "give a Categorical and a distribution"),
    (lambda: pr.Mixture(pr.Categorical([1.0, 1.0]), pr.Normal([0.0, 1.0, 2.0], 1.0)), ShapeError, r"batch shape \(3,\)"),
    (lambda: pr.Normal(0.0, 1.0).log_prob(1j), DtypeError, "must be real"),
    (lambda: pr.Normal([0.0, 1.0], 1.0).log_prob([0.0, 1.0, 2.0]), ShapeError, "does not broadcast with Normal"),
    (lambda: pr.Dirichlet([1.0, 1.0]).log_prob([1.0]), ShapeError, "its last axes must be one draw"),
    (lambda: pr.Normal(0.0, 1.0).sample(Generator(0), (-1,)), InputError, "lengths of 0 or more"),
    (lambda: pr.Poisson(1.0).entropy(), InputError, "Poisson.entropy: no closed form"),
    (lambda: pr.kl_divergence(pr.Normal(0.0, 1.0), pr.Laplace(0.0, 1.0)), InputError, r"Normal and Laplace \(for this p: Normal\)"),
    (lambda: pr.kl_divergence(pr.StudentT(3.0), pr.StudentT(3.0)), InputError, "for this p: none"),
    (lambda: pr.kl_divergence(pr.Normal([0.0, 1.0], 1.0), pr.Normal([0.0, 1.0, 2.0], 1.0)), ShapeError, "do not broadcast"),
    (lambda: pr.kl_divergence(pr.Dirichlet([1.0, 1.0]), pr.Dirichlet([1.0, 1.0, 1.0])), ShapeError, "events have shapes"),
    (lambda: pr.kl_divergence(pr.Categorical([1.0, 1.0]), pr.Categorical([1.0, 1.0, 1.0])), ShapeError, "categories"),
])
def test_wrong_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_divergence_is_infinite_where_values_are_impossible():
    assert pr.kl_divergence(pr.Uniform(0.0, 2.0), pr.Uniform(0.0, 1.0)).item() == INF
    assert pr.kl_divergence(pr.Bernoulli(0.5), pr.Bernoulli(1.0)).item() == INF
    assert pr.kl_divergence(pr.Bernoulli(1.0), pr.Bernoulli(0.5)).item() == pytest.approx(math.log(2.0))
    assert pr.kl_divergence(pr.Categorical([1.0, 1.0]), pr.Categorical([1.0, 0.0])).item() == INF
    gradient = hp.grad(lambda p: pr.kl_divergence(pr.Categorical(p), pr.Categorical([1.0, 1.0])))(wide([1.0, 0.0])).numpy()
    assert np.isfinite(gradient).all()


def test_densities_at_the_ends_of_the_support_are_their_limits():
    ends = wide([0.0, 1.0])
    np.testing.assert_array_equal(pr.Beta(wide(0.5), 2.0).log_prob(ends).numpy(), [INF, -INF])
    np.testing.assert_allclose(pr.Beta(wide(1.0), 1.0).log_prob(ends).numpy(), [0.0, 0.0], atol=1e-15)
    np.testing.assert_array_equal(pr.Gamma(wide([0.5, 1.0, 2.0]), 1.0).log_prob(0.0).numpy(), [INF, 0.0, -INF])
    assert pr.Dirichlet(wide([1.0, 2.0])).log_prob(wide([0.0, 1.0])).item() == pytest.approx(math.log(2.0))


def test_gradients_outside_the_support_are_zero_not_nan():
    for build, x in ((lambda p: pr.Gamma(p, 1.0), -1.0), (lambda p: pr.LogNormal(p, 1.0), -1.0), (lambda p: pr.Beta(p, 1.0), 2.0)):
        of_value, of_parameter = hp.grad(lambda p, x, build=build: build(p).log_prob(x), argnums=(0, 1))(wide(0.7), wide(x))
        assert of_value.item() == 0.0 and of_parameter.item() == 0.0
