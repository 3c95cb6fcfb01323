#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the repository's root.
set -euo pipefail
python -m pip install --requirement requirements.lock
python -m pip install --no-deps --editable .
