"""The device programs against the training forward pass, and what another row must not change."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mxjax.models.config import RopeScaling
from mxjax.models.params import param_table
from mxjax.sampling import programs
from mxjax.sampling.attention import BACKENDS, XlaAttention
from mxjax.sharding import make_mesh
from sampling.test_attention import reference_kernel
from sampling.toys import CONFIG, make_params, make_policy, response_logits

SIZE, BLOCKS, SLOTS = 16, 4, 3
XLA = XlaAttention(SIZE)
PAGES = SLOTS * BLOCKS + 1
TABLE = 1 + np.random.default_rng(0).permutation(SLOTS * BLOCKS).reshape(SLOTS, BLOCKS).astype(np.int32)
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


def empty_memory(cfg, attention=XLA):
    return programs.empty_memory(programs.memory_layout(cfg, attention, SLOTS, PAGES - 1))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_prefill_then_decode_is_forward(backend, name, monkeypatch):
    """Kernels are interpreted; that of TPUs is JAX's own reference of it, which cannot be traced."""
    if backend == "gpu" and VARIANTS[name].sliding_window:
        pytest.skip("its kernel has no sliding window")
    jit = jax.jit if backend != "tpu" else lambda fn, **_: fn
    reference_kernel(monkeypatch)
    attention, cfg = BACKENDS[backend](SIZE), VARIANTS[name]
    attention.interpret = True
    policy = make_policy(cfg)
    params = programs.split_layers(policy.params, cfg)
    ids = np.random.default_rng(1).integers(0, cfg.vocab_size, (SLOTS, 2 * SIZE + 3)).astype(np.int32)
    memory = empty_memory(cfg, attention)
    prefill = jit(programs.prefill, static_argnums=(1, 2))
    decode_logits = jit(programs.decode_logits, static_argnums=(1, 2))
    row, start = np.array([2, 0, 2, 1, 0, 1]), np.array([0, 0, 1, 0, 1, 1], np.int32) * SIZE  # also two of one prompt
    pieces = np.stack([ids[r, s : s + SIZE] for r, s in zip(row, start)])
    cache = prefill(params, cfg, attention, memory, pieces, TABLE[row], start).cache
    want = np.stack(response_logits(policy, [(row[: 2 * SIZE + 1], row[2 * SIZE + 1 :]) for row in ids]))
    for step in range(2):
        at = 2 * SIZE + step
        got, cache = decode_logits(params, cfg, attention, cache, ids[:, at], np.full(SLOTS, at, np.int32), TABLE)
        np.testing.assert_allclose(got, want[:, step], atol=2e-5)


def test_a_row_ignores_longer_mates_its_place_and_the_rest_of_the_cache():
    cfg = CONFIG.replace(num_hidden_layers=1)
    params = programs.split_layers(make_params(cfg), cfg)
    decode_logits = jax.jit(programs.decode_logits, static_argnums=(1, 2))
    rng = np.random.default_rng(2)
    cache = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), empty_memory(cfg).cache)
    shuffle = rng.permutation(PAGES)
    other = jax.tree.map(lambda a: jnp.full_like(a, 9.0).at[shuffle[TABLE[1]]].set(a[TABLE[1]]), cache)
    token = np.array([7, 8, 9], np.int32)
    alone, _ = decode_logits(params, cfg, XLA, cache, token, np.array([0, 20, 0], np.int32), TABLE)
    moved = shuffle[TABLE[[0, 2, 1]]].astype(np.int32)
    crowd, _ = decode_logits(
        params, cfg, XLA, other, np.array([1, 2, 8], np.int32), np.array([63, 40, 20], np.int32), moved
    )
    assert np.array_equal(np.asarray(alone)[1], np.asarray(crowd)[2])


def _taken(cache, pages):
    return jax.tree.map(lambda pool: pool[np.array(pages)], cache)


def test_pages_move_as_they_are():
    memory = empty_memory(CONFIG)
    rng = np.random.default_rng(3)
    memory = memory._replace(cache=jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), memory.cache))
    before = jax.tree.map(np.asarray, memory.cache)
    for groups in (1, 2):  # those past the count are page 0, a null page
        copy = jax.jit(functools.partial(programs.copy_pages, XlaAttention(SIZE, groups=groups)))
        copied = copy(memory, np.array([3, 5, 0], np.int32), np.array([7, 8, 0], np.int32), 2)
        moved = [*range(7), 3, 5, *range(9, PAGES)]
        jax.tree.map(np.testing.assert_array_equal, copied.cache, _taken(before, moved))
    saved = programs.save_pages(memory, np.array([4, 9], np.int32))
    loaded = programs.load_pages(memory, np.array([6, 0], np.int32), saved)
    moved = [9, *range(1, 6), 4, *range(7, PAGES)]
    jax.tree.map(np.testing.assert_array_equal, loaded.cache, _taken(before, moved))


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
    assert (
        programs.slot_groups(8, mesh) == 4 and programs.slot_groups(2, mesh) == 2 and programs.slot_groups(3, mesh) == 1
    )
    memory = programs.empty_memory(programs.memory_layout(cfg, XlaAttention(SIZE, mesh, 4), 8, 4 * 4, mesh))
    k, v = memory.cache[0]
    assert k.sharding.shard_shape(k.shape) == (5, 1, 16, SIZE)
    assert v.sharding.shard_shape(v.shape) == (5, 1, SIZE, 16)
    assert memory.seen_SV.sharding.shard_shape(memory.seen_SV.shape) == (2, 150)


def test_every_parameter_is_split():
    cfg = CONFIG.replace(tie_word_embeddings=False)
    split = jax.eval_shape(lambda: programs.split_layers(make_params(cfg), cfg))
    table = param_table(cfg)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), split) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), programs.params_layout(cfg)
    )
    assert split.keys() == table.keys() and split["layers"][0].keys() == table["layers"].keys()
