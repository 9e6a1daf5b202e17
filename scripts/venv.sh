# Sourced by the other scripts: makes .venv, and installs into it what scripts/constraints.txt pins.
python=${PYTHON:-python3}

install_project() {  # $1: what to install, "." or ".[test]"
    if [ ! -x .venv/bin/python ]; then
        "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || {
            echo "score_sde needs Python 3.11, 3.12 or 3.13; '$python' is $("$python" -V 2>&1): set PYTHON=python3.x" >&2
            exit 2
        }
        "$python" -m venv .venv
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c scripts/constraints.txt -e "$1"
}
