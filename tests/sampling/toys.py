"""A toy policy, and NumPy oracles for what the engine claims about its samples."""

import dataclasses

import jax
import numpy as np

from mxjax.models import ModelConfig, forward, token_logprobs
from mxjax.models.params import Leaf, param_shardings, param_table
from mxjax.models.tokenizer import Tokenizer

CONFIG = ModelConfig(
    vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, qk_norm=True, max_position_embeddings=128,
)  # fmt: skip
CHAT = Tokenizer.byte_level(CONFIG.vocab_size)
ENDLESS = dataclasses.replace(CHAT, template=None, stop_ids=())  # samples end where a test says
LENGTH = 64  # rows of the teacher-forced oracles
ROWS = 8
PROGRAMS = 7  # that an engine compiles


@dataclasses.dataclass(frozen=True)
class Policy:
    params: dict
    config: ModelConfig
    tokenizer: object


def make_params(config, seed=0, mesh=None) -> dict:
    """Random parameters from the table, without compiling an initialiser for each configuration."""
    rng = np.random.default_rng(seed)
    draw = lambda leaf: np.float32(rng.normal(size=leaf.shape) * leaf.std if leaf.std else np.ones(leaf.shape))
    params = jax.tree.map(draw, param_table(config), is_leaf=lambda x: isinstance(x, Leaf))
    return jax.device_put(params, None if mesh is None else param_shardings(config, mesh))


def make_policy(config=CONFIG, seed=0, mesh=None) -> Policy:
    return Policy(make_params(config, seed, mesh), config, ENDLESS)


def _rows(sequences, fill=0):
    rows = np.full((ROWS, LENGTH), fill, np.int32)
    for row, ids in zip(rows, sequences):
        row[: len(ids)] = ids
    return rows


_forward = jax.jit(forward, static_argnums=1)
_token_logprobs = jax.jit(token_logprobs, static_argnums=1)


def _teacher_forced(fn, policy, pairs, *args):
    """`fn` over prompt + response of each (prompt, response), ROWS at a time, at one shape."""
    for first in range(0, len(pairs), ROWS):
        part = [np.concatenate([prompt, response]) for prompt, response in pairs[first : first + ROWS]]
        positions = np.broadcast_to(np.arange(LENGTH), (ROWS, LENGTH))
        segments = _rows([np.ones(len(ids)) for ids in part])
        out = fn(
            policy.params, policy.config, _rows(part), positions, segments, *(a[first : first + ROWS] for a in args)
        )
        yield from np.asarray(out)[: len(part)]


def response_logits(policy, pairs) -> list[np.ndarray]:
    """Per (prompt, response): the logits [R, V] that each response token was drawn from, by `forward`."""
    rows = _teacher_forced(_forward, policy, pairs)
    return [
        logits[len(prompt) - 1 : len(prompt) + len(response) - 1]
        for logits, (prompt, response) in zip(rows, pairs, strict=True)
    ]


def response_logprobs(policy, pairs, temperatures) -> list[np.ndarray]:
    """Per (prompt, response): `token_logprobs` [R] of the response at the request's temperature."""
    temperatures = np.resize(np.asarray(temperatures, np.float32), -(-len(pairs) // ROWS) * ROWS)
    by_token = np.broadcast_to(temperatures[:, None], (len(temperatures), LENGTH))
    rows = _teacher_forced(_token_logprobs, policy, pairs, by_token)
    return [row[len(prompt) : len(prompt) + len(response)] for row, (prompt, response) in zip(rows, pairs, strict=True)]


def kept(logits, top_k=0, top_p=1.0, min_p=0.0) -> np.ndarray:
    """Mask [V] of the tokens that truncation keeps, by sorting, in float64; ties at a threshold stay."""
    logits = np.asarray(logits, np.float64)
    mask = logits > -np.inf
    if 0 < top_k < logits.size:
        mask &= logits >= np.sort(logits)[-top_k]
    if top_p < 1:
        probs = softmax(np.where(mask, logits, -np.inf))
        descending = np.sort(probs)[::-1]
        nucleus = min(int(np.searchsorted(np.cumsum(descending), top_p)), probs.size - 1)
        mask &= probs >= descending[nucleus]
    if min_p > 0:
        mask &= logits >= logits.max() + np.log(min_p)
    return mask


def softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def truncated_softmax(logits, temperature=1.0, **settings) -> np.ndarray:
    """The distribution [V] that a token is drawn from."""
    scaled = np.asarray(logits, np.float64) / temperature
    return softmax(np.where(kept(scaled, **settings), scaled, -np.inf))


def penalised(logits, prompt, response, repetition=1.0, presence=0.0, frequency=0.0) -> np.ndarray:
    """Logits [V] after the penalties, one token after another, in float64."""
    out = np.array(logits, np.float64)
    for token in {*prompt, *response}:
        out[token] = out[token] / repetition if out[token] > 0 else out[token] * repetition
    for token in set(response):
        out[token] -= presence
    for token in response:
        out[token] -= frequency
    return out


def assert_drawn_from(ids, probs) -> None:
    """Chi-square test of samples against a distribution, at p > 1e-4; ids that cannot be drawn must not be there."""
    counts = np.bincount(ids, minlength=len(probs))
    assert counts[probs == 0].sum() == 0
    order = np.argsort(probs)[::-1]
    expected, counts = probs[order] * len(ids), counts[order]
    large = max(1, int((expected >= 8).sum()))
    expected = np.append(expected[:large], expected[large:].sum())
    counts = np.append(counts[:large], counts[large:].sum())
    filled = expected > 0
    freedom = max(1, filled.sum() - 1)
    statistic = ((counts - expected)[filled] ** 2 / expected[filled]).sum()
    # Wilson and Hilferty: the cube root of chi-square / freedom is nearly normal
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    assert z < 3.72, f"chi-square {statistic:.1f} with {freedom} degrees of freedom"


def same_bits(a, b) -> bool:
    """Whether two completions hold the same ids and bitwise the same log-probabilities."""
    return all(
        np.array_equal(getattr(a, name).view(np.int32), getattr(b, name).view(np.int32))
        for name in ("token_ids", "logprobs", "model_logprobs")
    ) and (a.finish_reason, a.text) == (b.finish_reason, b.text)
