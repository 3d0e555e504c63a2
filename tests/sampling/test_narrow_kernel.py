"""Our TPU kernel, interpreted, against dense attention; what lies outside the live pages is NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import optional

from mxjax.plan.tpu import parse_slice
from mxjax.sampling import narrow_kernel
from mxjax.sampling.narrow_kernel import narrow_attention, shares
from sampling.test_attention import dense_attention


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Rows of a few hundred tokens are several blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrow_kernel, "KEYS", 64)
        yield


def check(last, tokens, kv_heads, groups, size, blocks, window=None, head_dim=64, dtype="float32", atol=3e-6):
    """Rows of `tokens` tokens that end at the positions `last`, over pages of `size` tokens in random places."""
    rng, rows = np.random.default_rng(0), len(last)
    k, v = rng.normal(size=(2, rows, blocks * size, kv_heads, head_dim)).astype(np.float32)
    table = 1 + rng.permutation(rows * blocks).reshape(rows, blocks).astype(np.int32)
    pages = np.full((rows * blocks + 1, kv_heads, size, 2 * head_dim), np.nan, np.float32)
    for row, block in np.ndindex(table.shape):
        if block * size <= last[row]:
            piece = slice(block * size, (block + 1) * size)
            pages[table[row, block]] = np.concatenate([k[row, piece], v[row, piece]], -1).swapaxes(0, 1)
    q = rng.normal(size=(rows, tokens, kv_heads * groups, head_dim)).astype(np.float32)
    last = np.array(last, np.int32)
    got = narrow_attention(
        jnp.asarray(q, dtype), jnp.asarray(pages, dtype), jnp.asarray(last), jnp.asarray(table), window, interpret=True
    )
    positions = last[:, None] - tokens + 1 + np.arange(tokens)
    want = dense_attention(q, k.swapaxes(1, 2), v.swapaxes(1, 2), positions, window)
    np.testing.assert_allclose(got.astype(np.float32), want, atol=atol)


@pytest.mark.parametrize(
    ("last", "tokens", "kv_heads", "groups", "size", "blocks", "window", "head_dim"),
    [
        ([0, 319, 15, 16], 1, 3, 3, 16, 20, None, 64),  # SmolLM2-135M: 3 heads fill no tile
        ([40, 700], 1, 2, 2, 64, 12, 100, 64),  # blocks before the window are not read
        ([63, 700], 64, 1, 14, 64, 12, None, 64),  # a prompt whose queries go in pieces
        ([63, 700], 64, 1, 14, 64, 12, 300, 64),
        ([95, 95], 96, 16, 2, 16, 6, None, 64),  # many kv heads: less of each at once
        ([95, 20], 6, 3, 1, 24, 4, None, 128),  # neither a power of two nor whole blocks
    ],
)
def test_it_is_attention(last, tokens, kv_heads, groups, size, blocks, window, head_dim):
    check(last, tokens, kv_heads, groups, size, blocks, window, head_dim)


def test_it_is_attention_in_bfloat16():
    check([40, 70], 1, 3, 3, 16, 5, dtype="bfloat16", atol=0.02)


@pytest.mark.parametrize(
    ("tokens", "groups", "blocks", "page", "itemsize"),
    [(64, 3, 32, (3, 64, 128), 2), (528, 14, 16, (8, 528, 128), 4), (64, 1, 8, (32, 64, 128), 4),
     (1, 8, 9, (1, 16, 512), 2)],
)  # fmt: skip
def test_what_is_looked_at_together_fits_into_fast_memory(tokens, groups, blocks, page, itemsize):
    count, together = shares(tokens, groups, blocks, page, itemsize)
    K, C, L = page
    assert 1 <= count <= blocks and tokens % together == 0 and together * groups <= narrow_kernel.QUERIES
    assert 2 * count * K * C * L * itemsize + together * groups * K * L * 4 * itemsize <= narrow_kernel.VMEM


def test_pages_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no room for pages of 4096 tokens of 8 kv heads"):
        shares(4096, 4, 4, (8, 4096, 128), 2)


@settings(deadline=None, max_examples=3)
@given(st.data())
def test_it_is_attention_of_rows_of_any_length(data):
    tokens, window = data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([None, 1, 70]))
    last = data.draw(st.lists(st.integers(tokens - 1, 16 * 6 - 1), min_size=4, max_size=4))
    check(last, tokens, 1, 2, 16, 6, window)


@pytest.mark.parametrize("moment", ["eager", "on_wait"])
def test_copies_between_memories_may_take_any_time(moment, monkeypatch):
    """Done when they start, they must not hit what is still read; done when they are waited for, all must be."""
    make = narrow_kernel.pltpu.InterpretParams
    monkeypatch.setattr(narrow_kernel.pltpu, "InterpretParams", lambda: make(dma_execution_mode=moment))
    check([0, 100, 15, 16, 80], 1, 1, 1, 8, 16)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    ("rows", "tokens", "kv_heads", "groups", "head_dim", "size", "blocks", "window"),
    [(64, 1, 3, 3, 64, 64, 2048, None), (8, 64, 1, 14, 64, 64, 9, 100), (8, 528, 8, 14, 64, 528, 16, None),
     (8, 64, 7, 4, 256, 64, 32, None), (8, 128, 32, 2, 64, 128, 3, None), (8, 48, 2, 7, 64, 48, 1, None)],
)  # fmt: skip
def test_it_compiles_for_a_tpu(rows, tokens, kv_heads, groups, head_dim, size, blocks, window, dtype, monkeypatch):
    optional("libtpu")
    for name in ("ALLOW_MULTIPLE_LIBTPU_LOAD", "TPU_SKIP_MDS_QUERY"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(narrow_kernel, "KEYS", 512)
    whole = jax.sharding.SingleDeviceSharding(parse_slice("v5e:1x1").devices()[0])
    shape = lambda dtype, *sizes: jax.ShapeDtypeStruct(sizes, dtype, sharding=whole)
    attend = jax.jit(lambda *args: narrow_attention(*args, window))
    compiled = attend.lower(
        shape(dtype, rows, tokens, kv_heads * groups, head_dim), shape(dtype, 900, kv_heads, size, 2 * head_dim),
        shape("int32", rows), shape("int32", rows, blocks),
    ).compile()  # fmt: skip
    assert "tpu_custom_call" in compiled.as_text()
