"""Hybrids: a network inside a differentiable time loop, trained through the solver.

    step    = solver.stepper(0.05, viscosity=5e-3)                          # coarse: state (batch, channels, *space) to the next one
    model   = hybrid.Corrected(step, network)                               # one step of the hybrid, called like `step`
    pieces  = hybrid.Unrolls(reference, size=8, steps=hybrid.doubling(32, every=100))
    trainer = nn.Trainer(model, optim.Adam(model.parameters(), lr=1e-3), hybrid.TrajectoryLoss(nn.mse), pieces, clip=1.0)
    states  = hybrid.rollout(model, start, steps=500, every=10)             # (batch, 50, channels, *space)
    found   = hybrid.compare({"solver": step, "hybrid": model}, start, truth, turns=9)     # errors over time, cost of a step

Whatever takes a state to the next one can stand where `step` stands: a solver, a Corrected, a network alone.
"""
from hyperion.operators.hybrid.comparing import Outcome, compare
from hyperion.operators.hybrid.unrolling import Corrected, TrajectoryLoss, Unrolls, doubling, rollout, runge_kutta4

__all__ = ["Corrected", "Outcome", "TrajectoryLoss", "Unrolls", "compare", "doubling", "rollout", "runge_kutta4"]
