#!/bin/sh
# Checks this code on one GPU: are its numbers those of the CPU, how fast is it, does memory fit the plan, does a phase
# change come. Under 10 minutes, without a network. It prints a table and writes check.json.
#
#   tests/gpu/check.sh [--wheels FOLDER] [options of check.py]
#
#   --wheels FOLDER   wheels of modules that this machine's Python lacks; they are unpacked beside, nothing is installed
#   --out FILE        JSON to write, as the check goes (check.json)
#   --only NAME ...   only these sections
#   --device cpu --quick   the dry run: every section with tiny sizes, on the CPU
#
# PYTHON names another interpreter than python3. Exit status: 0, all passed; 1, something did not; 2, it cannot run.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$(dirname -- "$here")")
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo "check.sh: $python is not there; set PYTHON" >&2; exit 2; }

unpacked=
trap 'test -z "$unpacked" || rm -rf "$unpacked"' EXIT
if [ "${1:-}" = --wheels ]; then
    [ $# -ge 2 ] && [ -d "$2" ] || { echo "check.sh: --wheels: ${2:-nothing} is no folder" >&2; exit 2; }
    unpacked=$(mktemp -d)
    for wheel in "$2"/*.whl; do
        [ -f "$wheel" ] || { echo "check.sh: --wheels: no wheel lies in $2" >&2; exit 2; }
        "$python" -m zipfile -e "$wheel" "$unpacked"
    done
    shift 2
fi
PYTHONPATH="$root/src:$root/tests${unpacked:+:$unpacked}${PYTHONPATH:+:$PYTHONPATH}" "$python" "$here/check.py" "$@"
