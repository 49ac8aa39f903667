"""A physics-informed network solves Burgers' equation where it makes a shock, from the declared equation alone, without data.

The setting of Raissi, Perdikaris and Karniadakis 2019, J. Comput. Phys. 378, 686, appendix A: -sin(pi x) at the start, zero at both ends,
viscosity 0.01 / pi; they report a relative L2 error of 6.7e-4 with L-BFGS. Here conditions hold exactly, points follow the residual, and
the optimiser keeps the whole inverse Hessian (Urban et al. 2025, arXiv:2405.04230). Their setting: `--config
scenarios/pinn_burgers_paper.toml`. Compared with `--reference burgers_shock.mat` (of their repository), else with Hyperion's solver.
"""

from pathlib import Path

import numpy as np

import hyperion as hp
from hyperion import io, nn, operators, optim, pde, plot
from hyperion.errors import InputError

PUBLISHED = 6.7e-4      # table 1 of the source: L-BFGS, 100 points of data, 10,000 of the equation


def reference(config):
    """Return x, t and u (x, t): from a file, or by the pseudo-spectral solver on a circle (the solution is odd and has period 2)."""
    if config.reference:
        x, t, u = io.read_matlab(config.reference, "x", "t", "usol")
        return x.ravel(), t.ravel(), u.real
    torus = pde.Torus(1024, 2.0)
    x, times = torus.axis(0) - 1.0, 100
    u = pde.BurgersSolver(torus, pde.ETDRK4(step=5e-4)).solve(-np.sin(np.pi * x), 0.99, viscosity=config.viscosity, saves=times - 1)
    u = np.concatenate([-np.sin(np.pi * x)[None], u.numpy()])
    return x[::4], np.linspace(0.0, 0.99, times), u[:, ::4].T


def network(config):
    """Return the PINN: an MLP, with conditions that hold exactly, or as terms of the loss."""
    nn.seed(config.seed)
    net = nn.MLP([2, *[config.width] * config.layers, 1], activation=hp.tanh, dtype="float64")
    conditions = [operators.Initial(u=lambda x: -hp.sin(np.pi * x), hard=config.exact), operators.Dirichlet(u=0.0, hard=config.exact)]
    return operators.PINN(pde.Burgers(), operators.Box(x=(-1, 1), t=(0, 1)), net, conditions, viscosity=config.viscosity)


def main(run, config):
    """Train, compare with the reference, show."""
    if min(config.width, config.layers, config.points, config.steps, config.data) < 1 or min(config.redraw, config.memory) < 0:
        raise InputError("--width, --layers, --points, --data and --steps must be at least 1, --redraw and --memory at least 0")
    x, t, truth = reference(config)
    pinn = network(config).to(run.device)
    counts = {} if config.exact else {"initial": config.data // 2, "dirichlet": config.data - config.data // 2}
    follow = operators.ResidualDensity(pool=4 * config.points) if config.redraw else None
    points = operators.Points(pinn, every=config.redraw, adaptive=follow, seed=config.seed, equation=config.points, **counts)
    optimiser = optim.LBFGS(pinn, memory=config.memory) if config.memory else optim.SelfScaledBroyden(pinn)
    trainer = operators.PINNTrainer(pinn, optimiser, points)
    mesh = pinn.domain.mesh(x=x, t=t)

    def solution():
        with hp.no_grad():
            return pinn(mesh).to("cpu").numpy().reshape(truth.shape)

    def error():
        return float(np.linalg.norm(solution() - truth) / np.linalg.norm(truth))

    run.log(f"{pinn!r}, {type(optimiser).__name__}, {points!r}")
    history = []
    if state := run.restore():
        trainer.load_state_dict(state["trainer"])
        history = state["history"].tolist()
    with run.progress(config.steps, "training", trainer.steps) as progress:
        for row in trainer.run(config.steps):
            last = row["step"] % 50 == 0 or row["step"] == config.steps
            history.append([row["step"], row["loss"], error() if last else np.nan, row["seconds"]])
            progress.step(loss=row["loss"], **({"error": history[-1][2]} if last else {}))
            run.checkpoint(lambda: {"trainer": trainer.state_dict(), "history": np.array(history)})
    run.checkpoint({"trainer": trainer.state_dict(), "history": np.array(history)}, every=0.0)

    found, history = solution(), np.array(history)
    run.facts["relative L2 error"] = error()
    run.facts["relative L2 error, published (Raissi et al. 2019, appendix A: viscosity 0.01/pi)"] = PUBLISHED
    run.facts["compared with"] = Path(config.reference).name or "Hyperion's pseudo-spectral solver"
    run.facts["largest error"] = float(np.abs(found - truth).max())
    run.facts["parameters"] = sum(p.size for p in pinn.parameters())
    run.facts["seconds of training"] = float(history[:, 3].sum())
    axes = (io.Axis("x", "", x[1] - x[0], x[0]), io.Axis("t", "", t[1] - t[0], t[0]))
    run.results.write("solution/network", found, "", axes)
    run.results.write("solution/reference", truth, "", axes)
    run.results.write("training/history", history, "", (io.Axis("step"), io.Axis("step, loss, error, seconds")))
    places = [rows["points"].to("cpu").numpy() for rows in points.batch.values()]
    run.figure(plot.solution(x, t, found, truth, (0.25, 0.5, 0.75), places=places, limits=(-1.1, 1.1),
                             title="u(x, t) of the network, and the points it is trained on"), "solution")
    run.figure(plot.solution_errors(x, t, found, truth, history, {"published": PUBLISHED}), "errors")
