"""Tokens a second of a training step, against the same model with torch's fused attention and torch's settings.

    python tests/benchmarks/train.py [--json FILE]

Both run in processes of their own, in turn, on one thread; losses are compared first. Prints medians and ratios.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHAPES = {
    "attn-1l": {"n_layers": 1},
    "attn-2l": {"n_layers": 2},
    "mlp-2l": {"n_layers": 2, "d_mlp": 512},
}
ROUNDS, STEPS = 3, 12


def run(shape, ours):
    """Train a few steps in this process; return tokens a second and the losses."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from induction.models import transformer
    from induction.models.cpu import prepare_cpu
    from induction.study.config import ModelFields
    from induction.study.study import Model
    from induction.train.plain import PlainEngine

    torch.set_num_threads(1)
    if ours:
        prepare_cpu()
    else:

        def fused(q, k, v, mask, **_):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True), None

        transformer.attend = fused
    model = Model("m", "f", "l", ModelFields(**SHAPES[shape]), vocab_size=1024)
    engine = PlainEngine(model.architecture, model.recipe(0)["settings"], "cpu")
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 1024, (4, 513), generator=generator) for _ in range(STEPS)]
    losses, seconds = [], []
    for batch in batches:
        began = time.perf_counter()
        losses.append(engine.step(batch, 1.0).loss)
        seconds.append(time.perf_counter() - began)
    return {"tokens_per_second": 2048 / statistics.median(seconds[2:]), "losses": losses}


def parts():
    """Time attention of one layer, forward and backward, and a float32 product, each against torch's own."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from induction.models.cpu import prepare_cpu
    from induction.models.transformer import attend

    torch.set_num_threads(1)
    a, b = torch.randn(2048, 1024), torch.randn(1024, 1024)
    torch_product = median_seconds(lambda: a @ b)
    prepare_cpu()
    own_product = median_seconds(lambda: a @ b)
    q, k, v = (torch.randn(4, 4, 512, 32, requires_grad=True) for _ in range(3))
    gradient = torch.randn(4, 4, 512, 32)
    own_attention = median_seconds(lambda: attend(q, k, v, None)[0].backward(gradient))
    fused = median_seconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(gradient))
    flops = 2 * 2048 * 1024 * 1024
    print(
        f"attention of a layer, forward and backward: {1e3 * own_attention:.1f} ms, torch's fused {1e3 * fused:.1f} ms"
    )
    print(
        f"float32 product: {flops / own_product / 1e9:.0f} GFLOP/s, torch's setting {flops / torch_product / 1e9:.0f}"
    )


def median_seconds(work):
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(args.run[0], args.run[1] == "ours")))
        return
    print(f"{platform.machine()}, {platform.processor() or platform.system()}, Python {platform.python_version()}")
    parts()
    results = {}
    for shape in SHAPES:
        speeds = {"ours": [], "peer": []}
        losses = {}
        for _ in range(ROUNDS):
            for who, found in speeds.items():
                command = [sys.executable, __file__, "--run", shape, who]
                said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                found.append(said["tokens_per_second"])
                losses[who] = said["losses"]
        difference = max(abs(a - b) for a, b in zip(losses["ours"][:3], losses["peer"][:3], strict=True))
        ours, peer = statistics.median(speeds["ours"]), statistics.median(speeds["peer"])
        results[shape] = {"ratio": ours / peer, "ours": ours, "peer": peer, "max_abs_difference": difference}
        print(
            f"{shape}: {ours:,.0f} tokens/s, fused attention and torch's settings {peer:,.0f}: "
            f"{ours / peer:.2f} times as fast (losses of the first 3 steps within {difference:.0e})"
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
