"""An induction circuit whose weights follow from algebra, for tests whose expected values do too.

The stream has four parts: positions (left empty by tokens, read through the infused sinusoids), the current token, the
previous token, and the token to predict; a token's code is +1 and -1 in two places, so LayerNorm only scales it. Layer
0, head 0 looks one back (its queries are the positions turned by one step) and copies the token there into the second
part. Layer 1, head 0 looks where the previous token is the current one and copies the token there into the third part,
which the unembedding reads. The other heads are zero.
"""

import math

import torch
from torch import Tensor

from induction.models.transformer import Transformer
from induction.study.architecture import Architecture

N_TOKENS = 48
_N_FREQUENCIES = N_TOKENS // 2
_D_MODEL = 2 * _N_FREQUENCIES + 6 * N_TOKENS
_AMPLITUDE = 1e-3
_SHARPNESS = 40.0


def induction_circuit() -> Transformer:
    """Return the model: 2 layers of 2 heads, vocabulary of N_TOKENS."""
    architecture = Architecture(
        n_layers=2,
        n_heads=2,
        d_head=N_TOKENS,
        d_model=_D_MODEL,
        vocab_size=N_TOKENS,
        n_ctx=128,
        position_amplitude=_AMPLITUDE,
    )
    model = Transformer(architecture)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith(("ln1.w", "ln_final.w")):
                weight.zero_()
        current, previous, predicted = (_part(index) for index in range(3))
        model.W_E.copy_(current.T)
        model.W_U.copy_(30 * predicted / math.sqrt(_D_MODEL))
        scale = math.sqrt(N_TOKENS)  # undoes the division of scores by the root of d_head

        # LayerNorm turns a code of n ±1 into ±sqrt(D / n): n is 2 before layer 0 and 4 before layer 1.
        before_0, before_1 = math.sqrt(_D_MODEL / 2), math.sqrt(_D_MODEL / 4)
        first, second = model.blocks[0].attn, model.blocks[1].attn
        turn, read = _one_step_back()
        first.per_head("W_Q")[0].copy_(turn * scale * _SHARPNESS / _AMPLITUDE**2)
        first.per_head("W_K")[0].copy_(read)
        first.per_head("W_V")[0].copy_(current / (2 * before_0))
        first.per_head("W_O")[0].copy_(previous.T)
        second.per_head("W_Q")[0].copy_(current * scale * _SHARPNESS / (2 * before_1) ** 2)
        second.per_head("W_K")[0].copy_(previous)
        second.per_head("W_V")[0].copy_(current / (2 * before_1))
        second.per_head("W_O")[0].copy_(predicted.T)
    return model.eval().requires_grad_(False)


def _part(index: int) -> Tensor:
    """Return the codes of all tokens in one part of the stream, [D, token]."""
    places = [place for place in range(_D_MODEL) if place not in _position_places()]
    own = places[2 * N_TOKENS * index : 2 * N_TOKENS * (index + 1)]
    code = torch.zeros(_D_MODEL, N_TOKENS)
    for token in range(N_TOKENS):
        code[own[token], token], code[own[N_TOKENS + token], token] = 1.0, -1.0
    return code


def _position_places() -> set[int]:
    half = _D_MODEL // 2
    return {*range(_N_FREQUENCIES), *range(half, half + _N_FREQUENCIES)}


def _one_step_back() -> tuple[Tensor, Tensor]:
    """Return the matrices that read the sinusoids of a position turned one step back, and as they are, [D, E]."""
    half = _D_MODEL // 2
    turn, read = torch.zeros(_D_MODEL, N_TOKENS), torch.zeros(_D_MODEL, N_TOKENS)
    for index in range(_N_FREQUENCIES):
        frequency = 10_000.0 ** (-index / half)
        sine, cosine = index, half + index
        to_sine, to_cosine = index, _N_FREQUENCIES + index
        turn[sine, to_sine], turn[cosine, to_sine] = math.cos(frequency), -math.sin(frequency)
        turn[cosine, to_cosine], turn[sine, to_cosine] = math.cos(frequency), math.sin(frequency)
        read[sine, to_sine] = read[cosine, to_cosine] = 1.0
    return turn, read
