"""What a user waits for before anything runs: `induction --help` and `snakemake -n`, against `import torch`.

    python tests/benchmarks/startup.py

From the repository's root; prints medians of five runs and ratios.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
    "induction --help": [str(BIN / "induction"), "--help"],
    "snakemake -n": [str(BIN / "snakemake"), "-n", "--quiet"],
}


def seconds(command):
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    medians = {name: statistics.median(seconds(command) for _ in range(5)) for name, command in COMMANDS.items()}
    peer, *ours = medians
    print(f"{peer}: {medians[peer]:.2f} s")
    for name in ours:
        print(f"{name}: {medians[name]:.2f} s, {medians[name] / medians[peer]:.2f} times the peer")
