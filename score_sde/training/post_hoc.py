"""Averages of other widths after training: weighted sums of the snapshots of power
averages, as in EDM2.

The average of the wanted width is the integral of the parameters along the run under
its profile, and so is each snapshot under its own; so the sum of snapshots whose
profile is nearest to the wanted one stands for it. Karras et al. 2024, "Analyzing and
Improving the Training Dynamics of Diffusion Models", section 3.2 and appendix C.3.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from score_sde.export.tensor_file import nested
from score_sde.training.ema import gamma_of
from score_sde.training.snapshots import Snapshot, find_snapshots, open_snapshot
from score_sde.typing import Params


class Fit(NamedTuple):
    """The sum of profiles that is nearest to a wanted one.

    Attributes:
        weights: That of each profile; their sum is one.
        residual: The distance of the sum from the wanted profile in L2, relative to the
            norm of that.
    """

    weights: Float[np.ndarray, " n"]
    residual: float


class Reconstruction(NamedTuple):
    """An average that was not tracked.

    Attributes:
        params: The averaged parameters, as NumPy arrays in nested dictionaries.
        step: After how many updates.
        residual: How far its profile is from the wanted one, as in `Fit`.
        num_snapshots: Of how many snapshots it is the sum.
    """

    params: Params
    step: int
    residual: float
    num_snapshots: int


def reconstruct(folder: str | Path, *, sigma_rel: float, step: int | None = None) -> Reconstruction:
    """The power average of a width at a step, from the snapshots in a folder.

    Good are the steps of snapshots, and widths between those of them or near: see the
    residual.

    Args:
        folder: Where the snapshots are.
        sigma_rel: The wanted relative width.
        step: After how many updates; that of the last snapshot unless given.

    Raises:
        FileNotFoundError: Where there are no snapshots.
        ValueError: In one line, for a width or a step that cannot be, or where a
            snapshot is damaged.
    """
    gamma_of(sigma_rel)  # before anything is read
    snapshots = find_snapshots(folder)
    last = max(snapshot.step for snapshot in snapshots)
    step = last if step is None else step
    if not 1 <= step <= last:
        raise ValueError(
            f"the step must be from 1 to {last}, that of the last snapshot in {folder}, not {step}"
        )
    widths = [snapshot.sigma_rel for snapshot in snapshots]
    fit = fit_profile(
        [snapshot.step for snapshot in snapshots], widths, step=step, sigma_rel=sigma_rel
    )
    params = weighted_sum(snapshots, fit.weights)
    return Reconstruction(params, step, fit.residual, int(np.count_nonzero(fit.weights)))


def fit_profile(
    steps: Sequence[int], sigma_rels: Sequence[float], *, step: int, sigma_rel: float
) -> Fit:
    """The weights with which power profiles come nearest to a wanted one in L2, among
    those whose sum is one.

    All are densities, so their sum has to have the weight one too: else the sum of the
    snapshots would shrink or swell parameters that hardly move, which at a distance of
    1e-2 in L2 costs several times the accuracy. A profile that is there is taken as it
    is.

    The profiles are those of continuous time, ``p(t) = (gamma + 1) t^gamma / T^(gamma +
    1)`` on [0, T]. The weights of a run's single updates are their integrals over its
    steps, and what is near in the one sense is so in the other.

    Args:
        steps: The last step T of each profile.
        sigma_rels: The relative width of each.
        step: The last step of the wanted one.
        sigma_rel: Its relative width.
    """
    ends, gammas = np.array(steps, np.float64), np.array([gamma_of(width) for width in sigma_rels])
    end, gamma = np.float64(step), np.float64(gamma_of(sigma_rel))
    there = np.flatnonzero((ends == end) & (gammas == gamma))
    if len(there):
        return Fit(np.eye(len(ends))[there[0]], 0.0)
    # Profiles of norm one, for a matrix whose condition is that of their directions
    # alone.
    norms = np.sqrt(inner_product(ends, gammas, ends, gammas))
    gram = inner_product(ends[:, None], gammas[:, None], ends, gammas) / norms / norms[:, None]
    square = inner_product(end, gamma, end, gamma)
    towards = inner_product(ends, gammas, end, gamma) / norms / np.sqrt(square)
    scaled = _nearest(gram, towards, 1 / norms * np.sqrt(square))
    distance = 1 - 2 * scaled @ towards + scaled @ gram @ scaled
    return Fit(scaled / norms * np.sqrt(square), float(np.sqrt(max(distance, 0.0))))


def inner_product(
    ends: Float[np.ndarray, "*a"] | np.float64,
    gammas: Float[np.ndarray, "*a"] | np.float64,
    other_ends: Float[np.ndarray, "*b"] | np.float64,
    other_gammas: Float[np.ndarray, "*b"] | np.float64,
) -> Float[np.ndarray, "*c"] | np.float64:
    """The integral of the product of two power profiles of continuous time, in closed form.

    ``int p q dt = (g + 1) (h + 1) / (g + h + 1) m^(g + h + 1) / (S^(g + 1) T^(h + 1))``
    where ``m = min(S, T)``, by the logarithm of each factor, for powers such as
    ``S^1000`` overflow.
    """
    shorter = np.minimum(ends, other_ends)
    factor = (
        np.log1p(gammas)
        + np.log1p(other_gammas)
        - np.log1p(gammas + other_gammas)
        - np.log(shorter)
    )
    powers = (gammas + 1) * np.log(shorter / ends) + (other_gammas + 1) * np.log(
        shorter / other_ends
    )
    return np.exp(factor + powers)


def weighted_sum(snapshots: Sequence[Snapshot], weights: Float[np.ndarray, " n"]) -> Params:
    """The sum of the parameters of snapshots, in float64, one tensor of one file after the other.

    The result is of float32 at least.

    Raises:
        ValueError: Where a snapshot is damaged, or has other tensors than the others.
    """
    sums: dict[str, np.ndarray] = {}
    types: dict[str, np.dtype] = {}
    for snapshot, weight in zip(snapshots, weights, strict=True):
        if weight == 0.0:
            continue
        with open_snapshot(snapshot.path) as file:
            if sums and sums.keys() != set(file.names):
                raise ValueError(f"{snapshot.path} has other tensors than the snapshots before it")
            for name in file.names:
                tensor = file.read(name)
                if sums.get(name, tensor).shape != tensor.shape:
                    raise ValueError(
                        f"{snapshot.path} has a {name} of another shape than the snapshots before "
                        "it"
                    )
                sums[name] = sums.get(name, 0.0) + weight * tensor.astype(np.float64)
                # Snapshots of earlier versions may be in half precision.
                types.setdefault(
                    name, tensor.dtype if tensor.dtype.itemsize >= 4 else np.dtype(np.float32)
                )
    return nested({name: value.astype(types[name]) for name, value in sums.items()})


def _nearest(
    gram: Float[np.ndarray, "n n"],
    towards: Float[np.ndarray, " n"],
    masses: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """The ``x`` that minimises ``x gram x - 2 towards x`` where ``masses x = 1``, by
    its Lagrange equations.

    The shortest one, where profiles are so near to each other that many do as well.
    """
    scale = np.max(np.abs(masses))
    row = masses / scale
    matrix = np.block([[gram, row[:, None]], [row[None], np.zeros((1, 1))]])
    return np.linalg.lstsq(matrix, np.append(towards, 1 / scale), rcond=None)[0][:-1]
