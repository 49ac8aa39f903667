"""Each optimiser against its paper's update, written out line by line."""

import numpy as np
import pytest

from hyperion import optim
from tests.optim.cases import gradients, start, stepped, tracked

STEPS = 25


def run(make, shapes=None):
    parameters = tracked(start(shapes=shapes))
    return stepped(make(parameters), parameters, gradients(STEPS, shapes=shapes))


def by_paper(update, shapes=None):
    """Apply update(x, g, t, memory) -> x to every parameter by itself."""
    out = {}
    for name, x in start(shapes=shapes).items():
        memory = {}
        for t, tree in enumerate(gradients(STEPS, shapes=shapes), start=1):
            x = update(x, tree[name], t, memory)
        out[name] = x
    return out


def agree(ours, paper, rtol=1e-11):      # 25 steps of float64; sums in another order
    for name in paper:
        np.testing.assert_allclose(ours[name], paper[name], rtol=rtol, atol=1e-12)


def test_gradient_descent():
    agree(run(lambda p: optim.SGD(p, lr=0.1)), by_paper(lambda x, g, t, m: x - 0.1 * g))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov):
    """Sutskever et al. (2013), equations 1 to 4: v = mu v - lr grad(theta [+ mu v]), theta = theta + v.

    Nesterov's gradient is taken at theta + mu v. With that point as the parameter, the update is the one of the classes.
    """
    lr, mu = 0.05, 0.9

    def paper(x, g, t, m):
        v = mu * m.get("v", 0.0) - lr * g
        m["v"] = v
        return x + mu * v - lr * g if nesterov else x + v

    agree(run(lambda p: optim.SGD(p, lr=lr, momentum=mu, nesterov=nesterov)), by_paper(paper))


def test_nesterov_is_momentum_with_the_gradient_ahead():
    """The two forms of Sutskever et al., on a quadratic whose gradient is asked for at the shifted point."""
    lr, mu, slopes = 0.05, 0.9, np.array([1.0, 3.0, 10.0])
    theta, v = np.array([1.0, -2.0, 0.5]), np.zeros(3)
    optimizer = optim.SGD(theta.copy(), lr=lr, momentum=mu, nesterov=True)
    for _ in range(30):
        v = mu * v - lr * slopes * (theta + mu * v)
        theta = theta + v
        optimizer.advance(lambda x: (float(0.5 * slopes @ x**2), slopes * x))
        np.testing.assert_allclose(optimizer.parameters, theta + mu * v, rtol=1e-12, atol=1e-15)


def test_rmsprop():
    """Tieleman and Hinton (2012), slide 29."""
    def paper(x, g, t, m):
        m["s"] = 0.9 * m.get("s", 0.0) + 0.1 * g**2
        return x - 0.01 * g / (np.sqrt(m["s"]) + 1e-8)

    agree(run(lambda p: optim.RMSProp(p, lr=0.01, alpha=0.9)), by_paper(paper))


def test_centred_rmsprop_with_momentum():
    """Graves (2013), equations 38 to 41; the velocity is in units of lr."""
    def paper(x, g, t, m):
        m["n"] = 0.95 * m.get("n", 0.0) + 0.05 * g**2
        m["g"] = 0.95 * m.get("g", 0.0) + 0.05 * g
        m["d"] = 0.9 * m.get("d", 0.0) - 1e-3 * g / (np.sqrt(m["n"] - m["g"] ** 2) + 1e-4)
        return x + m["d"]

    agree(run(lambda p: optim.RMSProp(p, lr=1e-3, alpha=0.95, momentum=0.9, eps=1e-4, centered=True)), by_paper(paper), rtol=1e-9)


def adam(x, g, t, m, lr, b1, b2, eps):
    """Kingma and Ba (2015), algorithm 1."""
    m["m"] = b1 * m.get("m", 0.0) + (1 - b1) * g
    m["v"] = b2 * m.get("v", 0.0) + (1 - b2) * g**2
    return x - lr * (m["m"] / (1 - b1**t)) / (np.sqrt(m["v"] / (1 - b2**t)) + eps)


def test_adam():
    agree(run(lambda p: optim.Adam(p, lr=0.02, betas=(0.8, 0.99))), by_paper(lambda *a: adam(*a, 0.02, 0.8, 0.99, 1e-8)))


def test_adamw():
    """Loshchilov and Hutter (2019), algorithm 2, line 12: the decay acts on the parameter before the step, beside Adam's change."""
    lr, decay = 0.02, 0.3
    agree(run(lambda p: optim.AdamW(p, lr=lr, weight_decay=decay)),
          by_paper(lambda x, g, t, m: adam(x, g, t, m, lr, 0.9, 0.999, 1e-8) - lr * decay * x))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("match_adam", [False, True])
def test_muon(nesterov, match_adam):
    """Jordan et al. (2024): B = mu B + G; O = NewtonSchulz5(B or G + mu B); theta = theta - eta O. Vectors go by AdamW."""
    lr, mu, decay = 0.02, 0.95, 0.1

    def newton_schulz(g):
        a, b, c = 3.4445, -4.7750, 2.0315
        x = g / np.linalg.norm(g)
        for _ in range(5):
            big = x @ x.T
            x = a * x + b * big @ x + c * big @ big @ x
        return x

    def paper(x, g, t, m):
        if x.ndim < 2:
            return adam(x, g, t, m, 3e-4, 0.9, 0.999, 1e-8) - 3e-4 * 0.01 * x
        m["b"] = mu * m.get("b", 0.0) + g
        update = g + mu * m["b"] if nesterov else m["b"]
        rows, columns = len(x), x.size // len(x)
        scale = 0.2 * np.sqrt(max(rows, columns)) if match_adam else np.sqrt(max(1, rows / columns))
        return x - lr * decay * x - lr * scale * newton_schulz(update.reshape(rows, columns)).reshape(x.shape)

    # Newton-Schulz of a tall matrix is that of its transpose, transposed: equal but for rounding, which the quintic amplifies.
    agree(run(lambda p: optim.Muon(p, lr=lr, momentum=mu, nesterov=nesterov, weight_decay=decay, match_adam=match_adam)),
          by_paper(paper), rtol=1e-8)


def test_muons_change_is_nearly_orthogonal(random):
    optimizer = optim.Muon(np.zeros((40, 10)), lr=1.0, weight_decay=0.0)
    optimizer.advance(lambda x: (0.0, random.normal(size=(40, 10))))
    singular = np.linalg.svd(optimizer.parameters, compute_uv=False) / 2.0      # the scale is sqrt(40 / 10)
    assert singular.min() > 0.6 and singular.max() < 1.3                       # the range that Jordan et al. give: about 0.7 to 1.2


def test_soap():
    """Vyas et al. (2024), algorithms 3 and 4, on matrices; the first step starts the bases, columns are sorted before each iteration."""
    lr, b1, b2, eps, decay, every = 0.01, 0.9, 0.95, 1e-8, 0.1, 3
    shapes = {"small": (4, 4), "large": (6, 6)}      # square: the first covariances have full rank, so their eigenvectors are unique

    def paper(w, g, t, m):
        if t == 1:
            m["L"], m["R"] = (1 - b2) * g @ g.T, (1 - b2) * g.T @ g
            m["QL"], m["QR"] = np.linalg.eigh(m["L"])[1][:, ::-1], np.linalg.eigh(m["R"])[1][:, ::-1]
            m["M"], m["V"] = np.zeros_like(g), np.zeros_like(g)
            return w
        t -= 1
        turned = m["QL"].T @ g @ m["QR"]
        m["M"] = b1 * m["M"] + (1 - b1) * g                                     # in the original space, as line 4
        m["V"] = b2 * m["V"] + (1 - b2) * turned**2
        mean = m["QL"].T @ m["M"] @ m["QR"]
        n = (mean / (1 - b1**t)) / (np.sqrt(m["V"] / (1 - b2**t)) + eps / np.sqrt(1 - b2**t))
        w = (1 - lr * decay) * (w - lr * m["QL"] @ n @ m["QR"].T)
        m["L"], m["R"] = b2 * m["L"] + (1 - b2) * g @ g.T, b2 * m["R"] + (1 - b2) * g.T @ g
        if t % every == 0:
            for axis, (q, p) in enumerate((("QL", "L"), ("QR", "R"))):
                order = np.argsort(-np.diag(m[q].T @ m[p] @ m[q]), kind="stable")
                m["V"] = np.take(m["V"], order, axis=axis)
                m[q] = np.linalg.qr(m[p] @ m[q][:, order])[0]
        return w

    ours = run(lambda p: optim.SOAP(p, lr=lr, betas=(b1, b2), weight_decay=decay, every=every), shapes)
    # Errors of eigenvectors are rounding over gaps of eigenvalues (down to 1e-3 of the largest here), and 25 steps add them up.
    agree(ours, by_paper(paper, shapes), rtol=1e-8)
