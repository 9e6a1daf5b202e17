"""The fuzz of the readers: a few cases of each, and what it calls a fault."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz.py"

FAST = (
    "torch,flax,reference "
    "config,npz,npy,idx,cifar10,svhn,tfrecords,folder,faces,celeba,imagenet,metrics"
)
FAST += ",pieces,flipped pieces,headers of pieces,losses,lsun"
"""Readers that build no network."""

HOSTILE = """
import os, sys, time
sys.path.insert(0, {scripts!r})
import fuzz
from fuzz_targets import Target

def write(rng, folder):
    (folder / "a").write_bytes(b"x")

def several_lines(folder):
    raise ValueError("one\\ntwo")

def memory(folder):
    return len(b"x" * 2 * 10**8)

READS = {{
    "loaded": lambda folder: None,
    "refused": lambda folder: [][0] if not folder.exists() else (_ for _ in ()).throw(ValueError("wrong")),
    "other error": lambda folder: [][0],
    "several lines": several_lines,
    "hang": lambda folder: time.sleep(60),
    "memory": memory,
    "outside": lambda folder: (folder.parent / "b").write_bytes(b""),
    "command": lambda folder: os.system("true"),
    "code": lambda folder: __import__("fuzz_canary"),
    "signal": lambda folder: os.kill(os.getpid(), 11),
}}
fuzz.GROWTH = 10**8
for name, read in READS.items():
    fuzz.TARGETS[name] = Target(write, read)
    print(name, *fuzz.run_case(name, 0, 0, timeout=30.0 if name != "hang" else 1.0), sep=": ")
"""  # noqa: E501


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of processes in /proc")
def test_a_few_cases_of_each_reader_are_loaded_or_refused():
    command = [sys.executable, str(SCRIPT), "--cases=2", "--seed=0", f"--readers={FAST}"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.splitlines()[-1].split()[:2] == ["all", str(2 * len(FAST.split(",")))]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of processes in /proc")
def test_each_kind_of_fault_is_found():
    code = HOSTILE.format(scripts=str(SCRIPT.parent))
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    lines = dict(line.split(": ", 1) for line in found.stdout.splitlines())
    assert lines.pop("loaded").startswith("loaded"), found.stderr
    assert lines.pop("refused") == "refused: wrong"
    expected = {
        "other error": "IndexError",
        "several lines": "2 lines",
        "hang": "more than 1 seconds",
        "memory": "GB of memory",
        "outside": "outside of its folder",
        "command": "runs a command",
        "code": "imports or runs code",
        "signal": "SIGSEGV",
    }
    assert lines.keys() == expected.keys()
    for name, reason in expected.items():
        assert lines[name].startswith("fault") and reason in lines[name], (name, lines[name])
