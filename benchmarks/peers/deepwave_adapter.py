"""deepwave's `scalar` and `elastic` computed by Hyperion: what its published tests need to run against our solver.

Same arguments and results as deepwave 0.1: amplitudes are values added at a cell, not densities; results are the fields after the last
step, without layer and memory variables, then the gathers. Gradients go through `hyperion.interop`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import hyperion as hp
from hyperion import interop, pde

LEAST = 36                                              # nodes along an axis


def scalar(v: torch.Tensor, grid_spacing: Any, dt: float, source_amplitudes: torch.Tensor | None = None,
           source_locations: torch.Tensor | None = None, receiver_locations: torch.Tensor | None = None, *, accuracy: int = 4,
           pml_width: Any = 20, max_vel: float | None = None, nt: int | None = None, **others: Any) -> tuple[torch.Tensor, ...]:
    """Return (pressure after the last step, gathers)."""
    refuse(others)
    spacing = spacings(grid_spacing, v.ndim)
    v, inside = widened(v)
    grid = pde.Grid(tuple(v.shape), spacing)
    speed = float(max_vel or v.abs().max())
    wave = pde.Solver(pde.Acoustic(), grid, order=accuracy, boundary=boundary(pml_width, v.ndim), stepping=pde.Leapfrog(max_speed=speed))
    amplitudes = zeros(v, nt) if source_amplitudes is None else source_amplitudes
    sent = corner(v.ndim) if source_locations is None else source_locations
    heard = corner(v.ndim, len(amplitudes)) if receiver_locations is None else receiver_locations
    places = [metres(x, spacing, inside) for x in (sent, heard)]

    def gathers(speed: hp.Tensor, samples: hp.Tensor) -> hp.Tensor:
        return wave.solve(pde.Survey(*places, pde.Wavelet(samples * -float(np.prod(spacing)), dt)), speed=speed)

    survey = pde.Survey(*places, pde.Wavelet(-amplitudes.detach().numpy() * float(np.prod(spacing)), dt))
    last = final(wave, survey, speed=v.detach().numpy())
    return torch.as_tensor(last["p"][:, *inside]), interop.to_torch(gathers)(v, amplitudes)


def elastic(lamb: torch.Tensor, mu: torch.Tensor, buoyancy: torch.Tensor, grid_spacing: Any, dt: float, *, accuracy: int = 4,
            pml_width: Any = 20, max_vel: float | None = None, nt: int | None = None, **points: Any) -> tuple[torch.Tensor, ...]:
    """Return (velocities, stresses, gathers of pressure and of the velocities along z, y and x, as far as there are such axes)."""
    ndim, spacing = lamb.ndim, spacings(grid_spacing, lamb.ndim)
    free = vacuum(lamb)
    kept = tuple(slice(int(low), -1 if high else None) for low, high in free)
    (lamb, inside), (mu, _), (buoyancy, _) = (widened(x[kept], free) for x in (lamb, mu, buoyancy))
    material = materials(lamb, mu, buoyancy)
    # The surface lies half a cell from the row of vacuum there, on the outermost nodes here.
    shift = np.array([int(low) - part.start + 0.5 * (int(high) - int(low)) for (low, high), part in zip(free, inside, strict=True)])
    grid = pde.Grid(tuple(material["density"].shape), spacing)
    sides = boundary(pml_width, ndim, free)
    names = ("z", "y", "x")[3 - ndim:]
    ours = dict(zip(names, {1: ("z",), 2: ("z", "x"), 3: names}[ndim], strict=True))
    sources = {k: (points.pop(f"source_amplitudes_{k}", None), points.pop(f"source_locations_{k}", None)) for k in (*names, "p")}
    receivers = {k: points.pop(f"receiver_locations_{k}", None) for k in (*names, "p")}
    refuse(points)
    given = {k: (f, at) for k, (f, at) in sources.items() if f is not None} or {"p": (zeros(lamb, nt), corner(ndim))}
    equation = pde.Elastic(ndim=ndim)
    half = {k: 0.5 * np.eye(ndim)[names.index(k)] for k in names} | {"p": np.zeros(ndim)}
    field = {k: f"v{ours[k]}" for k in names} | {"p": "pressure"}
    wave = pde.Solver(equation, grid, order=accuracy, boundary=sides, stepping=pde.Leapfrog(max_speed=max_vel))
    values = {k: x.detach().numpy() for k, x in material.items()}

    def survey(kind: str, hears: str, at: torch.Tensor) -> pde.Survey:
        amplitudes, sent = given[kind]
        wavelet = pde.Wavelet(amplitudes.detach().numpy() * float(np.prod(spacing)), dt)
        places = [(x.numpy() - shift + half[k]) * spacing for k, x in ((kind, sent), (hears, at))]
        return pde.Survey(*places, wavelet, source_field=field[kind], receiver_field=field[hears])

    def heard(k: str) -> torch.Tensor:
        if receivers[k] is None:
            return torch.empty(0)
        return torch.as_tensor(sum(wave.solve(survey(kind, k, receivers[k]), **values).numpy() for kind in given))

    parts = [final(wave, survey(kind, kind, at), **values) for kind, (_, at) in given.items()]
    stresses = [f"s{ours[b]}{ours[a]}" for i, b in enumerate(names) for a in names[i:]]       # zz, yz, xz, yy, xy, xx
    fields = [torch.as_tensor(sum(part[f] for part in parts)[:, *inside]) for f in [*(field[k] for k in names), *stresses]]
    return (*fields, *(heard(k) for k in ("p", *names)))


def materials(lamb: torch.Tensor, mu: torch.Tensor, buoyancy: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return speeds and density."""
    return {"p_speed": ((lamb + 2.0 * mu) * buoyancy).sqrt(), "s_speed": (mu * buoyancy).sqrt(), "density": 1.0 / buoyancy}


def final(wave: pde.Solver, survey: pde.Survey, **values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields after the last step of every shot, (shots, *grid)."""
    last: list[dict[str, np.ndarray]] = []
    for shot in range(survey.shots):
        one = survey.subset([shot])
        every = wave.plan(one, **values).steps - 1
        last.append([fields for _, _, fields in wave.snapshots(one, every, **values)][-1])
    return {f: np.stack([x[f] for x in last]) for f in last[0]}


def vacuum(lamb: torch.Tensor) -> list[tuple[bool, bool]]:
    """Return the sides on which the outermost cells hold nothing: deepwave's free surface."""
    return [(not lamb.select(k, 0).any(), not lamb.select(k, -1).any()) for k in range(lamb.ndim)]


def boundary(width: Any, ndim: int, free: Sequence[tuple[bool, bool]] | None = None) -> pde.Boundary:
    """Return a layer of one width, and free surfaces where there is vacuum."""
    widths = {int(w) for w in (width if isinstance(width, Sequence) else [width]) if w}
    layer = pde.CPML(widths.pop() if widths else 0)
    names = (("top", "bottom"), ("front", "back"), ("left", "right"))[::2 if ndim < 3 else 1][:ndim]
    there = zip((n for pair in names for n in pair), (side for pair in free or [] for side in pair), strict=False)
    surfaces = {name: pde.FreeSurface() for name, side in there if side}
    return pde.Sides(layer, **surfaces) if surfaces else layer


def spacings(given: Any, ndim: int) -> tuple[float, ...]:
    """Return the spacing of every axis."""
    values = [float(x) for x in given] if isinstance(given, Sequence | torch.Tensor | np.ndarray) else [float(given)]
    return tuple(values * ndim if len(values) == 1 else values)


def widened(x: torch.Tensor, free: Sequence[tuple[bool, bool]] | None = None) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Return a model continued beyond its edges where it has fewer nodes than Hyperion's layer wants, and where it lies in that.

    deepwave's tests have models of 4 nodes.
    """
    inside: list[slice] = []
    for axis, (low, high) in enumerate(free or [(False, False)] * x.ndim):
        n = x.shape[axis]
        more = 2 * (max(0, LEAST - n + 1) // 2)        # even: what was symmetric stays so
        before = 0 if low else more if high else more // 2
        index = torch.arange(n + more).sub(before).clamp(0, n - 1)
        x, inside = x.index_select(axis, index), [*inside, slice(before, before + n)]
    return x, tuple(inside)


def metres(locations: torch.Tensor, spacing: tuple[float, ...], inside: tuple[slice, ...]) -> np.ndarray:
    """Return positions of cells."""
    return (locations.numpy() + np.array([part.start for part in inside])) * np.array(spacing)


def zeros(like: torch.Tensor, steps: int | None) -> torch.Tensor:
    """Return silence."""
    assert steps is not None
    return torch.zeros(1, 1, steps, dtype=like.dtype)


def corner(ndim: int, shots: int = 1) -> torch.Tensor:
    """Return the first cell."""
    return torch.zeros(shots, 1, ndim, dtype=torch.long)


def refuse(others: dict[str, Any]) -> None:
    """Raise for arguments that say something: backends and defaults do not."""
    said = {k for k, x in others.items() if x is not None} - {"python_backend", "model_gradient_sampling_interval", "pml_freq"}
    if said:
        raise NotImplementedError(f"not in this adapter: {', '.join(sorted(said))}")
