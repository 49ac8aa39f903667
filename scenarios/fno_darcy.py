"""A Fourier neural operator learns Darcy flow: from the permeability of a porous square to the pressure in it, on any grid.

The permeability has two values, which change where a Gaussian random field changes its sign; -div(a grad u) = 1, u = 0 on the edges, is
solved by Hyperion's finite volumes on a grid `refine` times finer than the one trained on, as in Li et al. 2021, arXiv:2010.08895, section
5.2. The same weights then answer on the solver's own grid. Batches are turned and mirrored, as the square may be, unless `--symmetries
false`. With `--slopes true` errors of the gradient count as well (H1), with `--physics 0.01` what is left of the equation too, as in Li et
al. 2024, arXiv:2111.03794. `--data FILE` reads files of `hyperion make-data`, of neuraloperator, of the paper, or with `--pdebench true` of
PDEBench. The paper's setting, for a GPU: `--config scenarios/fno_darcy_paper.toml`.
"""

import numpy as np

import hyperion as hp
from hyperion import io, nn, operators, optim, pde, plot
from hyperion.errors import InputError


def make(count, nodes, config, device):
    """Return permeabilities and pressures, (count, 1, nodes, nodes) float32, solved on a device."""
    field = pde.GaussianField((nodes, nodes), 1.0, tau=3.0, alpha=2.0, periodic=False)
    solver, generator = pde.DarcySolver((nodes, nodes), tolerance=1e-8), hp.random.Generator(config.seed)
    permeabilities, pressures = [], []
    for first in range(0, count, 50):
        values = field.sample(generator, min(50, count - first), "float64").numpy()
        permeabilities.append(np.where(values >= 0.0, config.high, config.low))
        solution = solver.solve(hp.asarray(permeabilities[-1], device=device), 1.0)
        pressures.append(solution.to("cpu").numpy().astype(np.float32))
    return np.concatenate(permeabilities)[:, None].astype(np.float32), np.concatenate(pressures)[:, None]


def read(path, count, pdebench):
    """Return permeabilities and pressures of a file, (count, 1, ny, nx) float32."""
    data = (io.read_pdebench if pdebench else io.read_dataset)(path, slice(count), argument="--data")
    arrays = [next(iter(part.values())) for part in (data.inputs, data.outputs)]
    if len(arrays[0]) < count or arrays[0].ndim != 3 or arrays[0].shape != arrays[1].shape:
        raise InputError(f"--data {path}: holds {data!r}; {count} samples of two-dimensional fields are needed, inputs like outputs")
    return [a[:, None].astype(np.float32) for a in arrays]


class Pressure(nn.Module):
    """A network between normalisers whose answer is 0 on the edges, where the data are.

    Nodes on both edges of an axis are no period: the last one is left out, what remains is. The answer is multiplied by sin(pi x) sin(pi y)
    and gets its last row and column back, zeros.
    """

    def __init__(self, network, permeabilities, pressures):
        self.edges = not any(np.any(side) for side in (pressures[..., 0], pressures[..., -1], pressures[..., 0, :], pressures[..., -1, :]))
        self.inner = operators.Normalized(network, permeabilities, pressures)

    def forward(self, permeability):
        if not self.edges:
            return self.inner(permeability)
        ny, nx = (n - 1 for n in permeability.shape[2:])
        bump = np.sin(np.pi * np.arange(ny) / ny)[:, None] * np.sin(np.pi * np.arange(nx) / nx)
        pressure = self.inner(permeability[..., :-1, :-1]) * hp.asarray(bump.astype(np.float32), device=permeability.device)
        return hp.pad(pressure, ((0, 0), (0, 0), (0, 1), (0, 1)))


def loss_of(config, nodes):
    """Return the loss of a batch: relative L2 or H1, and what is left of the equation."""
    spacing = 1.0 / (nodes - 1)
    data = (lambda u, y: nn.relative_h1(u, y, spacing)) if config.slopes else nn.relative_l2
    if not config.physics:
        return lambda model, a, u: data(model(a), u)
    solver = pde.DarcySolver((nodes, nodes))
    # The edges are no equation: what flows out of an inner node is the source, 1.
    return operators.PhysicsLoss(lambda u, a: solver.flow(a[:, 0], u[:, 0])[:, 1:-1, 1:-1] - 1.0, data, config.physics)


def turned(arrays, generator):
    """Return a batch turned or mirrored at random, all examples alike: what is left of the equation does not notice."""
    mirror, turn = divmod(int(generator.integers((), 0, 8)), 4)
    return [np.ascontiguousarray(np.rot90(a[..., ::-1] if mirror else a, turn, axes=(2, 3))) for a in arrays]


def check(config):
    """Refuse what cannot be."""
    config.at_least(1, "tested", "epochs", "batch", "refine")
    if config.examples < config.batch:
        raise InputError(f"--examples {config.examples} must be at least --batch {config.batch}")
    if (steps := config.epochs * (config.examples // config.batch)) < 4:
        raise InputError(f"--epochs {config.epochs}: {steps} steps are too few for a learning rate that rises and falls; give at least 4")
    if config.resolution <= config.modes:
        raise InputError(f"--resolution {config.resolution} must be above --modes {config.modes}")
    if config.physics and config.data:
        raise InputError("--physics and --data: the equation of another's data is not known; leave one of them out")


def main(run, config):
    """Make or read data, train, evaluate on the grid trained on and on the solver's, show the answers."""
    check(config)
    count = config.examples + config.tested
    refine = 1 if config.data else config.refine
    if config.data:
        a, u = read(config.data, count, config.pdebench)
    else:
        a, u = make(count, (config.resolution - 1) * refine + 1, config, run.device)
    if config.symmetries and u.shape[2] != u.shape[3]:
        raise InputError(f"--symmetries: fields of {u.shape[2]} x {u.shape[3]} nodes are no square; leave it out")
    run.log(f"{count} solutions of Darcy flow on {u.shape[2]} x {u.shape[3]} nodes")
    coarse = (slice(None), slice(None), slice(None, None, refine), slice(None, None, refine))
    seen, unseen = slice(0, config.examples), slice(config.examples, None)
    x, y = np.ascontiguousarray(a[seen][coarse]), np.ascontiguousarray(u[seen][coarse])

    nn.seed(config.seed)
    network = operators.FNO((config.modes, config.modes), config.width, config.layers)
    model = Pressure(network, x, y).to(run.device)
    steps = config.epochs * (config.examples // config.batch)
    optimiser = optim.AdamW(model.parameters(), lr=optim.OneCycle(config.rate, steps), weight_decay=config.decay)
    test = nn.Batches(nn.Arrays(a[unseen][coarse], u[unseen][coarse]), min(config.batch, config.tested), device=run.device)
    trainer = nn.Trainer(
        model, optimiser, loss_of(config, y.shape[2]),
        nn.Batches(nn.Arrays(x, y), config.batch, seed=config.seed, device=run.device, transform=turned if config.symmetries else None),
        evaluate=lambda model: {"test error": nn.mean_loss(model, lambda model, x, y: nn.relative_l2(model(x), y), test.once())},
        evaluate_every=max(1, steps // 10), folder=run.path("training"), checkpoint_every=None)
    run.log(f"{model!r}, {steps} steps")
    run.train(trainer, steps)

    grids, found = {}, []
    for every in sorted({refine, 1}, reverse=True):
        part = (unseen, slice(None), slice(None, None, every), slice(None, None, every))
        answers = operators.predict(model, np.ascontiguousarray(a[part]), max(1, config.batch * every ** 2 // refine ** 2))
        errors = nn.relative_l2(answers, u[part], reduction="none").numpy()
        grids[f"{u[part].shape[2]} x {u[part].shape[3]}"] = errors
        run.log(f"{list(grids)[-1]} nodes: relative L2 error {errors.mean():.5f}, worst {errors.max():.5f}")
        run.facts[f"relative L2 error on {list(grids)[-1]} nodes"] = float(errors.mean())
        found.append((a[part][:, 0], u[part][:, 0], answers[:, 0], errors))
    run.facts["published: Li et al. 2021, section 5.2, 85 x 85 nodes, 1000 examples, 500 epochs"] = 0.0108
    rows = run.trained(trainer)
    (permeability, pressure, prediction, errors), step = found[0], 1.0 / (y.shape[2] - 1)
    run.results.write("test/error", errors, "", (io.Axis("example"),))
    for name, values in (("permeability", permeability), ("pressure", pressure), ("prediction", prediction)):
        run.results.write(f"test/{name}", values, "", (io.Axis("example"), io.Axis("y", "", step), io.Axis("x", "", step)))
    run.figure(plot.answers(permeability, pressure, prediction, errors, ("permeability", "pressure")), "answers")
    run.figure(course(rows, grids), "training")


def course(rows, grids):
    """Return a figure of the errors over the steps, and on the grids."""
    nodes, errors = [int(grid.split()[0]) for grid in grids], [errors.mean() for errors in grids.values()]
    return plot.curves(
        plot.training(rows, {"loss of the batch": "loss", "relative L2 error, unseen": "test error"}, "loss and error"),
        plot.Panel({"relative L2 error, unseen": (nodes, errors)}, ("nodes a side (trained on the fewest)", "relative L2 error, unseen"),
                   limits=(0.0, 1.3 * max(errors)), points=("relative L2 error, unseen",)),
        colours={"loss of the batch": "#b8b8b8", "relative L2 error, unseen": "#d1495b"}, widths=(2.0, 1.0))
