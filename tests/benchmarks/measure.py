"""CPU time and memory of a measurement against TransformerLens 3.9.0, same weights and tokens, float32, one thread.

    python tests/benchmarks/measure.py [--only NAME …] [--json FILE] [--machine NAME]

Each side runs in processes of its own, in turn; TransformerLens with torch's settings and with ours, of which the
faster counts (with the paper's shapes, ours alone: they are the faster, and a run takes minutes). Where results differ,
the comparison stops. Prints the least CPU time of each side (user and system, of an example where a case has many), and
what is asked of their ratio.

Memory is counted twice. *Allocated*: the most bytes that tensors held at once, counted in torch's allocator: the same on
every machine. *Process*: by how much the process grew (Linux alone), with what libraries allocate for themselves. Weights
are touched first: those of a snapshot are memory-mapped, and a page counts as the process's only once it is read.

`--json` adds the results to those of other machines, in place of this machine's earlier ones of the same cases.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

# In place of this folder, where this file would hide the package of tests that is named like it.
sys.path[0] = str(Path(__file__).parents[1])


class Work(NamedTuple):
    """What is timed: it returns arrays by name. `n_examples`: by how many its seconds are divided.

    `parts`: what is timed besides, with its number of examples.
    """

    run: Callable[[], dict[str, Any]]
    n_examples: int = 1
    parts: Mapping[str, tuple[Callable[[], Any], int]] = MappingProxyType({})


class Case(NamedTuple):
    """What is compared: `tolerance`: how far results may differ (of 1, or of a value if it is greater).

    `asked`: what the ratio to the first peer must be; `heavy`: one round, one repetition.
    `shape`: of the model, where the arithmetic is told.
    """

    inputs: Callable[[Path], None]
    ours: Callable[[Path], Work]
    peers: dict[str, Callable[[Path], Work]]
    tolerance: float
    asked: float
    heavy: bool = False
    shape: Mapping[str, int] = MappingProxyType({})

    def sides(self):
        """Return the maker of each side's work and whether it has our settings, by the side's name."""
        sides = {"ours": (self.ours, True)}
        for name, peer in self.peers.items():
            sides |= {f"{name}, our settings": (peer, True)} | ({} if self.heavy else {name: (peer, False)})
        return sides


# --- heads: every score of every head, from a snapshot on disk ----------------------------------------------------


def heads_inputs(folder):
    """Write a snapshot of the demo's shape, and probes."""
    from measure.blocks import write_block

    generator = np.random.default_rng(0)
    drawn = np.stack([generator.permutation(np.arange(1, 1024))[:25] for _ in range(64)]).astype(np.int32)
    repeated = np.concatenate([np.zeros((32, 1), np.int32), np.tile(drawn[:32], 4)], axis=1)
    text = generator.integers(0, 1024, (32, 513)).astype(np.int32)
    np.savez(folder / "probes.npz", repeated=repeated, distinct=drawn[32:], text=text)
    model = random_model(n_layers=2, d_model=128, n_heads=4, d_head=32, vocab_size=1024, n_ctx=512)
    write_block(folder, {0: model})
    save_for_peer(folder, model)


def heads_ours(folder):
    """Return the work of our side: read the snapshot, score its heads."""
    from induction.measure.heads import HeadProbes, score_heads
    from induction.models.snapshots import open_snapshots

    probes = HeadProbes(**np.load(folder / "probes.npz"), period=25)

    def work():
        (snapshot,) = open_snapshots(folder / "block-0.json")
        return score_heads(snapshot.model, probes)

    return Work(work)


def heads_peer(folder):
    """Return the same with TransformerLens: cached patterns and mixes of the layers, its circuits as factored matrices.

    Sequences go through the model four at a time: faster here than all at once.
    """
    import torch

    from induction.measure.circuits import _chance
    from induction.measure.heads import copying, prefix_matching, previous_token

    probes = {name: torch.from_numpy(tokens).long() for name, tokens in np.load(folder / "probes.npz").items()}
    model = peer_model(folder)
    n_layers = model.cfg.n_layers

    def cached(tokens_BT, *names):
        wanted = {f"blocks.{layer}.attn.hook_{name}" for layer in range(n_layers) for name in names}
        for some_BT in tokens_BT.split(4):
            _, cache = model.run_with_cache(
                some_BT, names_filter=wanted.__contains__, stop_at_layer=n_layers, return_type=None
            )
            yield some_BT, cache

    def over_layers(score, tokens_BT):
        scores = [
            torch.stack([score(cache["pattern", layer]) for layer in range(n_layers)], 1)
            for _, cache in cached(tokens_BT, "pattern")
        ]
        return torch.cat(scores).mean(0)

    def copying_scores():
        unembed_DV = model.ln_final.w[:, None] * model.W_U
        mean_D = unembed_DV.mean(1)
        batches = []
        for tokens_BT, cache in cached(probes["distinct"], "pattern", "z"):
            centred_BDT = (unembed_DV[:, tokens_BT] - mean_D[:, None, None]).transpose(0, 1)
            layers = []
            for layer in range(n_layers):
                result_BHQD = cache["z", layer].transpose(1, 2) @ model.blocks[layer].attn.W_O
                result_BHQD -= result_BHQD.mean(-1, keepdim=True)
                rise_BHQT = (result_BHQD @ centred_BDT[:, None]).relu()
                layers.append(torch.stack(copying(cache["pattern", layer], rise_BHQT)))
            batches.append(torch.stack(layers, 2))
        return torch.cat(batches, 1).mean(1)

    def fold():
        """Fold the LayerNorms into the matrices that read them, in place: the next snapshot is loaded over them."""
        for weight, norm in [(model.unembed.W_U, model.ln_final)] + [
            (getattr(block.attn, name), block.ln1) for block in model.blocks for name in ("W_Q", "W_K", "W_V")
        ]:
            gained = weight * norm.w[:, None]
            weight.copy_(gained - gained.mean(-2, keepdim=True))

    def qk_trace(previous_LH):
        trace_LH = torch.full((n_layers, model.cfg.n_heads), torch.nan)
        for layer in range(1, n_layers):
            earlier = [(early, head) for early in range(layer) for head in range(model.cfg.n_heads)]
            for late_head in range(model.cfg.n_heads):
                reads = model.W_E @ model.QK[layer, late_head]
                trace_LH[layer, late_head] = sum(
                    previous_LH[place] * (reads @ model.OV[place].T @ model.W_E.T).BA.trace() for place in earlier
                )
        return trace_LH

    def work():
        with torch.inference_mode():
            model.load_state_dict(read_for_peer(folder))
            previous_LH = over_layers(lambda pattern: previous_token(pattern)[..., 1:].mean(-1), probes["text"][:, :-1])
            copied_LH, literal_LH = copying_scores()
            columns = {
                "prefix_matching": over_layers(
                    lambda pattern: prefix_matching(pattern, 25)[..., 26:].mean(-1), probes["repeated"]
                ),
                "previous_token": previous_LH,
                "copying": copied_LH,
                "copying_literal": literal_LH,
            }
            fold()
            eigenvalues = (model.W_E @ model.OV @ model.W_U).eigenvalues
            columns["ov_copying"] = eigenvalues.sum(-1).real / eigenvalues.abs().sum(-1)
            columns["qk_trace"] = qk_trace(previous_LH)
            chance = _chance(model.cfg.d_model, model.cfg.d_head)
            for kind in ("k", "q", "v"):
                greatest_LH = model.all_composition_scores(kind.upper()).amax((0, 1)) - chance
                greatest_LH[0] = torch.nan
                columns[f"{kind}_composition"] = greatest_LH
            return {name: column.flatten().numpy() for name, column in columns.items()}

    return Work(work)


# --- losses: of every token, with a large vocabulary ---------------------------------------------------------------


def losses_inputs(folder):
    """Write weights with a vocabulary of 65,536, and four examples of 512 tokens."""
    from measure.blocks import write_block

    tokens = np.random.default_rng(0).integers(0, 1 << 16, (4, 513)).astype(np.int32)
    np.savez(folder / "tokens.npz", tokens=tokens)
    model = random_model(n_layers=2, d_model=768, n_heads=12, d_head=64, vocab_size=1 << 16, n_ctx=513)
    write_block(folder, {0: model})
    save_for_peer(folder, model)


def losses_ours(folder):
    """Return the work of our side: losses, the model loaded."""
    import torch

    from induction.measure.losses import example_losses
    from induction.models.snapshots import open_snapshots

    tokens_BT = torch.from_numpy(np.load(folder / "tokens.npz")["tokens"]).long()
    (snapshot,) = open_snapshots(folder / "block-0.json")
    touch(snapshot.model)
    return Work(lambda: {"loss": example_losses(snapshot.model, tokens_BT).numpy()})


def losses_peer(folder):
    """Return the same with TransformerLens, one example at a time: the fastest here, and the least memory."""
    import torch

    tokens_BT = torch.from_numpy(np.load(folder / "tokens.npz")["tokens"]).long()
    model = peer_model(folder)

    @torch.inference_mode()
    def work():
        parts = [model(some_BT, return_type="loss", loss_per_token=True) for some_BT in tokens_BT.split(1)]
        return {"loss": torch.cat(parts).numpy()}

    return Work(work)


# --- ablations: every head, one at a time, patterns kept --------------------------------------------------------

DEMO = {"n_layers": 2, "d_model": 128, "n_heads": 4, "d_head": 32, "vocab_size": 1024}
PAPER = {"n_layers": 2, "d_model": 768, "n_heads": 12, "d_head": 64, "vocab_size": 1 << 16}
PAPER_MLP = {**PAPER, "n_layers": 6, "d_mlp": 3072}
INDICES = (50, 500)
WINDOWS = (*range(40, 61), *range(490, 511))


def ablations_inputs(shape, indices, n_examples, n_for_peer):
    """Return what writes weights, examples of 512 tokens, and asked positions: `indices` and a random one of each."""

    def write(folder):
        from measure.blocks import write_block

        generator = np.random.default_rng(0)
        tokens = generator.integers(0, shape["vocab_size"], (n_examples, 513))
        random_index = generator.integers(1, 513, (n_examples, 1))
        positions = np.concatenate([np.tile(indices, (n_examples, 1)), random_index], axis=1) - 1
        np.savez(folder / "tokens.npz", tokens=tokens, positions=positions, n_for_peer=n_for_peer)
        model = random_model(n_ctx=512, **shape)
        write_block(folder, {0: model})
        save_for_peer(folder, model)

    return write


def ablations_ours(folder):
    """Return the work of our side: losses at the asked positions, intact and without each head; and its parts."""
    import torch

    from induction.measure.ablated_runs import ablated_losses, single_heads
    from induction.measure.losses import example_losses
    from induction.models.snapshots import open_snapshots

    given = {name: torch.from_numpy(array) for name, array in np.load(folder / "tokens.npz").items() if array.ndim}
    tokens_BT, positions_BP = given["tokens"], given["positions"]
    (snapshot,) = open_snapshots(folder / "block-0.json")
    touch(snapshot.model)
    singles = single_heads(snapshot.model)

    def work(ablations=singles):
        return {
            "losses": torch.stack(list(ablated_losses(snapshot.model, tokens_BT, positions_BP, ablations).values()))
        }

    few = min(len(tokens_BT), max(2, len(tokens_BT) * 1024 // snapshot.model.architecture.vocab_size))
    parts = {
        "intact": (lambda: work([]), len(tokens_BT)),
        "forward": (lambda: example_losses(snapshot.model, tokens_BT[:few]), few),
    }
    return Work(work, len(tokens_BT), parts)


def ablations_peer(folder, *, to_logits=True):
    """Return the same with TransformerLens: the intact run's patterns and streams kept, runs from the ablated layer on.

    Args:
        folder: the weights and tokens.
        to_logits: run to the logits of all positions, of which the asked ones are read; or stop before the
            unembedding (`stop_at_layer`), and unembed the asked rows by hand.
    """
    import torch

    given = np.load(folder / "tokens.npz")
    n_examples = int(given["n_for_peer"])
    tokens_BT, positions_BP = (torch.from_numpy(given[name][:n_examples]) for name in ("tokens", "positions"))
    model = peer_model(folder)
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    wanted = {f"blocks.{layer}.{name}" for layer in range(n_layers) for name in ("attn.hook_pattern", "hook_resid_pre")}
    stop = None if to_logits else n_layers

    def losses(reached_BTX, some_BT, some_BP):
        rows_BPX = reached_BTX.gather(1, some_BP[..., None].expand(-1, -1, reached_BTX.shape[-1]))
        logits_BPV = rows_BPX if to_logits else model.unembed(model.ln_final(rows_BPX))
        targets_BP = some_BT[:, 1:].gather(1, some_BP)
        return -logits_BPV.log_softmax(-1).gather(2, targets_BP[..., None])[..., 0]

    def sweep(some_BT, some_BP):
        read_BT = some_BT[:, :-1]
        reached, cache = model.run_with_cache(read_BT, names_filter=wanted.__contains__, stop_at_layer=stop)
        _, _, positions, _ = model.input_to_embed(read_BT)
        found = [losses(reached, some_BT, some_BP)]

        def force(pattern, hook):
            return cache[hook.name]

        for layer in range(n_layers):
            forced = [(f"blocks.{later}.attn.hook_pattern", force) for later in range(layer, n_layers)]
            for head in range(n_heads):

                def zero(z_BQHE, hook, head=head):
                    z_BQHE[:, :, head] = 0
                    return z_BQHE

                reached = model.run_with_hooks(
                    cache["resid_pre", layer],
                    start_at_layer=layer,
                    stop_at_layer=stop,
                    shortformer_pos_embed=positions,
                    fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero), *forced],
                )
                found.append(losses(reached, some_BT, some_BP))
        return torch.stack(found)

    @torch.inference_mode()
    def work():
        batch = max(1, 2 * 1024 // model.cfg.d_vocab)
        parts = [sweep(*some) for some in zip(tokens_BT.split(batch), positions_BP.split(batch), strict=True)]
        return {"losses": torch.cat(parts, 1)}

    return Work(work, n_examples)


def ablations_rows_peer(folder):
    """Return the same, stopped before the unembedding: the asked rows alone are unembedded, by hand."""
    return ablations_peer(folder, to_logits=False)


# --- what cases share ----------------------------------------------------------------------------------------------

LENS, LENS_ROWS = "TransformerLens", "TransformerLens stopped before its unembedding, asked rows unembedded by hand"
BOTH = {LENS: ablations_peer, LENS_ROWS: ablations_rows_peer}
CASES = {
    "heads": Case(heads_inputs, heads_ours, {LENS: heads_peer}, 1e-4, 5),
    "losses": Case(losses_inputs, losses_ours, {LENS: losses_peer}, 1e-5, 1),
    "ablations_demo": Case(ablations_inputs(DEMO, INDICES, 32, 8), ablations_ours, BOTH, 1e-5, 15, shape=DEMO),
    "ablations_demo_windows": Case(ablations_inputs(DEMO, WINDOWS, 32, 8), ablations_ours, BOTH, 1e-5, 15, shape=DEMO),
    "ablations_paper_small": Case(
        ablations_inputs(PAPER, INDICES, 64, 2), ablations_ours, BOTH, 1e-5, 100, True, PAPER
    ),
    "ablations_paper_mlp": Case(
        ablations_inputs(PAPER_MLP, INDICES, 2, 1), ablations_ours, BOTH, 1e-5, 5, True, PAPER_MLP
    ),
}


def random_model(**fields):
    """Return a model with every weight drawn, gains too, so large that patterns are far from even."""
    import torch

    from induction.models.transformer import Transformer
    from induction.study.architecture import Architecture

    model = Transformer(Architecture(**fields))
    model.initialise(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = 0.05 if weight.ndim == 2 or name.endswith("b") else 0.3
            weight.add_(torch.randn(weight.shape, generator=generator) * spread)
    return model.eval().requires_grad_(False)


def save_for_peer(folder, model):
    """Write the weights as TransformerLens names them, and the model without them."""
    import torch
    from safetensors.torch import save_file

    from measure.test_parity import lens

    theirs = lens(model)
    save_file({name: weight.contiguous() for name, weight in theirs.state_dict().items()}, folder / "peer.safetensors")
    torch.save(theirs.cfg, folder / "peer.cfg")


def peer_model(folder):
    """Return TransformerLens's model."""
    import torch
    from transformer_lens import HookedTransformer

    model = HookedTransformer(torch.load(folder / "peer.cfg", weights_only=False))
    model.load_state_dict(read_for_peer(folder))
    return model.eval().requires_grad_(False)


def read_for_peer(folder):
    """Return TransformerLens's weights from disk."""
    from safetensors.torch import load_file

    return load_file(folder / "peer.safetensors")


def touch(model):
    """Read all weights once: until then the pages of a memory-mapped file are not counted as this process's."""
    for weight in model.parameters():
        weight.sum()


def run(case, side, folder):
    """Do one side's work in this process; return its least seconds and peak memory, and leave its results behind."""
    import torch

    from allocations import peak_bytes
    from induction.models.cpu import prepare_cpu

    torch.set_num_threads(1)
    make, our_settings = CASES[case].sides()[side]
    if our_settings:
        prepare_cpu()
    work = make(folder)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    results = work.run()
    grown = memory("VmHWM") - before
    np.savez(folder / f"{side}.npz", **results)
    repeats = 1 if CASES[case].heavy else 5
    seconds = {"all": least_seconds(work.run, repeats) / work.n_examples}
    seconds |= {name: least_seconds(part, repeats) / n_examples for name, (part, n_examples) in work.parts.items()}
    return {"seconds": seconds, "process_bytes": grown, "allocated_bytes": peak_bytes(work.run)}


def least_seconds(work, repeats):
    """Return the least CPU time that the work takes, seconds: on a machine that others use, wall time is theirs too."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def memory(name):
    """Return a number of bytes that Linux counts of this process: VmRSS, what it holds, or VmHWM, the most it held."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def difference(folder, case, side):
    """Return the greatest difference of a peer's results from ours; stop where it is past the tolerance."""
    ours, peer = np.load(folder / "ours.npz"), np.load(folder / f"{side}.npz")
    found = 0.0
    for name in sorted(set(ours) & set(peer)):
        theirs = peer[name]
        own = ours[name][tuple(slice(size) for size in theirs.shape)]  # a heavy peer does fewer examples
        if not (np.isnan(own) == np.isnan(theirs)).all():
            raise SystemExit(f"{case}: {name} is not defined for the same heads")
        off = np.abs(own - theirs)
        found = max(found, float(np.nanmax(off)))
        if np.nanmax(off / np.maximum(1, np.abs(theirs))) > CASES[case].tolerance:
            raise SystemExit(f"{case}: {name} of {side} differs by {np.nanmax(off):.1e}")
    return found


def compare(case):
    """Run all sides of a case in turn; return what `--json` writes of it."""
    asked = CASES[case]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child(case, "inputs", folder)
        rounds = 1 if asked.heavy else 3
        said = [(side, child(case, side, folder)) for _ in range(rounds) for side in asked.sides()]
        off = {side: difference(folder, case, side) for side in asked.sides() if side != "ours"}

    def least(side, what="all"):
        return min(found["seconds"][what] for who, found in said if who == side)

    def peaks(side):
        """Return the greatest counts of a side's memory."""
        kinds = ("allocated_bytes", "process_bytes")
        return {kind: max(found[kind] for who, found in said if who == side) for kind in kinds}

    def megabytes(side):
        allocated, process = peaks(side).values()
        return f"{allocated / 1e6:.0f} MB allocated at its peak (process: {process / 1e6:.0f})"

    ours = least("ours")
    print(f"{case}: {1e3 * ours:.2f} ms, {megabytes('ours')}")
    results = {"ours_s": ours} | {f"ours_{kind}": size for kind, size in peaks("ours").items()}
    for name in asked.peers:
        side = min((one for one in off if one in (name, f"{name}, our settings")), key=least)
        ratio = least(side) / ours
        print(
            f"  {side}: {1e3 * least(side):.2f} ms, {megabytes(side)}: {ratio:.1f} times as long"
            f" (asked: {asked.asked:g}), results within {off[side]:.0e}"
        )
        peer = {"ratio": ratio, "peer_s": least(side), "max_abs_difference": off[side]}
        peer |= {f"peer_{kind}": size for kind, size in peaks(side).items()}
        results |= peer if name == LENS else {"asked_rows_peer": peer}
    if (intact := min((found["seconds"].get("intact", 0.0) for who, found in said if who == "ours"), default=0.0)) > 0:
        forward = least("ours", "forward")
        results |= {"intact_s": intact, "forward_s": forward, "sweep_of_forward": (ours - intact) / forward}
        print(
            f"  of ours, the intact run {1e3 * intact:.2f} ms; the sweep alone {1e3 * (ours - intact):.2f} ms, "
            f"{(ours - intact) / forward:.2f} of our own forward pass with all losses ({1e3 * forward:.2f} ms; asked of "
            "the demo's shape: less than 0.25)"
        )
    if asked.shape:
        print(f"  {arithmetic(asked.shape, least)}")
    return results


def arithmetic(shape, least):
    """Return in words the peers' products for an example of 512 tokens, and the rate that they and a product reach."""
    n_layers, width, d_mlp, n_tokens = shape["n_layers"], shape["d_model"], shape.get("d_mlp", 0), 512
    layer = n_tokens * (4 * width**2 + 2 * width * d_mlp + 2 * n_tokens * width)
    unembedding = n_tokens * width * shape["vocab_size"]
    # The intact run, and for each head the layers from its own on; all of them unembedded, or asked rows alone.
    layers = (n_layers + shape["n_heads"] * n_layers * (n_layers + 1) / 2) * layer
    unembeddings = (1 + shape["n_heads"] * n_layers) * unembedding
    told = [f"TransformerLens multiplies {2e-9 * (layers + unembeddings):,.0f} GFLOP an example"]
    told += [f"{unembeddings / (layers + unembeddings):.0%} of it in the unembedding"]
    rate = 2e-9 * (layers + unembeddings) / least(f"{LENS}, our settings")
    return ", ".join(told) + f"; at {rate:.0f} GFLOP/s (a product of matrices here reaches {1e-9 * product_rate():.0f})"


def product_rate():
    """Return the FLOP/s of a large float32 product on one thread, with our settings."""
    import torch

    from induction.models.cpu import prepare_cpu

    torch.set_num_threads(1)
    prepare_cpu()
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / least_seconds(lambda: a @ b, 10)


def child(case, side, folder):
    """Run one side of a case in a process of its own; return what it says."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", __file__, "--run", case, side, str(folder)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="file of all machines' results to add these to")
    parser.add_argument("--machine", default=machine(), help="what to call this machine; default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        case, side, folder = args.run
        print(json.dumps(CASES[case][0](Path(folder)) if side == "inputs" else run(case, side, Path(folder))))
        return
    print(f"{args.machine}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    for case in args.only:
        load, results = os.getloadavg()[0], compare(case)
        load = max(load, os.getloadavg()[0])
        if args.json:  # as it goes: the heavy cases take minutes
            keep(args.json, args.machine, case, results | {"load": round(load, 1)})


def machine():
    """Return the processor's name, and which of the instructions that decide about products it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = said.get("flags", "").split()
    names = {"avx512f": "AVX-512", "avx512_bf16": "bf16", "amx_bf16": "AMX"}
    vector = [name for flag, name in names.items() if flag in flags] or ["AVX2" if "avx2" in flags else "no AVX2"]
    return f"{said.get('model name', platform.machine()).replace('(R)', '')}, {' and '.join(vector)}"


def keep(path, name, case, results):
    """Add a case's results to a machine's, in place of earlier ones."""
    import torch

    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"machines": []}
    entry = next((one for one in told["machines"] if one["name"] == name), None)
    if entry is None:
        entry = {"name": name, "cases": {}}
        told["machines"].append(entry)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    ).stdout.strip()
    entry |= {"date": date, "commit": commit, "torch": torch.__version__, "seconds": "CPU time"}
    entry["cases"][case] = results
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
