"""The device programs against the training forward pass, and what another row must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mxjax.models.config import RopeScaling
from mxjax.models.params import param_table
from mxjax.sampling import programs
from mxjax.sharding import make_mesh
from sampling.toys import CONFIG, make_params, make_policy, response_logits

SIZE, BLOCKS, SLOTS = 16, 4, 3
VARIANTS = {
    "untied, no qk_norm, one kv head": CONFIG.replace(
        num_key_value_heads=1, qk_norm=False, tie_word_embeddings=False, num_hidden_layers=1
    ),
    "windows shorter than the prompt, biases, norms on both sides": CONFIG.replace(
        layer_types=("sliding_attention", "full_attention"),
        sliding_window=SIZE + 5,
        rope_local_base_freq=100.0,
        rope_scaling=RopeScaling("llama3", 4.0, original_max_position_embeddings=16),
        attention_bias=True,
        sandwich_norms=True,
        scale_embeddings=True,
        query_pre_attn_scalar=24,
        hidden_act="gelu_pytorch_tanh",
    ),
    "as many kv heads": CONFIG.replace(num_key_value_heads=4, hidden_size=24, num_hidden_layers=1),
}


def dense_attention(q, k, v, positions):
    """Causal attention of q [B, T, N, H] over k, v [B, K, S, H] in float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    groups = q.shape[2] // k.shape[1]
    k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
    scores = np.einsum("btnh,bnsh->bnts", q, k) / np.sqrt(q.shape[-1])
    visible = np.arange(k.shape[2]) <= positions[:, None, :, None]
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bnts,bnsh->btnh", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("queries", [1, 5])
def test_cached_attention_is_attention(kv_heads, queries):
    rng = np.random.default_rng(0)
    length = SIZE * BLOCKS
    q = rng.normal(size=(SLOTS, queries, 4, 8)).astype(np.float32) * 3
    k, v = (rng.normal(size=(SLOTS, kv_heads, length, 8)).astype(np.float32) for _ in range(2))
    positions = np.array([[0], [SIZE - 1], [length - queries]]) + np.arange(queries)

    def read_block(i):
        block = lambda a: jax.lax.dynamic_slice_in_dim(jnp.asarray(a), i * SIZE, SIZE, axis=2)
        return block(k).swapaxes(2, 3), block(v)

    out = programs.cached_attention(jnp.asarray(q), jnp.asarray(positions), SIZE, read_block)
    np.testing.assert_allclose(out, dense_attention(q, k, v, positions), atol=2e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_prefill_then_decode_is_forward(name):
    cfg = VARIANTS[name]
    policy = make_policy(cfg)
    params = programs.split_layers(policy.params, cfg)
    ids = np.random.default_rng(1).integers(0, cfg.vocab_size, (SLOTS, 2 * SIZE + 3)).astype(np.int32)
    cache = programs.empty_memory(cfg, SLOTS, BLOCKS, SIZE).cache
    prefill = jax.jit(programs.prefill, static_argnums=1)
    decode_logits = jax.jit(programs.decode_logits, static_argnums=1)
    order = np.array([2, 0, 1], np.int32)
    for start in (0, SIZE):
        cache = prefill(params, cfg, cache, ids[order, start : start + SIZE], order, np.int32(start))
    want = np.stack(response_logits(policy, [(row[: 2 * SIZE + 1], row[2 * SIZE + 1 :]) for row in ids]))
    for step in range(2):
        position = 2 * SIZE + step
        got, cache = decode_logits(params, cfg, cache, ids[:, position], np.full(SLOTS, position, np.int32))
        np.testing.assert_allclose(got, want[:, step], atol=2e-5)


def test_a_row_ignores_longer_mates_and_the_rest_of_the_cache():
    cfg = CONFIG.replace(num_hidden_layers=1)
    params = programs.split_layers(make_params(cfg), cfg)
    decode_logits = jax.jit(programs.decode_logits, static_argnums=1)
    rng = np.random.default_rng(2)
    cache = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), programs.empty_memory(cfg, SLOTS, BLOCKS, SIZE).cache
    )
    other = jax.tree.map(lambda a: a.at[:, 0].set(9.0).at[2:, 1].set(-9.0), cache)  # slot 1 ends in block 1
    token = np.array([7, 8, 9], np.int32)
    alone, _ = decode_logits(params, cfg, cache, token, np.array([0, 20, 0], np.int32))
    crowd, _ = decode_logits(params, cfg, other, np.array([1, 8, 2], np.int32), np.array([63, 20, 40], np.int32))
    assert np.array_equal(np.asarray(alone)[1], np.asarray(crowd)[1])


def test_split_layers_is_a_copy_in_the_compute_dtype():
    cfg = CONFIG.replace(dtype="bfloat16")
    params = make_params(cfg)
    split = programs.split_layers(params, cfg)
    assert {leaf.dtype for leaf in jax.tree.leaves(split)} == {jnp.dtype("bfloat16")}
    assert len(split["layers"]) == cfg.num_hidden_layers
    np.testing.assert_array_equal(split["layers"][1]["wq"], params["layers"]["wq"][1].astype("bfloat16"))
    same_dtype = programs.split_layers(params, CONFIG)
    jax.tree.map(lambda leaf: leaf.delete(), params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(same_dtype))


def test_layout_on_a_mesh_is_that_of_the_table_whatever_comes_in():
    cfg = CONFIG.replace(num_hidden_layers=1)
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    params = jax.device_put(make_params(cfg), NamedSharding(mesh, PartitionSpec()))
    layer = programs.split_layers(params, cfg, mesh)["layers"][0]
    assert layer["wq"].sharding.shard_shape(layer["wq"].shape) == (16, 2, 16)
    assert layer["w_down"].sharding.shard_shape(layer["w_down"].shape) == (32, 16)
    k, v = programs.empty_memory(cfg, 8, BLOCKS, SIZE, mesh).cache[0]
    assert k.sharding.shard_shape(k.shape) == (BLOCKS, 2, 1, 16, SIZE)
    assert v.sharding.shard_shape(v.shape) == (BLOCKS, 2, 1, SIZE, 16)


def test_every_parameter_is_split():
    cfg = CONFIG.replace(tie_word_embeddings=False)
    split = jax.eval_shape(lambda: programs.split_layers(make_params(cfg), cfg))
    table = param_table(cfg)
    assert split.keys() == table.keys() and split["layers"][0].keys() == table["layers"].keys()
