#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the repository's root. torch is not in requirements.lock: it comes
# from where its CPU builds are, since on Linux the package registry's own brings CUDA.
set -euo pipefail
python -m pip install --require-hashes --no-deps --requirement requirements.lock
torch=$(sed -nE 's/^ *"(torch==[^"]+)",$/\1/p' pyproject.toml)
python -m pip install --extra-index-url https://download.pytorch.org/whl/cpu "$torch"
python -m pip install --no-deps --editable .
