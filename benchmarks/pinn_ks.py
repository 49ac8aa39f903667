"""Three coefficients of the Kuramoto-Sivashinsky equation from values of a chaotic solution: a PINN with four derivatives in space.

    python benchmarks/pinn_ks.py --reference KS.mat              # of github.com/maziarraissi/PINNs; about 2 minutes on 2 cores
    python benchmarks/pinn_ks.py                                 # a spectral solution made here, with the same coefficients

u_t + steepening u u_x + growth u_xx + damping u_xxxx = 0; those of KS.mat, by least squares of spectral derivatives: 1.5912, 0.16884,
0.0019008. The network sees values in a window of space and time, and begins with coefficients that are 40 to 50 % off.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

import hyperion as hp
from hyperion import fft, nn, operators, optim, pde

TRUE = {"steepening": 1.5912, "growth": 0.16884, "damping": 0.0019008}
GUESS = {"steepening": 1.0, "growth": 0.1, "damping": 0.001}


def solution(reference: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, t and u (x, t): from the file, or by Fourier modes from a smooth start that has become chaotic."""
    if reference is not None:
        file = loadmat(reference)
        return file["x"].ravel(), file["tt"].ravel(), file["uu"]
    n, step = 512, 2.5e-4
    x, k = -1.0 + 2.0 * np.arange(n) / n, np.pi * np.arange(n // 2 + 1)
    mask = np.arange(n // 2 + 1) < n // 3

    def steepen(modes):
        u = fft.irfft(mask * modes, n=n)
        return (-0.5j * TRUE["steepening"] * k * mask) * fft.rfft(u * u)

    linear = hp.asarray(TRUE["growth"] * k**2 - TRUE["damping"] * k**4)
    advance = pde.ETDRK4(step=step).advance(linear, steepen, step, np.dtype("float64"))
    modes, states = fft.rfft(hp.asarray(np.cos(np.pi * x) * (1.0 + np.sin(np.pi * x)))), []
    for i in range(round(2.0 / step) + 1):
        if i % 20 == 0 and i * step >= 1.0:
            states.append(fft.irfft(modes, n=n).numpy())
        modes = advance(modes)
    return x, 5e-3 * np.arange(len(states)), np.stack(states, axis=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="KS.mat")
    parser.add_argument("--steps", type=int, default=1500, help="of self-scaled Broyden (default 1500)")
    parser.add_argument("--window", type=float, nargs=4, default=[-0.5, 0.5, 0.3, 0.5], metavar=("X0", "X1", "T0", "T1"))
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    x, t, u = solution(options.reference)
    x0, x1, t0, t1 = options.window
    domain = operators.Box(x=(x0, x1), t=(t0, t1))
    inside = domain.contains(places := np.stack(np.meshgrid(x, t, indexing="ij"), axis=-1).reshape(-1, 2))
    nn.seed(0)
    network = nn.MLP([2, 24, 24, 24, 1], activation=hp.tanh, dtype="float64")
    observed = operators.Observed(places[inside], u=u.reshape(-1)[inside])
    unknown: Any = {name: operators.Positive(value) for name, value in GUESS.items()}
    pinn = operators.PINN(pde.KuramotoSivashinsky(), domain, network, [observed], weights={"equation": 1e-2}, **unknown)
    points = operators.Points(pinn, equation=2000, observed=int(inside.sum()))
    trainer = operators.PINNTrainer(pinn, optim.SelfScaledBroyden(pinn), points)
    began = time.perf_counter()
    for row in trainer.run(options.steps):
        if row["step"] % 100 == 0 or row["step"] == options.steps:
            found = {name: float(value.value()) for name, value in unknown.items()}
            errors = {name: 100.0 * abs(found[name] / true - 1.0) for name, true in TRUE.items()}
            shown = ", ".join(f"{name} {found[name]:.6g} ({errors[name]:.2f} %)" for name in TRUE)
            print(f"step {row['step']}, loss {row['loss']:.2e}: {shown}", flush=True)
    record = {"case": "pinn_ks", "found": found, "error_percent": errors, "seconds": time.perf_counter() - began, "steps": trainer.steps}
    if options.json:
        options.json.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
