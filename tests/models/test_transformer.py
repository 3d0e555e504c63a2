"""The transformer against a NumPy one written from the formulas, and the promises of its training forward pass."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import optional

from mxjax.models import ModelConfig, forward, token_logprobs
from mxjax.models.attention import BLOCK, LONG_BLOCK, packed_attention
from mxjax.models.params import abstract_params
from mxjax.models.transformer import LOGIT_BLOCK, hidden_states, token_stats

CFG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    rope_theta=1000.0,
    rms_norm_eps=1e-5,
    qk_norm=True,
    tie_word_embeddings=False,
    remat="none",
)
LLAMA = CFG.replace(qk_norm=False, tie_word_embeddings=True)


@functools.cache
def params(cfg=CFG):
    """Random parameters; large enough that attention and gates are far from uniform."""
    rng = np.random.default_rng(0)

    def leaf(path, p):
        noise = rng.normal(size=p.shape)
        scaled = 1 + 0.3 * noise if "norm" in jax.tree_util.keystr(path) else 2 * noise / np.sqrt(cfg.hidden_size)
        return jnp.asarray(scaled, jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, abstract_params(cfg))


def packed(lengths, total, seed=0):
    """Tokens, positions, segment ids int32[1, total] of segments of these lengths, then padding."""
    tokens = np.random.default_rng(seed).integers(0, CFG.vocab_size, total)
    positions, ids, start = np.zeros(total, int), np.zeros(total, int), 0
    for index, length in enumerate(lengths, 1):
        positions[start : start + length] = np.arange(length)
        ids[start : start + length] = index
        start += length
    return tuple(np.asarray(a, np.int32)[None] for a in (tokens, positions, ids))


def alone(tokens):
    """The same arrays for one segment in a row of its own."""
    n = len(tokens)
    return tuple(np.asarray(a, np.int32)[None] for a in (tokens, np.arange(n), np.ones(n)))


run_forward = jax.jit(forward, static_argnums=1)
run_stats = jax.jit(token_stats, static_argnums=1)


# A transformer from the formulas, one token and one head at a time, in float64.


def numpy_norm(x, weight, eps):
    return x / np.sqrt((x**2).mean() + eps) * weight


def numpy_rope(x, position, theta):
    half = len(x) // 2
    out = np.zeros_like(x)
    for i in range(half):
        angle = position * theta ** (-2 * i / len(x))
        out[i] = x[i] * np.cos(angle) - x[i + half] * np.sin(angle)
        out[i + half] = x[i + half] * np.cos(angle) + x[i] * np.sin(angle)
    return out


def numpy_softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def numpy_forward(policy, cfg, tokens):
    """Logits float64[n, V] of one segment."""
    policy = jax.tree.map(lambda x: np.asarray(x, np.float64), policy)
    eps, group = cfg.rms_norm_eps, cfg.num_attention_heads // cfg.num_key_value_heads
    x = policy["embed"][tokens]
    for index in range(cfg.num_hidden_layers):
        p = {name: leaf[index] for name, leaf in policy["layers"].items()}
        normed = [numpy_norm(v, p["attn_norm"], eps) for v in x]

        def heads(w, norm, t, normed=normed, p=p):
            vectors = np.einsum("d,dnh->nh", normed[t], w)
            if cfg.qk_norm:
                vectors = np.stack([numpy_norm(v, p[norm], eps) for v in vectors])
            return [numpy_rope(v, t, cfg.rope_theta) for v in vectors]

        queries = [heads(p["wq"], "q_norm", t) for t in range(len(tokens))]
        keys = [heads(p["wk"], "k_norm", t) for t in range(len(tokens))]
        values = [np.einsum("d,dkh->kh", v, p["wv"]) for v in normed]
        for t in range(len(tokens)):
            for n in range(cfg.num_attention_heads):
                k = n // group
                scores = np.array([queries[t][n] @ keys[s][k] for s in range(t + 1)]) / np.sqrt(cfg.head_dim)
                mixed = sum(w * values[s][k] for s, w in enumerate(numpy_softmax(scores)))
                x[t] = x[t] + mixed @ p["wo"][n]
        for t in range(len(tokens)):
            h = numpy_norm(x[t], p["mlp_norm"], eps)
            gate = h @ p["w_gate"]
            x[t] = x[t] + (gate / (1 + np.exp(-gate)) * (h @ p["w_up"])) @ p["w_down"]
    head = policy["embed"].T if cfg.tie_word_embeddings else policy["lm_head"]
    return np.stack([numpy_norm(v, policy["final_norm"], eps) @ head for v in x])


@pytest.mark.parametrize("cfg", [CFG, LLAMA, CFG.replace(num_key_value_heads=1)], ids=["qwen3", "llama", "mqa"])
def test_equals_numpy(cfg):
    tokens = np.random.default_rng(1).integers(0, cfg.vocab_size, 9)
    expected = numpy_forward(params(cfg), cfg, tokens)
    np.testing.assert_allclose(run_forward(params(cfg), cfg, *alone(tokens))[0], expected, rtol=1e-4, atol=1e-4)


# Packed rows.


def test_packed_segments_equal_separate_rows():
    lengths = [5, 9, 3]
    rows = packed(lengths, 20)
    together = run_forward(params(), CFG, *rows)[0]
    start = 0
    for length in lengths:
        separate = run_forward(params(), CFG, *alone(rows[0][0, start : start + length]))[0]
        np.testing.assert_allclose(together[start : start + length], separate, rtol=1e-4, atol=1e-5)
        start += length
    assert np.isfinite(together).all()


def test_a_later_token_changes_no_earlier_logit():
    rows = packed([12], 12)
    before = run_forward(params(), CFG, *rows)[0]
    changed = rows[0].copy()
    changed[0, 7] = (changed[0, 7] + 1) % CFG.vocab_size
    after = run_forward(params(), CFG, changed, *rows[1:])[0]
    np.testing.assert_array_equal(before[:7], after[:7])
    assert not np.allclose(before[7:], after[7:])


def test_neighbours_in_a_row_and_padding_change_nothing():
    rows = packed([6, 6], 16)
    before = run_forward(params(), CFG, *rows)[0]
    changed = rows[0].copy()
    changed[0, :6] = 0
    changed[0, 12:] = 0
    after = run_forward(params(), CFG, changed, *rows[1:])[0]
    np.testing.assert_array_equal(before[6:12], after[6:12])


def dense_attention(q, k, v, segment_ids):
    """Causal attention in each segment with every score at once."""
    T, N, H = q.shape[1:]
    k, v = (jnp.repeat(a, N // k.shape[2], axis=2) for a in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(H)
    visible = np.tril(np.ones((T, T), bool)) & (segment_ids[:, :, None] == segment_ids[:, None, :])
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, v)


@pytest.mark.parametrize("T", [9, BLOCK, BLOCK + 1, 3 * BLOCK + 77, 2 * LONG_BLOCK + 5])
def test_attention_in_blocks_equals_dense_with_its_gradients(T, monkeypatch):
    monkeypatch.setattr("mxjax.models.attention.LONG_ROW", 2 * LONG_BLOCK)  # what is dense takes memory
    rng = np.random.default_rng(T)
    q, k, v, grad = (rng.normal(size=(2, T, n, 4)).astype(np.float32) for n in (4, 2, 2, 4))
    ids = np.sort(rng.integers(1, 5, (2, T)).astype(np.int32), axis=1)
    ids[1, T // 2 :] = 0  # padding: what it attends to is nobody's concern, its gradient is zero
    grad[1, T // 2 :] = 0

    def run(attention):
        out, pull = jax.vjp(lambda q, k, v: attention(q, k, v, ids), q, k, v)
        return jnp.where(ids[..., None, None] > 0, out, 0), pull(grad)

    found, expected = (jax.jit(run, static_argnums=0)(f) for f in (packed_attention, dense_attention))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), found, expected)


# Log-probabilities.


def expected_stats(policy, cfg, rows, temperature):
    logits = run_forward(policy, cfg, *rows)
    tokens, _, ids = rows
    B, T = tokens.shape
    logprobs, entropies = np.zeros((B, T)), np.zeros((B, T))
    for b in range(B):
        for t in range(1, T):
            if ids[b, t] > 0 and ids[b, t] == ids[b, t - 1]:
                distribution = numpy_softmax(np.asarray(logits[b, t - 1], np.float64) / temperature[b, t])
                logprobs[b, t] = np.log(distribution[tokens[b, t]])
                entropies[b, t] = -(distribution * np.log(distribution)).sum()
    return logprobs, entropies


@pytest.mark.parametrize("T", [17, LOGIT_BLOCK, 3 * LOGIT_BLOCK - 5])
def test_token_stats_are_log_softmax_and_entropy(T):
    rows = packed([T // 3, T // 2], T)
    temperature = np.random.default_rng(2).uniform(0.5, 2.0, (1, T)).astype(np.float32)
    found = run_stats(params(), CFG, *rows, temperature)
    for a, b in zip(found, expected_stats(params(), CFG, rows, temperature), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_temperature_is_a_scalar_or_one_per_token():
    rows = packed([4, 5], 12)
    one = run_stats(params(), CFG, *rows, 0.7)[0]
    per_token = np.full((1, 12), 0.7, np.float32)
    per_token[0, 9:] = 0.0  # padding may hold anything
    np.testing.assert_allclose(one, run_stats(params(), CFG, *rows, per_token)[0], atol=1e-6)
    assert not np.allclose(one, run_stats(params(), CFG, *rows, 1.0)[0])
    scored = jax.jit(token_logprobs, static_argnums=1)(params(), CFG, *rows, 0.7)
    np.testing.assert_allclose(scored, one, atol=1e-5)


ROWS = packed([11, 20], 37)


def value_and_gradient(cfg=CFG):
    """Of a loss that needs log-probabilities and entropies of packed rows; compiled afresh."""

    def loss(policy):
        logprobs, entropies = token_stats(policy, cfg, *ROWS)
        return jnp.sum(logprobs * np.linspace(0, 1, 37)) + 0.1 * jnp.sum(entropies)

    return jax.jit(jax.value_and_grad(loss))(params())


@pytest.fixture(scope="module")
def plain():
    return value_and_gradient()


def assert_equal_gradients(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-4), a, b)


def test_blocks_do_not_change_values_or_gradients(plain, monkeypatch):
    monkeypatch.setattr("mxjax.models.transformer.LOGIT_BLOCK", 8)
    monkeypatch.setattr("mxjax.models.attention.BLOCK", 10)
    assert_equal_gradients(value_and_gradient(), plain)


@pytest.mark.parametrize("remat", ["dots", "full", "offload"])
def test_rematerialisation_changes_no_gradient(plain, remat):
    assert_equal_gradients(value_and_gradient(CFG.replace(remat=remat)), plain)


def temporary_bytes(cfg, T):
    """Of a compiled forward and backward pass over a row of T tokens, entropies included."""
    row = jax.ShapeDtypeStruct((1, T), jnp.int32)

    def loss(policy, *rows):
        logprobs, entropies = token_stats(policy, cfg, *rows)
        return logprobs.sum() + entropies.sum()

    compiled = jax.jit(jax.grad(loss)).lower(abstract_params(cfg), row, row, row).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_logits_of_all_tokens_never_exist_at_once():
    cfg = CFG.replace(vocab_size=8192, num_hidden_layers=1, hidden_size=16, remat="full")
    short, long = 8 * LOGIT_BLOCK, 16 * LOGIT_BLOCK
    growth = temporary_bytes(cfg, long) - temporary_bytes(cfg, short)
    assert growth < 0.1 * (long - short) * cfg.vocab_size * 4


def test_rematerialisation_takes_less_memory():
    deep = CFG.replace(num_hidden_layers=6)
    none, dots, full = (temporary_bytes(deep.replace(remat=remat), 1024) for remat in ("none", "dots", "full"))
    assert full < 0.8 * dots < 0.64 * none, (none, dots, full)


OFFLOAD = """
import jax
from jax.experimental import topologies
from mxjax.config import default_config
from mxjax.models import preset
from mxjax.rl import make_optimizer, make_policy_loss
from mxjax.rl.programs import Programs
from mxjax.sharding import make_mesh
mesh = make_mesh({"fsdp": 1}, topologies.get_topology_desc("v5e:2x2", "tpu").devices[:1])
for remat in ("full", "offload"):
    cfg = preset("tiny").replace(
        num_hidden_layers=4, hidden_size=512, intermediate_size=1024, head_dim=128, dtype="bfloat16", remat=remat
    )
    optimizer = make_optimizer(dict(default_config().rl.optimizer))
    programs = Programs(cfg, optimizer, make_policy_loss(), ("designer",), (1, 1024), mesh)
    memory = programs.lower("accumulate").compile().memory_analysis()
    print("bytes", memory.host_temp_size_in_bytes, memory.peak_memory_in_bytes)
"""


@pytest.mark.slow
def test_offload_keeps_the_inputs_of_layers_on_the_host():
    """On TPUs alone: elsewhere the host's memory is the device's."""
    optional("libtpu")
    done = subprocess.run(
        [sys.executable, "-c", OFFLOAD], capture_output=True, text=True, timeout=600,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("bytes")]
    (full_host, full_peak), (host, peak) = [map(int, line) for line in lines]
    inputs = 4 * 1024 * 512 * 2  # layers, tokens, width, bytes of bfloat16
    assert full_host == 0 and host >= inputs
    assert peak <= full_peak - inputs / 2


def test_bfloat16_compute_keeps_float32_scores():
    rows, rough = packed([4, 5], 12), CFG.replace(dtype="bfloat16")
    assert jax.eval_shape(lambda p: hidden_states(p, rough, *rows), params()).dtype == jnp.bfloat16
    logprobs = run_stats(params(), rough, *rows, 1.0)[0]
    assert logprobs.dtype == jnp.float32
    np.testing.assert_allclose(logprobs, run_stats(params(), CFG, *rows, 1.0)[0], atol=0.5)
