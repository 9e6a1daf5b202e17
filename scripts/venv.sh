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
    # Python makes the byte code of a file when it first imports it, unless it may not; most files are never imported.
    local options=(--no-compile --quiet -c scripts/constraints.txt -e "$1")
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || options[0]=--compile
    if command -v uv > /dev/null; then
        uv pip install --python .venv/bin/python "${options[@]}"
    else
        .venv/bin/python -m pip install --disable-pip-version-check "${options[@]}"
    fi
}
