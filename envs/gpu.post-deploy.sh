#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the repository's root. torch brings CUDA's libraries itself;
# the node's driver is all that it needs besides.
set -euo pipefail
python -m pip install --require-hashes --no-deps --requirement requirements.lock
torch=$(sed -nE 's/^ *"(torch==[^"]+)",$/\1/p' pyproject.toml) # not in requirements.lock; see the Makefile
python -m pip install "$torch"
python -m pip install --no-deps --editable .
python -c 'import torch; assert torch.version.cuda, "this torch is built without CUDA: pip was pointed at CPU builds"'
