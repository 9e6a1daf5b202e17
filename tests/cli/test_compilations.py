"""The programs that a command compiles: each costs a trace, a compilation or a read of the
cache, and many small ones cost more than the samples.
"""

import subprocess
import sys

import jax
import pytest
import tiny
from launched import ROOT

COMPILED = "/jax/core/compile/backend_compile_duration"
"""An event of every program, also of one that the compilation cache holds."""


@pytest.fixture
def programs():
    """The names of the programs compiled during a test, which starts with none."""
    found = []

    def note(event, duration_secs, **about):
        if event == COMPILED:
            found.append(about["fun_name"])

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)


COMMANDS = {
    "sample of images": (12, "digits", "sample --num_samples=8"),
    "sample by tables": (16, "digits", "sample --num_samples=8 --sampler=default"),
    "likelihood": (9, "toy", "likelihood --num_examples=8"),
    "encode": (10, "toy", "encode --num_examples=8"),
    "export": (2, "toy", "export --output=exported"),
}
"""The largest number of programs, the trained run, and the arguments."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_compiles_few_programs(name, programs, tmp_path, monkeypatch):
    most, run, arguments = COMMANDS[name]
    workdir = tiny.copy_of({"digits": tiny.digits_run, "toy": tiny.toy_run}[run](), tmp_path)
    monkeypatch.chdir(tmp_path)
    command, *flags = arguments.split()
    jax.clear_caches()
    programs.clear()
    tiny.run(command, f"--workdir={workdir}", *flags)
    assert len(programs) <= most, "\n".join([f"{len(programs)} programs:", *programs])


def test_training_compiles_few_programs_before_its_first_step(programs, tmp_path):
    file = tiny.config_file(tiny.TOY, tmp_path)
    tiny.run("train", f"--config={file}", f"--workdir={tmp_path}", "--config.training.num_steps=1")
    first = programs.index("jit(steps)")
    assert first <= 10, "\n".join([f"{first} programs:", *programs[:first]])


TWICE = """
import sys
import jax
from score_sde.cli import main
assert main(sys.argv[1:]) == 0
jax.clear_caches()
found = []
jax.monitoring.register_event_listener(lambda event, **about: found.append(event))
assert main(sys.argv[1:]) == 0
events = "compile_requests_use_cache", "cache_hits"
print(*(found.count(f"/jax/compilation_cache/{event}") for event in events))
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "encode"])
def test_the_cache_holds_every_program(command, tmp_path, monkeypatch):
    """Programs with callbacks to Python would not be there: see `_set_compilation_cache`."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    monkeypatch.setenv("PYTHONPATH", ROOT)
    workdir = tiny.copy_of(tiny.digits_run(), tmp_path)
    child = [sys.executable, "-c", TWICE, command, f"--workdir={workdir}"]
    said = subprocess.run(child, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    programs, hits = map(int, said.stdout.splitlines()[-1].split())
    assert programs == hits > 0
