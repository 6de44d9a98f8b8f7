# Sourced by quickstart.sh and run_tests.sh: an environment with this package installed.
#
# Uses the active virtual environment, or makes one in .venv; installs the package with the extras
# named as arguments, editable, unless the same has been installed there before.

if [ -z "${VIRTUAL_ENV:-}" ]; then
    [ -x .venv/bin/pip ] || "${PYTHON:-python3}" -m venv .venv
    . .venv/bin/activate
fi

# the same if neither what is asked for nor the place of the checkout has changed
extras=$(IFS=,; echo "$*")
wanted="$(cat setup.py requirements/*.txt | cksum) $PWD"
mark="$VIRTUAL_ENV/.aekt_mm-$extras"
if [ "$(cat "$mark" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing aekt_mm with its requirements into $VIRTUAL_ENV (minutes the first time) ..."
    python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
    echo "$wanted" > "$mark"
fi
