"""The names of SDEs in figures."""

from collections.abc import Mapping

from score_sde.sdes import (
    EDMSDE,
    SDE,
    VESDE,
    VPSDE,
    BrownianMotion,
    CosineSDE,
    DiscreteVPSDE,
    RectifiedFlowSDE,
    SubVPSDE,
)

NAMES: Mapping[type[SDE], str] = {
    VPSDE: "VP",
    SubVPSDE: "sub-VP",
    VESDE: "VE",
    EDMSDE: "EDM",
    CosineSDE: "cosine",
    RectifiedFlowSDE: "rectified flow",
    BrownianMotion: "Brownian motion",
    DiscreteVPSDE: "discrete VP",
}


def name_of(sde: SDE) -> str:
    """The name of an SDE in the literature; of other SDEs, the name of their class.

    >>> import score_sde as ss
    >>> name_of(ss.SubVPSDE())
    'sub-VP'
    """
    return NAMES.get(type(sde), type(sde).__name__)
