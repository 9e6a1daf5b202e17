"""Processes join each other, or say in one line why they cannot."""

import pytest

from score_sde.runtime.processes import join_processes


def test_the_error_of_a_launcher_without_an_address_names_the_variable(monkeypatch):
    def initialize():
        raise ValueError(
            "coordinator_address should be defined."
        )  # as jax does, in a process that has not begun

    monkeypatch.setattr("jax.distributed.initialize", initialize)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")  # Open MPI 5 sets this alone
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    with pytest.raises(ValueError, match=r"set JAX_COORDINATOR_ADDRESS=HOST:PORT$"):
        join_processes()
