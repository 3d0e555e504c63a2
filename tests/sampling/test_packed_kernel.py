"""Our TPU kernel, interpreted, against dense attention; what lies outside the live pages is NaN."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.sampling import packed_kernel
from mxjax.sampling.packed_kernel import packed_attention
from sampling.test_attention import dense_attention


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Rows of a few hundred tokens are several blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_kernel, "KEYS", 64)
        yield


def check(last, tokens, kv_heads, groups, size, blocks, window=None, head_dim=64):
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
    got = packed_attention(*map(jnp.asarray, (q, pages, last, table)), window, interpret=True)
    positions = last[:, None] - tokens + 1 + np.arange(tokens)
    want = dense_attention(q, k.swapaxes(1, 2), v.swapaxes(1, 2), positions, window)
    np.testing.assert_allclose(got, want, atol=3e-6)


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


@settings(deadline=None, max_examples=3)
@given(st.data())
def test_it_is_attention_of_rows_of_any_length(data):
    tokens, window = data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([None, 70]))
    last = data.draw(st.lists(st.integers(tokens - 1, 16 * 6 - 1), min_size=4, max_size=4))
    check(last, tokens, 1, 2, 16, 6, window)


@pytest.mark.parametrize("moment", ["eager", "on_wait"])
def test_copies_between_memories_may_take_any_time(moment, monkeypatch):
    """Done when they start, they must not hit what is still read; done when they are waited for, all must be."""
    make = packed_kernel.pltpu.InterpretParams
    monkeypatch.setattr(packed_kernel.pltpu, "InterpretParams", lambda: make(dma_execution_mode=moment))
    check([0, 100, 15, 16, 80], 1, 1, 1, 8, 16)
