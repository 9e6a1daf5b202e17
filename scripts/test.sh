#!/usr/bin/env bash
# Runs the tests on a fresh machine: installs what they need into .venv, then lints, checks types and tests.
#   scripts/test.sh            the fast tier
#   scripts/test.sh --slow     everything
#   scripts/test.sh ARGS...    other arguments go to pytest
# PYTHON=python3.13 chooses an interpreter for a new .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
install_project ".[test]"

marks=(-m "not slow")
if [ "${1:-}" = --slow ]; then
    marks=()
    shift
fi
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m pyright
.venv/bin/python -m pytest --doctest-modules score_sde -q
.venv/bin/python -m pytest -n 2 --dist loadfile "${marks[@]}" --durations=15 "$@"
