#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the repository's root. torch brings CUDA's libraries itself;
# the node's driver is all that it needs besides.
set -euo pipefail
python -m pip install --requirement requirements.lock
python -m pip install --no-deps --editable .
python -c 'import torch; assert torch.version.cuda, "this torch is built without CUDA: pip was pointed at CPU builds"'
