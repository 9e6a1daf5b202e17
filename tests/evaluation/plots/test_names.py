"""The names of SDEs in figures."""

import pytest

from score_sde.evaluation.plots.names import NAMES, name_of
from score_sde.experiments.tables import SDES
from score_sde.sdes import VPSDE, SubVPSDE


@pytest.mark.parametrize("key", SDES)
def test_every_sde_of_the_configs_has_a_name_without_underscores(key):
    name = NAMES[SDES[key]]
    assert "_" not in name and not name.endswith("SDE")


def test_the_sde_of_a_user_has_the_name_of_its_class():
    class OrnsteinUhlenbeck(VPSDE):
        pass

    assert name_of(OrnsteinUhlenbeck()) == "OrnsteinUhlenbeck"
    assert name_of(SubVPSDE()) == "sub-VP"
