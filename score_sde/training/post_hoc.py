"""Post-hoc EMA: power averages of any width, after training, as weighted sums of snapshots.

An average is the integral of the parameters along the run, weighted by its profile. The
EMA of another width is therefore approximated by the weighted sum of snapshots whose
profile is nearest to the wanted one. Karras et al. 2024, "Analyzing and Improving the
Training Dynamics of Diffusion Models", section 3.2 and appendix C.3.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from score_sde import checks
from score_sde.export.parameter_names import nested
from score_sde.training.ema import gamma_of
from score_sde.training.snapshots import Snapshot, find_snapshots, open_snapshot
from score_sde.typing import Params


class Fit(NamedTuple):
    """The weighted sum of profiles that is nearest to a wanted profile.

    Attributes:
        weights: The weight of each profile; their sum is one.
        residual: The L2 distance between the weighted sum and the wanted profile,
            relative to the L2 norm of the wanted profile.
    """

    weights: Float[np.ndarray, " n"]
    residual: float


class Reconstruction(NamedTuple):
    """An average computed after training.

    Attributes:
        params: The averaged parameters, as NumPy arrays in nested dictionaries.
        step: The number of updates.
        residual: The relative L2 distance between its profile and the wanted one, as in
            `Fit`.
        num_snapshots: The number of snapshots in the sum.
    """

    params: Params
    step: int
    residual: float
    num_snapshots: int


def reconstruct(folder: str | Path, *, sigma_rel: float, step: int | None = None) -> Reconstruction:
    """The power average of any width at a step, from the snapshots in a folder.

    It is most accurate at the steps of snapshots, for widths between theirs or close to
    them: the residual tells how accurate.

    Args:
        folder: The folder of the snapshots.
        sigma_rel: The wanted relative width, see `PowerEMA`.
        step: The number of updates; that of the last snapshot unless given.

    Raises:
        FileNotFoundError: Where there are no snapshots.
        ValueError: For a width or step outside its range, or where a snapshot is
            damaged.
    """
    gamma_of(sigma_rel)  # before anything is read
    snapshots = find_snapshots(folder)
    last = max(snapshot.step for snapshot in snapshots)
    step = last if step is None else step
    if not 1 <= step <= last:
        checks.fail("step", step, f"from 1 to {last}", f"the step of the last snapshot in {folder}")
    widths = [snapshot.sigma_rel for snapshot in snapshots]
    fit = fit_profile(
        [snapshot.step for snapshot in snapshots], widths, step=step, sigma_rel=sigma_rel
    )
    params = weighted_sum(snapshots, fit.weights)
    return Reconstruction(params, step, fit.residual, int(np.count_nonzero(fit.weights)))


def fit_profile(
    steps: Sequence[int], sigma_rels: Sequence[float], *, step: int, sigma_rel: float
) -> Fit:
    """The weights, of sum one, with which a sum of power profiles is nearest to a wanted
    profile in L2.

    Profiles are densities. Weights of another sum would scale parameters that hardly
    change along the run: at an L2 distance of 1e-2 that costs several times the accuracy.
    A profile that equals the wanted one has weight one.

    The profiles are functions of continuous time, ``p(t) = (gamma + 1) t^gamma / T^(gamma
    + 1)`` on [0, T], whose integrals over single steps are the weights of the updates.

    >>> fit = fit_profile([100, 100], [0.05, 0.1], step=100, sigma_rel=0.07)
    >>> fit.weights.round(2), round(fit.residual, 2)
    (array([0.48, 0.52]), 0.05)

    Args:
        steps: The last step T of each profile.
        sigma_rels: The relative width of each profile.
        step: The last step of the wanted profile.
        sigma_rel: The relative width of the wanted profile.
    """
    ends, gammas = np.array(steps, np.float64), np.array([gamma_of(width) for width in sigma_rels])
    end, gamma = np.float64(step), np.float64(gamma_of(sigma_rel))
    there = np.flatnonzero((ends == end) & (gammas == gamma))
    if len(there):
        return Fit(np.eye(len(ends))[there[0]], 0.0)
    # With profiles of norm one, the condition number depends on their angles alone.
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
    """The L2 inner product of two power profiles on [0, S] and [0, T], in closed form.

    ``int p q dt = (g + 1) (h + 1) / (g + h + 1) m^(g + h + 1) / (S^(g + 1) T^(h + 1))``
    with ``m = min(S, T)``, computed by logarithms, since powers such as ``S^1000``
    overflow.
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
    """The weighted sum of the parameters of snapshots, in float32 at least.

    It is computed in float64, and holds one tensor of one file at a time besides the sum.

    Raises:
        ValueError: Where a snapshot is damaged, or has other tensors than another.
    """
    sums: dict[str, np.ndarray] = {}
    types: dict[str, np.dtype] = {}
    containers = None
    for snapshot, weight in zip(snapshots, weights, strict=True):
        if weight == 0.0:
            continue
        with open_snapshot(snapshot.path) as file:
            checks.require(
                not sums or sums.keys() == set(file.names),
                f"{snapshot.path} has other tensors than the snapshots before it",
            )
            containers = file.containers
            for name in file.names:
                tensor = file.read(name)
                checks.require(
                    sums.get(name, tensor).shape == tensor.shape,
                    f"{snapshot.path} has a {name} of another shape than the snapshots before it",
                )
                sums[name] = sums.get(name, 0.0) + weight * tensor.astype(np.float64)
                # Version 0.1 wrote the snapshots of half-precision parameters in half precision.
                types.setdefault(
                    name, tensor.dtype if tensor.dtype.itemsize >= 4 else np.dtype(np.float32)
                )
    return nested({name: value.astype(types[name]) for name, value in sums.items()}, containers)


def _nearest(
    gram: Float[np.ndarray, "n n"],
    towards: Float[np.ndarray, " n"],
    masses: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """The ``x`` that minimises ``x gram x - 2 towards x`` subject to ``masses x = 1``, by
    its Lagrange equations.

    Of several minimisers, such as those of nearly equal profiles, it is the one of least
    norm.
    """
    scale = np.max(np.abs(masses))
    row = masses / scale
    matrix = np.block([[gram, row[:, None]], [row[None], np.zeros((1, 1))]])
    return np.linalg.lstsq(matrix, np.append(towards, 1 / scale), rcond=None)[0][:-1]
