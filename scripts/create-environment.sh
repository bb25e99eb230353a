#!/bin/sh
# create-environment.sh PYTHON FOLDER: a virtual environment with tunesmith and all it is tested with.
set -eu
python=$1
folder=$2

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    echo "error: $python is not Python 3.11, 3.12 or 3.13" >&2
    echo "  why: the pinned TVM has no wheel for another version" >&2
    echo "  fix: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if ! "$python" -m venv "$folder"; then
    echo "error: $python cannot make a virtual environment" >&2
    echo "  why: Debian and Ubuntu ship venv as a package of its own" >&2
    echo "  fix: apt install python3-venv" >&2
    exit 1
fi
echo "installing tunesmith and its tools into $folder (about 1 GB, a few minutes the first time)"
"$folder/bin/python" -m pip install --quiet --editable '.[dev,bench,cross]'
