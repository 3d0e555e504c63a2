"""What the learner's tests share: a tiny model, random segments, and a training step written without the library."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mxjax import rl
from mxjax.models import ModelConfig, forward
from mxjax.models.params import abstract_params, param_shardings

LONGEST = 32

CFG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    qk_norm=True,
)


@functools.cache
def _initial(seed):
    rng = np.random.default_rng(seed)

    def leaf(path, p):
        spread = rng.normal(size=p.shape) / np.sqrt(CFG.hidden_size)
        return (1 + spread if "norm" in jax.tree_util.keystr(path) else 2 * spread).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, abstract_params(CFG))


def params(mesh=None, seed=0):
    """Fresh parameters in arrays of their own, which an update may donate."""
    return jax.device_put(_initial(seed), None if mesh is None else param_shardings(CFG, mesh))


def segments(count, seed=0, roles=("designer", "executor"), temperatures=(1.0, 0.7), longest=10):
    """Random segments whose old log-probabilities are near those of a fresh policy, so that some ratios clip."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        prompt, response = (rng.integers(0, CFG.vocab_size, rng.integers(1, longest)) for _ in range(2))
        made.append(
            rl.training_segment(
                roles[index % len(roles)],
                prompt,
                response,
                advantage=rng.normal(),
                old_logprobs=-np.log(CFG.vocab_size) + 0.3 * rng.normal(size=len(response)),
                weight=rng.choice([1.0, 0.5]),
                temperature=temperatures[index % 3 == 0],
            )
        )
    return made


def copy(tree):
    """Arrays of their own, which no update can donate."""
    return jax.tree.map(lambda x: np.array(x), tree)


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, copy(a), copy(b))


def assert_close(a, b, rtol=2e-4, atol=2e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), copy(a), copy(b))


def _segment_logprobs(policy, tokens, length, temperature):
    positions = jnp.arange(LONGEST)
    logits = forward(policy, CFG, tokens[None], positions[None], (positions < length).astype(jnp.int32)[None])[0]
    table = jax.nn.log_softmax(logits / temperature, axis=-1)
    return jnp.concatenate([jnp.zeros(1), table[positions[:-1], tokens[1:]]])


def _segment_loss(policy, tokens, length, temperature, weights, old_logprobs, advantages, clip):
    ratio = jnp.exp(_segment_logprobs(policy, tokens, length, temperature) - old_logprobs)
    clipped = jnp.where(ratio > 1 + clip, 1 + clip, jnp.where(ratio < 1 - clip, 1 - clip, ratio))
    better = jnp.where(ratio * advantages <= clipped * advantages, ratio, clipped)
    return jnp.sum(-weights * better * advantages)


_logprobs_program = jax.jit(_segment_logprobs)
_loss_program = jax.jit(jax.value_and_grad(_segment_loss))


def _padded(array):
    return np.pad(array, (0, LONGEST - len(array)))


def segment_logprobs(policy, s):
    """log pi of each token, f32[n], from the full logits of the segment alone in a row."""
    return _logprobs_program(policy, _padded(s.tokens), len(s), s.temperature)[: len(s)]


def plain_loss(policy, batch, alphas, clip=0.2):
    """(loss, gradient) of sum over roles of alpha_r * (sum of w l) / (sum of w), one segment after the other."""
    total, gradient = 0.0, jax.tree.map(np.zeros_like, copy(policy))
    for role, alpha in alphas.items():
        own = [s for s in batch if s.role == role]
        for s in own if alpha else ():
            arrays = [_padded(a) for a in (s.weights, s.old_logprobs, s.advantages)]
            value, slope = _loss_program(policy, _padded(s.tokens), len(s), s.temperature, *arrays, clip)
            scale = alpha / sum(s.weights.sum() for s in own)
            total += scale * value
            gradient = jax.tree.map(lambda g, d, scale=scale: g + scale * np.asarray(d), gradient, slope)
    return total, gradient


def plain_step(policy, optimizer_state, optimizer, batch, alphas):
    """One optimiser step by hand."""
    _, gradient = plain_loss(policy, batch, alphas)
    updates, optimizer_state = jax.jit(optimizer.update)(gradient, optimizer_state, policy)
    return jax.tree.map(np.add, copy(policy), copy(updates)), optimizer_state


def with_old(batch, logprobs):
    """The segments with other old log-probabilities."""
    return [dataclasses.replace(s, old_logprobs=old) for s, old in zip(batch, logprobs)]
