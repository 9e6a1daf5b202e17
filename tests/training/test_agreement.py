"""Real processes agree on their run and on when to stop."""

import pytest
from launched import finished, together

from score_sde.runtime.signals import StopRequest
from score_sde.training import check_agreement, device_mesh
from score_sde.training.agreement import StopVote

PROGRAM = """
import jax
from score_sde.runtime.processes import by_first, join_processes
from score_sde.runtime.signals import StopRequest
from score_sde.training import check_agreement, device_mesh
from score_sde.training.agreement import StopVote

join_processes()
index = jax.process_index()

def refuse():
    raise ValueError("the first says no")

check_agreement({"config": "a", "code": "b"})
try:
    check_agreement({"config": "a", "code": f"b{index}"})
except ValueError as error:
    print(error)
stop = StopRequest()
vote = StopVote(device_mesh(), stop)
found = []
for step in range(1, 7):
    if step == 3 and index == 1:
        stop.signum = 15
    found.append(vote.signum())
print(found)
by_first(lambda: print("only once") if index == 0 else print("wrong"))
try:
    by_first(refuse)
except ValueError as error:
    print(error)
"""


def test_one_process_agrees_with_itself_and_stops_at_once():
    check_agreement({"config": "a"})
    stop = StopRequest()
    vote = StopVote(device_mesh(), stop)
    assert vote.signum() is None
    stop.signum = 15
    assert vote.signum() == 15


@pytest.mark.slow
def test_two_processes_find_what_differs_and_stop_after_the_same_step():
    texts = [text for text, _ in finished(together("-c", PROGRAM, processes=2))]
    for text in texts:
        assert "the code of process 1 is not that of process 0\n" in text
        assert "[None, None, None, 15, 15, 15]\n" in text
    assert "only once" in texts[0] and "the first says no" in texts[0]
    assert (
        "wrong" not in texts[1] and "the first process has failed: its message says why" in texts[1]
    )
