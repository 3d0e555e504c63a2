"""Every attention backend against dense attention, which of them is chosen, and that TPUs take ours."""

import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import optional

from mxjax.models import preset
from mxjax.sampling import programs
from mxjax.sampling.attention import (
    BACKENDS,
    TpuAttention,
    TpuNarrowAttention,
    XlaAttention,
    cached_attention,
    choose,
)
from mxjax.sharding import make_mesh
from sampling.toys import CONFIG

SIZE, BLOCKS, SLOTS = 16, 4, 3


def dense_attention(q, k, v, positions, window=None):
    """Causal attention of q [B, T, N, H] over k, v [B, K, S, H] in float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    groups = q.shape[2] // k.shape[1]
    k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
    scores = np.einsum("btnh,bnsh->bnts", q, k) / np.sqrt(q.shape[-1])
    visible = np.arange(k.shape[2]) <= positions[:, None, :, None]
    if window is not None:
        visible = visible & (np.arange(k.shape[2]) > positions[:, None, :, None] - window)
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

    out = cached_attention(jnp.asarray(q), jnp.asarray(positions), SIZE, read_block)
    np.testing.assert_allclose(out, dense_attention(q, k, v, positions), atol=2e-5)


def reference_kernel(monkeypatch):
    """The interpreter of TPU kernels does not know all that this one uses: JAX's own reference stands in for it."""
    from jax.experimental.pallas import tpu as pltpu
    from jax.experimental.pallas.ops.tpu import ragged_paged_attention as module

    monkeypatch.setattr(pltpu, "with_memory_space_constraint", lambda x, space: x)  # the reference runs eagerly

    def reference(*args, num_kv_pages_per_block, num_queries_per_block, **kwargs):
        return module.ref_ragged_paged_attention(*args, **kwargs)

    monkeypatch.setattr(module, "ragged_paged_attention", reference)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("window", [None, 20])
def test_backends_write_and_attend_alike(name, window, monkeypatch):
    if name == "gpu" and window:
        pytest.skip("its kernel has no sliding window")
    reference_kernel(monkeypatch)
    backend, rng = BACKENDS[name](SIZE), np.random.default_rng(0)
    backend.interpret = True
    cfg = CONFIG.replace(
        num_key_value_heads=2, num_attention_heads=4, head_dim={"tpu": 128, "tpu_narrow": 64}.get(name, 32)
    )
    K, N, H, pages = cfg.num_key_value_heads, cfg.num_attention_heads, cfg.head_dim, SLOTS * BLOCKS + 1
    k, v = (rng.normal(size=(SLOTS, BLOCKS * SIZE, K, H)).astype(np.float32) for _ in range(2))
    table = 1 + rng.permutation(SLOTS * BLOCKS).reshape(SLOTS, BLOCKS).astype(np.int32)
    layer = tuple(jnp.full((pages, *shape), 3.0) for shape, _ in backend.layout(cfg))
    for block in range(BLOCKS):
        piece = slice(block * SIZE, (block + 1) * SIZE)
        layer = backend.write_pages(layer, jnp.asarray(table[:, block]), k[:, piece], v[:, piece])
    position = np.array([5, 16, 63], np.int32)  # written again, with other values
    rows = np.arange(SLOTS)
    k[rows, position], v[rows, position] = rng.normal(size=(2, SLOTS, K, H))
    page = jnp.asarray(table[rows, position // SIZE])
    layer = backend.write_tokens(layer, page, position % SIZE, k[rows, position], v[rows, position])
    heads_first = lambda a: a.transpose(0, 2, 1, 3)
    got_k, got_v = backend.read(layer, jnp.asarray(table[:, 1]))
    np.testing.assert_array_equal(got_k.swapaxes(2, 3), heads_first(k[:, SIZE : 2 * SIZE]))
    np.testing.assert_array_equal(got_v, heads_first(v[:, SIZE : 2 * SIZE]))
    for T in (1, 4):
        q = rng.normal(size=(SLOTS, T, N, H)).astype(np.float32)
        positions = position[:, None] - T + 1 + np.arange(T, dtype=np.int32)
        out = backend.attend(layer, jnp.asarray(q), jnp.asarray(positions), jnp.asarray(table), window)
        want = dense_attention(q, heads_first(k), heads_first(v), positions, window)
        np.testing.assert_allclose(out, want, atol=2e-5)


def test_a_token_is_written_on_tpus_as_elsewhere(monkeypatch):
    backend, rng = XlaAttention(SIZE), np.random.default_rng(0)
    cfg, page, offset = CONFIG, jnp.array([4, 1, 6]), jnp.array([0, 7, SIZE - 1])
    layer = tuple(jnp.asarray(rng.normal(size=(7, *shape)), jnp.float32) for shape, _ in backend.layout(cfg))
    new = rng.normal(size=(2, SLOTS, cfg.num_key_value_heads, cfg.head_dim)).astype(np.float32)
    want = backend.write_tokens(layer, page, offset, *new)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, tpu, default: tpu(*args))
    jax.tree.map(np.testing.assert_array_equal, backend.write_tokens(layer, page, offset, *new), want)
    assert not np.array_equal(want[0], layer[0])


@pytest.mark.parametrize("shape", [{"tensor": 2}, {"fsdp": 2}, {"data": 2, "fsdp": 2, "tensor": 2}])
@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("backend", [TpuAttention, TpuNarrowAttention])
def test_the_kernels_of_tpus_read_each_devices_own_pages_and_heads(backend, shape, queries, monkeypatch):
    """Decode has its rows by slot; the rows of prompts are of any group, in any order."""
    alone = backend(SIZE)
    by_pages = lambda self, kv, *args: XlaAttention.attend(alone, (kv,), *args[:-1], window=args[-1])
    monkeypatch.setattr(backend, "_kernel", lambda self, *args, window: by_pages(self, *args, window))
    mesh = make_mesh(shape, jax.devices()[: math.prod(shape.values())])
    cfg, slots = CONFIG.replace(num_key_value_heads=2, num_attention_heads=4, head_dim=128), 4
    groups, rng = programs.slot_groups(slots, mesh), np.random.default_rng(0)
    sharded = backend(SIZE, mesh, groups)
    layout = programs.memory_layout(cfg, sharded, slots, slots * BLOCKS, mesh).cache[0]
    layer = tuple(jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for leaf in layout)
    total = len(layer[0]) // groups
    of_row = np.arange(slots) // (slots // groups)
    if queries > 1:
        of_row = rng.permutation(of_row)
    table = np.stack([g * total + 1 + rng.permutation(total - 1)[:BLOCKS] for g in of_row]).astype(np.int32)
    q = rng.normal(size=(slots, queries, 4, 128)).astype(np.float32)
    positions = np.array([5, 16, 40, 63], np.int32)[:, None] - queries + 1 + np.arange(queries, dtype=np.int32)
    put = lambda leaf, like: jax.device_put(leaf, like.sharding)
    attend = jax.jit(sharded.attend, static_argnames="by_slot")
    out = attend(jax.tree.map(put, layer, layout), q, positions, table, by_slot=queries == 1)
    blocks = zip(*(alone.read(layer, jnp.asarray(table[:, block])) for block in range(BLOCKS)))
    k_BKHC, v_BKCH = (np.concatenate(a, axis=axis) for a, axis in zip(blocks, (3, 2)))
    want = dense_attention(q, k_BKHC.swapaxes(2, 3), v_BKCH, positions)
    np.testing.assert_allclose(out, want, atol=2e-5)


def test_auto_takes_the_kernel_where_it_fits_and_says_why_not():
    big, small = preset("qwen3-8b"), preset("smollm2-135m")
    assert choose("auto", big, 64, platform="cpu") == ("xla", "there is no kernel for cpu")
    for platform in ("tpu", "gpu"):
        assert choose("auto", big, 64, platform=platform)[0] == platform
        assert choose("xla", big, 64, platform=platform) == ("xla", "asked for")
    eight = make_mesh({"fsdp": 2, "tensor": 4})
    assert choose("auto", big, 64, eight, platform="tpu")[0] == "tpu"
    assert "8" in choose("auto", big, 64, eight, platform="gpu")[1]
    assert "mesh.tensor=4" in choose("auto", big.replace(num_key_value_heads=2), 64, eight, platform="tpu")[1]
    assert choose("auto", small, 64, platform="tpu") == (
        "tpu_narrow",
        "not tpu: its kernel cannot tile 3 kv heads of bfloat16",
    )
    for name in ("llama-3.2-1b", "qwen2.5-0.5b", "smollm2-360m"):
        assert choose("auto", preset(name), 64, platform="tpu")[0] == "tpu_narrow"
    name, why = choose("auto", small.replace(head_dim=40), 64, platform="tpu")
    assert name == "xla" and "not tpu: " in why and "not tpu_narrow: its kernel needs heads of a multiple of 64" in why
    assert choose("auto", small, 64, platform="tpu", slots=64, blocks=2048)[0] == "tpu_narrow"
    assert "128 slots with 2048 pages" in choose("auto", small, 64, platform="tpu", slots=128, blocks=2048)[1]
    assert "no room for pages of 4096 tokens" in choose("auto", preset("llama-3.2-1b"), 4096, platform="tpu")[1]
    assert "multiple of 16, not 24" in choose("auto", small.replace(dtype="bfloat16"), 24, platform="tpu")[1]
    assert choose("auto", small, 64, platform="gpu")[0] == "gpu"
    assert "window" in choose("auto", preset("gemma3-1b"), 64, platform="gpu")[1]
    assert "power of two" in choose("auto", big, 48, platform="gpu")[1]


@pytest.mark.parametrize(
    "name, platform, reason",
    [("mps", "cpu", "auto"), ("tpu_narrow", "cpu", "needs a tpu, this is a cpu"), ("tpu", "tpu", "3 kv heads")],
)
def test_a_backend_that_cannot_be_had_is_refused(name, platform, reason):
    with pytest.raises(ValueError, match=reason) as error:
        choose(name, preset("smollm2-135m"), 64, platform=platform)
    assert "\n" not in str(error.value)


COMPILE_FOR_TPU = """
import json, math, re, sys, jax
from jax.experimental import topologies
from mxjax.models import preset
from mxjax.plan.plan import TO_BE_READ
from mxjax.sampling import programs
from mxjax.sampling.attention import BACKENDS
from mxjax.sharding import make_mesh
topology, name, kv_heads, head_dim = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
cfg = preset("qwen3-0.6b").replace(
    num_hidden_layers=2, vocab_size=1024, hidden_size=256, intermediate_size=512, num_attention_heads=2 * kv_heads,
    num_key_value_heads=kv_heads, head_dim=head_dim,
)
axes = json.loads(sys.argv[5])
ways = math.prod(axes.values())
mesh = make_mesh(axes, topologies.get_topology_desc(topology, "tpu").devices[:ways])
size, count = 128 if name == "xla" else 64, 1024  # a layer's pages would fit into the fast memory of v6e
attention = BACKENDS[name](size, mesh, programs.slot_groups(16, mesh))
layout = programs.memory_layout(cfg, attention, 16, count, mesh)
cache = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(layout.cache)) // ways
lowered = programs.lowered(cfg, attention, 4, 8, layout, mesh)
pages = ",".join(map(str, layout.cache[0][0].sharding.shard_shape(layout.cache[0][0].shape)))
for program in lowered.values():
    compiled = program.compile(compiler_options=TO_BE_READ)
    moved = re.findall(r" = .*\\[" + pages + r"\\].* (?:copy|copy-start)\\(", compiled.as_text())
    print("temporaries", compiled.memory_analysis().temp_size_in_bytes, "cache", cache, "moved", len(moved))
"""


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x2", "v6e:2x2"])
@pytest.mark.parametrize(
    "name, kv_heads, head_dim, axes",
    [("tpu", 8, 128, {"tensor": 1}), ("tpu", 2, 128, {"tensor": 1}), ("tpu", 8, 128, {"tensor": 4}),
     ("tpu_narrow", 3, 64, {"fsdp": 2}), ("tpu_narrow", 8, 64, {"tensor": 4}), ("tpu_narrow", 2, 64, {"tensor": 1}),
     ("xla", 3, 64, {"tensor": 1})],
)  # fmt: skip
def test_programs_compile_for_tpus_and_copy_no_cache(topology, name, kv_heads, head_dim, axes):
    """`xla` copies nothing where a page of heads of 64 is whole tiles, of 128 tokens."""
    optional("libtpu")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE_FOR_TPU, topology, name, str(kv_heads), str(head_dim), json.dumps(axes)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("temporaries")]
    assert len(lines) == 2
    assert all(int(temporaries) < int(cache) / 20 for _, temporaries, _, cache, *_ in lines), "the cache is copied"
    if name != "xla":
        assert all(line[-1] == "0" for line in lines), "pages are moved within a chip"
