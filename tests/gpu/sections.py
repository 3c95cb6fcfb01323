"""The sections of the check: each takes a `Run` and adds rows to it.

Sizes: a card's in full, a CPU's in its dry run (`--quick`), where every line of this file runs but little is shown: a
phase change takes longer than that.
"""

import gc
import math
import statistics
import sysconfig
import time
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import tolerances
import torch

from allocations import peak_bytes
from induction.measure.ablated_runs import ablated_losses, single_heads
from induction.measure.heads import HeadProbes, score_heads
from induction.measure.losses import example_losses
from induction.models.chunks import at_once, chunk_factor
from induction.models.cpu import prepare_cpu
from induction.models.transformer import Transformer, reading
from induction.study.architecture import Architecture
from induction.study.config import ModelFields
from induction.study.placement import (
    HEADROOM,
    activation_bytes,
    forward_flops,
    measuring_gb,
    n_parameters,
    place,
    position_bytes,
    state_bytes,
)
from induction.study.schedule import Schedule
from induction.study.site import GPUS, Node, Site, Slurm
from induction.study.study import Model, load_study
from induction.tables.ablations import FULL
from induction.train.plain import PlainEngine

ROOT = Path(__file__).parents[2]
RUNTIME_GB = 2.0
"""Of what the plan counts for a rank, what is not tensors: the context and libraries."""


# --- shared by the sections ----------------------------------------------------------------------------------------


def synchronised(device):
    """Wait until a device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work, device, repeats):
    """Return the median seconds that some work takes, after one time that does not count."""
    work()
    found = []
    for _ in range(repeats):
        synchronised(device)
        began = time.perf_counter()
        work()
        synchronised(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def peak_gb(work, device):
    """Return the most memory that tensors made by some work held at once, GB (10^9 bytes)."""
    if device.type != "cuda":
        return peak_bytes(work) / 1e9
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e9


@contextmanager
def reference_products():
    """While inside, multiply float32 matrices on the CPU by torch's usual library."""
    setting = torch.backends.mkldnn.matmul
    before, setting.fp32_precision = setting.fp32_precision, "ieee"
    try:
        yield
    finally:
        setting.fp32_precision = before


def drawn_model(**fields):
    """Return a model with every weight drawn, gains too, so large that patterns are far from even."""
    model = Transformer(Architecture(**fields))
    model.initialise(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = 0.05 if weight.ndim == 2 or name.endswith("b") else 0.3
            weight.add_(torch.randn(weight.shape, generator=generator) * spread)
    return model.eval().requires_grad_(False)


def copy_on(model, device, *, planted):
    """Return a copy of a model on a device; `planted`: its matrices rounded as TF32 rounds them."""
    copied = Transformer(model.architecture)
    copied.load_state_dict(model.state_dict())
    if planted:
        with torch.no_grad():
            for weight in copied.parameters():
                bits = weight.view(torch.int32)
                weight.copy_(((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32))
    return copied.eval().requires_grad_(False).to(device)


def random_tokens(n_sequences, n_tokens, vocab_size, seed=0):
    return torch.randint(0, vocab_size, (n_sequences, n_tokens), generator=torch.Generator().manual_seed(seed))


def repeated_probes(n_sequences, period, vocab_size, text_BT):
    """Return probes of random tokens, four times repeated, after a start token."""
    generator = np.random.default_rng(0)
    drawn = np.stack([1 + generator.permutation(vocab_size - 1)[:period] for _ in range(n_sequences)])
    start = np.zeros((n_sequences, 1))
    repeated = np.concatenate([start, np.tile(drawn, 4)], axis=1)
    return HeadProbes(repeated.astype(np.int32), period, drawn.astype(np.int32), text_BT.numpy().astype(np.int32))


def peak_flops(run):
    """Return the card's measured bf16 matrix-product peak, operations a second, or None where that section failed."""
    return run.earlier("peak", "bf16_flops")


def below_peak(run):
    """Return the bounds of a share of the peak. A CPU's product in bf16 may be slower than one in float32."""
    return {"at_least": 0.0, "at_most": 1.0} if run.device.type == "cuda" else {}


def this_site(run):
    """Return a site of one node with this one device, by its memory and measured peak."""
    memory_gb = run.about["memory_gb"]
    peak = (peak_flops(run) or 1e14) / 1e12
    return Site(
        slurm=Slurm(gpu_partition="none", cpu_partition="none"),
        node=Node(
            accelerator="cpu" if run.device.type == "cpu" else "gpu",
            gpu="this-card",
            ranks=1,
            cpus=1,
            memory_gb=memory_gb,
            gpu_memory_gb=memory_gb,
            peak_tflops=peak,
        ),
    )


def model_of_the_paper(name):
    """Return a model of the study `paper`, by the start of its name."""
    models = load_study(ROOT, "paper").models
    return next(model for model in models.values() if model.name.startswith(name))


def tiny_model(**fields):
    """Return a model that a CPU trains in no time, of the kind of the paper's."""
    base = {"n_layers": 2, "d_model": 64, "n_heads": 4, "n_ctx": 64, "batch_size": 8, "dtype": "bfloat16"}
    return Model("tiny", "f", "l", ModelFields(**{**base, "optimizer": "adamw", "warmup_steps": 5, **fields}), 512)


def training_shapes(run):
    """Return the models whose training is timed: the paper's small shape, and one of its full-scale ones."""
    if run.quick:
        return {"small": tiny_model(), "full-scale": tiny_model(d_mlp=256, n_local_heads=2, local_window=16)}
    return {"small": model_of_the_paper("small-attn-2l"), "full-scale": model_of_the_paper("full-16l")}


def engine_of(model, device, micro_batch=None, **changed):
    settings = model.recipe(0)["settings"] | changed
    return PlainEngine(model.architecture, settings, str(device), micro_batch), Schedule(settings)


# --- sections ------------------------------------------------------------------------------------------------------


def peak(run):
    """Matrix products of random numbers, and copies: what the card reaches at the most."""
    size, repeats = (512, 3) if run.quick else (8192, 20)
    for name, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        a, b = (torch.randn(size, size, device=run.device, dtype=dtype) for _ in range(2))
        seconds = seconds_of(lambda a=a, b=b: a @ b, run.device, repeats)
        run.row(f"{name} product, {size} x {size}", 2e-12 * size**3 / seconds, "TFLOP/s")
        run.keep(f"{name}_flops", 2 * size**3 / seconds)
    n_numbers = 1 << (22 if run.quick else 31)
    source = torch.ones(n_numbers, device=run.device, dtype=torch.int8)
    target = torch.empty_like(source)
    seconds = seconds_of(lambda: target.copy_(source), run.device, repeats)
    run.row("copy, read and written", 2e-9 * n_numbers / seconds, "GB/s")
    if run.device.type == "cuda":
        allowed = torch.backends.cuda.matmul.fp32_precision == "tf32"
        run.row("TF32 permitted in float32 products (0: no)", float(allowed), "", at_most=0.0)


def agreement(run):
    """Losses, heads and ablations of the same weights, on the device and on the CPU, float32."""
    wide = {"n_layers": 2, "d_model": 768, "n_heads": 12, "d_head": 64, "vocab_size": 1 << 16, "n_ctx": 513}
    slim = {"n_layers": 2, "d_model": 256, "n_heads": 4, "d_head": 64, "vocab_size": 4096, "n_ctx": 513}
    if run.quick:
        wide = {"n_layers": 2, "d_model": 64, "n_heads": 4, "d_head": 16, "vocab_size": 2048, "n_ctx": 129}
        slim = {**wide, "vocab_size": 256}
    kinds = {
        "paper's small shape": wide,
        "MLPs": {**slim, "d_mlp": 4 * slim["d_model"]},
        "smeared keys, local heads": {**slim, "smeared_keys": True, "n_local_heads": 2, "local_window": 32},
        "rotary": {**slim, "positions": "rotary", "rotary_fraction": 0.5},
    }
    for kind, fields in kinds.items():
        if run.left() < 0.15 * run.budget:
            run.skip(kind, "no time is left")
            continue
        _agreement_of(run, kind, fields)


def _agreement_of(run, kind, fields):
    on_cpu = drawn_model(**fields)
    on_device = copy_on(on_cpu, run.device, planted=run.planted)
    architecture, n_tokens = on_cpu.architecture, fields["n_ctx"] - 1
    tokens_BT = random_tokens(4, n_tokens + 1, architecture.vocab_size)
    with reference_products(), torch.inference_mode():
        logits = on_cpu(tokens_BT[:1, :-1])
        losses = tolerances.of_losses(architecture, (logits - logits.mean(-1, keepdim=True)).abs().max().item())
        del logits
        score = greatest_score(on_cpu, tokens_BT[:1, :-1])
    # On the CPU itself, for the dry run: other chunks, and the other library where it is exact.
    factor = 4 if run.device.type == "cpu" else at_once(1, run.device)

    def compare(what, measure, permitted):
        with reference_products():
            expected = measure(on_cpu, torch.device("cpu"))
        with chunk_factor(factor, run.device):
            found = measure(on_device, run.device)
        for name, values in expected.items():
            both = torch.isnan(values) & torch.isnan(found[name])
            off = torch.where(both, 0.0, (values - found[name]).abs()).max().item()
            size = values.nan_to_num().abs().max().item() if name == "qk_trace" else 1.0
            most = (permitted[name] if isinstance(permitted, dict) else permitted) * max(1.0, size)
            run.row(f"{kind}: {what}{name}, greatest difference", off, "", at_most=most)

    def all_losses(model, device):
        return {"losses": example_losses(model, tokens_BT.to(device)).cpu()}

    def all_ablations(model, device):
        indices_BP = torch.tensor([[n_tokens // 10, n_tokens - 3]]).expand(len(tokens_BT), -1).to(device)
        found = {}
        for mode in (None, FULL):
            ablations = single_heads(model, mode) if mode else single_heads(model)
            chosen = ablations if mode is None else ablations[:: max(1, len(ablations) // 4)]
            losses = ablated_losses(model, tokens_BT.to(device), indices_BP, chosen)
            changes = torch.stack([losses[one] - losses[None] for one in chosen])
            found[f"losses without a head, {mode or 'patterns kept'}"] = changes.cpu()
        return found

    probes = repeated_probes(8, min(25, n_tokens // 5), architecture.vocab_size, tokens_BT)

    def all_heads(model, device):
        scores = score_heads(model, probes)
        return {name: torch.from_numpy(scores[name]).double() for name in tolerances.of_heads(architecture, score)}

    compare("", all_losses, losses)
    compare("", all_ablations, 2 * losses)
    compare("", all_heads, tolerances.of_heads(architecture, score))


def greatest_score(model, tokens_BT):
    """Return the greatest size of a logarithm of attention of any head, from the patterns' weights."""
    found = []

    def read(weights_BHQK, total_BHQ1, first):
        pattern = weights_BHQK / total_BHQ1
        found.append(-pattern[pattern > 1e-6].min().log().item())  # less than that changes no mean

    with reading(model, [read] * len(model.blocks)):
        model(tokens_BT)
    return max(found)


def training(run):
    """50 steps of training, on the device and on the CPU, in float32 and in bfloat16."""
    n_steps = 50
    size = {"d_model": 64, "n_heads": 4, "n_ctx": 32, "batch_size": 4} if run.quick else {
        "d_model": 256, "n_heads": 4, "n_ctx": 256, "batch_size": 8
    }  # fmt: skip
    model = tiny_model(**size, n_layers=2, learning_rate=1e-3, warmup_steps=10)
    n_ctx, batch = model.fields.n_ctx, model.fields.batch_size
    tokens = text_tokens(n_steps * batch * n_ctx + 1, model.vocab_size)
    batches = [
        torch.from_numpy(np.stack([tokens[i * n_ctx : (i + 1) * n_ctx + 1] for i in range(s * batch, (s + 1) * batch)]))
        for s in range(n_steps)
    ]

    def trained(device, dtype, micro_batch=None, **changed):
        torch.manual_seed(0)
        engine, schedule = engine_of(model, device, micro_batch, dtype=dtype, **changed)
        return np.array([engine.step(one, schedule.rate_at(i), 0.1).loss for i, one in enumerate(batches)])

    with reference_products():
        exact = trained("cpu", "float32")
        spread = np.abs(exact - trained("cpu", "float32", micro_batch=1))
        low = trained("cpu", "bfloat16")
    run.row("on the CPU: losses fall by", exact[0] - exact[-5:].mean(), "nats", at_least=0.5)
    run.row("on the CPU: another order of sums changes them by", spread.max(), "nats")
    run.row("on the CPU: bfloat16 changes them by", np.abs(low - exact).max(), "nats")
    first = tolerances.of_losses(model.architecture, 2 * math.log(model.vocab_size))
    n_products, _ = tolerances.products_of(model.architecture)
    permitted = {
        "float32": (exact, tolerances.of_training(first, spread, n_products)),
        "bfloat16": (low, tolerances.of_bfloat16_training(first, np.abs(low - exact))),
    }
    changed = {"learning_rate": 1.3e-3} if run.planted else {}
    for dtype, (expected, most) in permitted.items():
        # On the CPU itself the dry run's other side is the other library, in micro-batches.
        found = trained(run.device, dtype, micro_batch=2 if run.device.type == "cpu" else None, **changed)
        off = np.abs(found - expected)
        worst = int(np.argmax(off / most))
        run.row(f"{dtype}: losses of {n_steps} steps, worst at step {worst}", off[worst], "nats", at_most=most[worst])


def speed(run):
    """Tokens a second of training, as a share of the peak, and the memory it takes beside the plan's."""
    for shape, model in training_shapes(run).items():
        _train_shape(run, shape, model)
        gc.collect()


def _train_shape(run, shape, model):
    if run.left() < 0.3 * run.budget and not run.quick:
        run.skip(f"{shape}: {model.name}", "no time is left")
        return
    placement = place(model.fields, model.architecture, this_site(run), model.name)
    if placement.zero_stage or placement.checkpoint_activations:
        run.skip(f"{shape}: {model.name}", "does not fit on this card without ZeRO or checkpointed activations")
        return
    n_rounds = 1 if run.quick else 2
    n_sequences = n_rounds * placement.micro_batch
    n_ctx = model.fields.n_ctx
    tokens_BT = random_tokens(n_sequences, n_ctx + 1, model.vocab_size)
    engine, _ = engine_of(model, run.device, placement.micro_batch)

    def step():
        engine.step(tokens_BT, 0.01, 0.1)

    seconds = seconds_of(step, run.device, 2 if run.quick else 3)
    flops = 3 * n_sequences * forward_flops(model.architecture, n_ctx)
    label = f"{shape} ({model.name}, {placement.micro_batch} x {n_ctx} tokens at once)"
    run.row(f"{label}: training", n_sequences * n_ctx / seconds, "tokens/s")
    if top := peak_flops(run):
        share = flops / seconds / top
        run.row(f"{label}: share of the measured bf16 peak", share, "", **below_peak(run))
        run.keep(f"{shape} flops", flops / seconds)


def chunks(run):
    """Measuring with several chunk sizes, from those that suit a CPU's caches to those that suit tens of GB."""
    fields = {"n_layers": 2, "d_model": 768, "n_heads": 12, "d_head": 64, "vocab_size": 1 << 16, "n_ctx": 512}
    factors, n_examples = (1, 4, 16, 64, 256), 128
    if run.quick:
        fields |= {"d_model": 64, "n_heads": 4, "d_head": 16, "vocab_size": 2048, "n_ctx": 128}
        factors, n_examples = (1, 4), 16
    usual = 1 if run.device.type == "cpu" else at_once(1, run.device)
    model, n_tokens = drawn_model(**fields).to(run.device), fields["n_ctx"]
    tokens_BT = random_tokens(n_examples, n_tokens + 1, fields["vocab_size"])
    on_device_BT = tokens_BT.to(run.device)
    indices_BP = torch.tensor([[n_tokens // 10, n_tokens - 3]]).expand(n_examples, -1).to(run.device)
    probes = repeated_probes(32, 25, fields["vocab_size"], tokens_BT[: n_examples // 4])
    works = {
        "losses": lambda: example_losses(model, on_device_BT),
        "heads": lambda: torch.from_numpy(score_heads(model, probes)["prefix_matching"]),
        "ablations": lambda: torch.stack(
            list(ablated_losses(model, on_device_BT, indices_BP, single_heads(model)).values())
        ),
    }
    with torch.inference_mode():
        logits = model(on_device_BT[:1, :-1])
        permitted = tolerances.of_losses(
            model.architecture, (logits - logits.mean(-1, keepdim=True)).abs().max().item()
        )
        del logits
    for number, (stage, work) in enumerate(works.items()):
        until = run.budget * (
            0.1 + 0.9 * (len(works) - 1 - number) / len(works)
        )  # each stage has its share of the time
        found, first = {}, None
        for factor in factors:
            if found and run.left() < until:
                run.skip(f"{stage}: chunks x {factor}", "no time is left")
                continue
            try:
                with chunk_factor(factor, run.device):
                    taken = seconds_of(work, run.device, 2)
                    memory = peak_gb(work, run.device)
                    result = work().cpu()
            except torch.OutOfMemoryError:
                run.skip(f"{stage}: chunks x {factor}", "does not fit into the card's memory")
                continue
            first = result if first is None else first
            found[factor] = taken
            run.row(f"{stage}: chunks x {factor}", 1e3 * taken, "ms")
            run.row(f"{stage}: chunks x {factor}, memory", memory, "GB")
            off = (result - first).abs().max().item()
            most = permitted if stage != "heads" else tolerances.of_heads(model.architecture, 30.0)["prefix_matching"]
            run.row(f"{stage}: chunks x {factor}, results differ from x {factors[0]} by", off, "", at_most=most)
        best = min(found, key=found.get)
        run.keep(f"{stage} best factor", best)
        run.row(f"{stage}: best chunks", float(best), "times a CPU's")
        if usual in found:
            run.row(f"{stage}: speed with the usual chunks, x {usual}, of the best", found[best] / found[usual], "")
        if stage == "losses":
            run.keep("measuring_flops", n_examples * forward_flops(model.architecture, n_tokens) / found[best])
    if (top := peak_flops(run)) and (reached := run.kept.get("measuring_flops")):
        run.row("losses, best chunks: share of the measured bf16 peak", reached / top, "", **below_peak(run))


def memory(run):
    """What training and measuring hold, beside what the plan says of them."""
    for shape, model in training_shapes(run).items():
        if run.left() < 0.3 * run.budget and not run.quick:
            run.skip(f"{shape}: {model.name}", "no time is left")
            continue
        _memory_of(run, shape, model)


def _memory_of(run, shape, model):
    site, architecture = this_site(run), model.architecture
    placement = place(model.fields, architecture, site, model.name)
    if placement.zero_stage or placement.checkpoint_activations:
        run.skip(f"{shape}: {model.name}", "does not fit on this card without ZeRO or checkpointed activations")
        return
    tokens_BT = random_tokens(placement.micro_batch, model.fields.n_ctx + 1, model.vocab_size)
    low = model.fields.dtype == "bfloat16"
    planned = (
        state_bytes(n_parameters(architecture), 0, 1, low=low)
        + activation_bytes(
            architecture,
            placement.micro_batch,
            low=low,
            stage=0,
            checkpointed=False,
            fused=run.device.type == "cuda",
        )
        + position_bytes(architecture)
    ) / 1e9

    def train():
        engine, _ = engine_of(model, run.device)
        for _ in range(2):
            engine.step(tokens_BT, 0.01, 0.1)

    held = peak_gb(train, run.device)
    run.row(f"{shape} ({model.name}): training, tensors", held, "GB")
    run.row(f"{shape}: training, of what the plan says", held / planned, "", at_most=1 / HEADROOM)
    if run.device.type == "cuda":
        taken = torch.cuda.max_memory_reserved(run.device) / 1e9 + RUNTIME_GB
        run.row(f"{shape}: training, of the card's memory", taken / run.about["memory_gb"], "", at_most=1.0)
    gc.collect()
    generator = torch.Generator().manual_seed(0)
    n_tokens = min(512, model.fields.n_ctx)
    examples_BT = torch.randint(0, model.vocab_size, (16, n_tokens + 1), generator=generator)
    indices_BP = torch.tensor([[n_tokens // 10, n_tokens - 3]]).expand(16, -1).to(run.device)
    probes = repeated_probes(8, 12, model.vocab_size, examples_BT)

    def measure():
        one = Transformer(architecture)
        one.initialise(0, 0.02, 0.02)
        one = one.eval().requires_grad_(False).to(run.device)
        example_losses(one, examples_BT.to(run.device))
        score_heads(one, probes)
        ablated_losses(one, examples_BT.to(run.device), indices_BP, single_heads(one)[:8])

    held, planned = peak_gb(measure, run.device), measuring_gb(architecture) - RUNTIME_GB
    run.row(f"{shape}: measuring, tensors", held, "GB")
    run.row(f"{shape}: measuring, of what the plan says", held / planned, "", at_most=1.0)


INDUCTION = 0.3
"""Prefix matching of an induction head: the demo's rule (`heads.induction_prefix_matching`), written before any run."""
BEFORE = 0.1
"""Prefix matching of the best head of an untrained model is below this: chance is one in the tokens seen."""
ICL_FALL = 0.2
"""Nats by which losses late in the context fall below those early in it, beyond what they did before: that of the demo."""


def phase_change(run):
    """Train the demo's models of two layers on the standard library's sources until an induction head is there.

    With smeared keys it comes within the first 700 steps of the demo, and is judged. With plain keys it comes later, how
    much later depends on text and order of the data: it is shown, for as long as there is time.
    """
    for kind, share in (("smeared keys", 0.45), ("plain keys", 0.05)):
        _phase_change_of(run, kind, judged=kind == "smeared keys", until=share * run.budget)


def _phase_change_of(run, kind, *, judged, until):
    """Train one of them until `until` seconds of the budget are left at the latest."""
    shape = {"d_model": 32, "n_heads": 2, "n_ctx": 64} if run.quick else {"n_layers": 2, "seed": 1}
    fields = ModelFields(**shape, smeared_keys=kind == "smeared keys")
    vocab_size, n_steps, every = (1024, 4800, 150) if not run.quick else (300, 20, 10)
    model = Model("attn-2l", "f", "l", fields, vocab_size)
    n_ctx, batch = fields.n_ctx, fields.batch_size
    n_held = 32
    needed = (min(n_steps, 2400) * batch + n_held) * n_ctx + 1  # steps after that read the same text again
    tokens = text_tokens(needed, vocab_size)
    held_BT = torch.from_numpy(np.stack([tokens[i * n_ctx : (i + 1) * n_ctx + 1] for i in range(n_held)]))
    probes = repeated_probes(16, 25 if not run.quick else 12, vocab_size, held_BT)
    n_rest = len(tokens) // n_ctx - n_held - 1
    order = n_held + np.random.default_rng(1).permutation(n_rest)
    engine, schedule = engine_of(model, run.device)
    early, late = (slice(39, 60), slice(489, 510)) if not run.quick else (slice(8, 16), slice(48, 60))

    def look(step):
        def seen(transformer):
            losses_T = example_losses(transformer, held_BT.to(run.device)).mean(0)
            best = float(np.max(score_heads(transformer, probes)["prefix_matching"]))
            return best, (losses_T[late].mean() - losses_T[early].mean()).item(), losses_T.mean().item()

        best, icl, loss = engine.look(seen)
        run.keep(
            f"{kind}: looks",
            [*run.kept.get(f"{kind}: looks", []), {"step": step, "prefix_matching": best, "icl": icl, "loss": loss}],
        )
        return best, icl

    first, icl_before = look(0)
    best, step, there = first, 0, 0
    for step in range(1, n_steps + 1):
        rows = order[(np.arange(batch) + (step - 1) * batch) % n_rest]
        batch_BT = torch.from_numpy(np.stack([tokens[i * n_ctx : (i + 1) * n_ctx + 1] for i in rows]))
        engine.step(batch_BT, schedule.rate_at(step - 1), schedule.weight_decay_at(step - 1))
        if step % every == 0:
            best, icl = look(step)
            there = there + 1 if best >= INDUCTION and icl_before - icl >= ICL_FALL else 0
            if there == 2 or run.left() < until:  # one look alone can be chance
                break
    asked = judged and not run.quick
    run.row(f"{kind}: steps of training", step, "")
    run.row(f"{kind}: best prefix matching before", first, "", at_most=BEFORE)
    run.row(f"{kind}: best prefix matching after", best, "", at_least=INDUCTION if asked else None)
    run.row(f"{kind}: in-context learning gained", icl_before - icl, "nats", at_least=ICL_FALL if asked else None)


@lru_cache(maxsize=1)
def text_tokens(n_tokens, vocab_size):
    """Return so many tokens of the standard library's sources, in the order of their paths, [token]; 0 between files.

    The vocabulary is trained on the first few megabytes. Text that does not suffice is read again.
    """
    from induction.corpus.order import OrderedDocument
    from induction.corpus.tokenizer import train

    folder = Path(sysconfig.get_path("stdlib"))
    texts, n_characters = [], 0
    for path in sorted(folder.rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"} & set(path.relative_to(folder).parts):
            continue
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        n_characters += len(texts[-1])
        if n_characters > 4 * n_tokens + 200_000:  # a token of 1,024 holds some three characters
            break
    few = texts[: 1 + next((n for n, seen in enumerate(accumulate(map(len, texts))) if seen > 4_000_000), len(texts))]
    tokenizer = train((OrderedDocument(0, False, text) for text in few), vocab_size)
    found, length = [], 0
    while length < n_tokens:
        for encoding in tokenizer.encode_batch(texts):
            found.append(np.array([0, *encoding.ids], dtype=np.int64))
            length += len(found[-1])
    return np.concatenate(found)[:n_tokens]


SECTIONS = {
    "peak": peak,
    "agreement": agreement,
    "training": training,
    "speed": speed,
    "chunks": chunks,
    "memory": memory,
    "phase_change": phase_change,
}


def about_device(device):
    """Return what the device is: its name, memory and versions."""
    if device.type != "cuda":
        return {"name": "CPU", "memory_gb": 8.0, "torch": torch.__version__, "cuda": None}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_gb": properties.total_memory / 1e9,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def data_sheet_peak(name):
    """Return the GPU of the site file that a card is by its name, and its data sheet's peak, or None."""
    known = [gpu for gpu in GPUS if all(part in name.replace(" ", "-") for part in gpu.split("-"))]
    best = max(known, key=len, default=None)
    return None if best is None else (best, 1e12 * GPUS[best].peak_tflops)


def prepare(device, *, quick):
    """Set this process up as a stage's is."""
    if quick:
        torch.set_num_threads(1)
    prepare_cpu()
    if device.type == "cuda":
        torch.cuda.set_device(device)
