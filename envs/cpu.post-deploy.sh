#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the repository's root. torch comes first, from where its CPU
# builds are: on Linux the package registry's own brings CUDA.
set -euo pipefail
torch=$(grep '^torch==' requirements.lock)
python -m pip install --extra-index-url https://download.pytorch.org/whl/cpu "$torch"
python -m pip install --requirement requirements.lock
python -m pip install --no-deps --editable .
