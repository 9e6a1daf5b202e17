#!/usr/bin/env bash
# From nothing to digits: installs into .venv, trains a small score model on real images, samples it, computes its
# likelihood, and draws figures, all under runs/quickstart/.  PYTHON=python3.13 chooses an interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
install_project "."

workdir=runs/quickstart
.venv/bin/score-sde train --config=configs/digits/vp.py --workdir="$workdir" "$@" \
    then sample --workdir="$workdir" \
    then likelihood --workdir="$workdir" \
    then plot --workdir="$workdir"
