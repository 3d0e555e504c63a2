"""A Pallas attention kernel for TPUs, for narrow heads.

A page holds each head's key and value side by side.

A head of 64 fills half of a TPU's 128 lanes. With the value in the other half, a page of any number of kv heads is
whole tiles, and the cache takes no more room or bandwidth than its numbers need. The products run over all lanes:
queries have zeros where values are, and of the weighted sums only the values' half is kept.

B rows, K kv heads, Q queries of a kv head, C tokens of a page, L = 2H lanes, P pages.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from mxjax.models.attention import MASKED

KEYS, QUERIES = 512, 256  # most tokens of the cache, and queries of a kv head, that are looked at together
VMEM, SMEM = 8 << 20, 512 << 10  # bytes of fast memory for what is looked at, and for the tables of pages


def _attend(
    table_ref,
    last_ref,
    q_ref,
    kv_ref,
    out_ref,
    pages_ref,
    best_ref,
    total_ref,
    sum_ref,
    turn_ref,
    arrived,
    *,
    pieces: int,
    tokens: int,
    scale: float,
    window: int | None,
):
    """Attend for one piece of a row.

    While a block of its pages is processed, the next one, of this row or the next, is being copied.
    """
    row, rows = pl.program_id(0), pl.num_programs(0)
    count, K, C, L = pages_ref.shape[1:]
    size = count * C

    def blocks(row):
        """The first block of a row, and the one after its last."""
        last = last_ref[row]
        first = 0 if window is None else jax.lax.div(jnp.maximum(last - tokens + 2 - window, 0), size)
        return first, jax.lax.div(last, size) + 1

    def each_copy(act, row, block, turn):
        for i in range(count):
            page = block * count + i

            @pl.when(page * C <= last_ref[row])
            def copy_page(i=i, page=page):
                act(
                    pltpu.make_async_copy(
                        kv_ref.at[table_ref[jax.lax.div(row, pieces), page]], pages_ref.at[turn, i], arrived.at[turn]
                    )
                )

    start = functools.partial(each_copy, lambda copy: copy.start())
    wait = functools.partial(each_copy, lambda copy: copy.wait())

    @pl.when(row == 0)
    def start_first():
        pages_ref[...] = jnp.zeros_like(pages_ref)  # what no copy fills has weight 0, which must not meet a NaN
        turn_ref[0] = 0
        start(0, blocks(0)[0], 0)

    best_ref[...] = jnp.full_like(best_ref, 2 * MASKED)
    total_ref[...] = jnp.zeros_like(total_ref)
    sum_ref[...] = jnp.zeros_like(sum_ref)
    first, end = blocks(row)

    def body(block, _):
        turn = turn_ref[0]
        turn_ref[0] = 1 - turn
        next_row = jnp.minimum(jnp.where(block + 1 < end, row, row + 1), rows - 1)
        next_block = jnp.where(block + 1 < end, block + 1, blocks(next_row)[0])

        @pl.when((block + 1 < end) | (row + 1 < rows))
        def start_next():
            start(next_row, next_block, 1 - turn)

        wait(row, block, turn)
        shape = q_ref.shape[2], size
        keys = block * size + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
        token = jax.lax.rem(jax.lax.broadcasted_iota(jnp.int32, shape, 0), tokens)  # query row g * tokens + t
        limit = last_ref[row] - tokens + 1 + token
        visible = keys <= limit if window is None else (keys <= limit) & (keys > limit - window)
        for k in range(K):
            kv = pages_ref[turn, :, k].reshape(size, L)
            scores = jax.lax.dot_general(q_ref[0, k], kv, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
            scores = jnp.where(visible, scores * scale, MASKED)
            best = jnp.maximum(best_ref[k], scores.max(-1, keepdims=True))
            weights, rescale = jnp.exp(scores - best), jnp.exp(best_ref[k] - best)
            best_ref[k] = best
            total_ref[k] = total_ref[k] * rescale + weights.sum(-1, keepdims=True)
            sum_ref[k] = sum_ref[k] * rescale + jnp.dot(
                weights.astype(kv.dtype), kv, preferred_element_type=jnp.float32
            )
        return ()

    jax.lax.fori_loop(first, end, body, ())
    out_ref[0] = (sum_ref[...] / total_ref[...]).astype(out_ref.dtype)


def shares(tokens: int, groups: int, blocks: int, page: tuple[int, int, int], itemsize: int) -> tuple[int, int]:
    """How many pages and tokens of a row are processed together.

    Returns (pages of a row, tokens of it), so that both fit into fast memory.

    Args:
        tokens: of each row; `groups` query heads of a kv head ask for each.
        blocks: most pages of a row; each is of shape `page`, (K, C, L), with numbers of `itemsize` bytes.

    Raises:
        ValueError: not even one page and one token fit.
    """
    K, C, L = page
    of_page = 2 * K * C * L * itemsize  # one is looked at while the next one comes
    count = max(1, min(blocks, KEYS // C, VMEM // 2 // of_page))
    of_query = K * (L * (4 * itemsize + 4) + 2 * 128 * 4) + 3 * 4 * count * C  # in, out, sum, best, total; scores
    most = min(QUERIES, (VMEM - count * of_page) // of_query)
    fitting = [t for t in range(1, tokens + 1) if tokens % t == 0 and _in_tiles(groups * t) <= most]
    if not fitting:
        raise ValueError(f"its kernel has no room for pages of {C} tokens of {K} kv heads")
    return count, fitting[-1]


def _in_tiles(queries: int) -> int:
    return -(-queries // 16) * 16


def narrow_attention(q_BTNH, kv_PKCL, last_B, table_BB, window: int | None = None, interpret: bool = False):
    """Attention of rows of T tokens over the pages in `table_BB`.

    The last token of a row is at `last_B` >= T - 1. What a table holds behind a row's last page is not read. Query head
    n reads kv head n // (N / K). Returns (B, T, N, H).
    """
    B, T, N, H = q_BTNH.shape
    _, K, C, L = kv_PKCL.shape
    G = N // K
    count, tokens = shares(T, G, table_BB.shape[1], (K, C, L), kv_PKCL.dtype.itemsize)
    pieces = T // tokens
    before = jnp.arange(pieces - 1, -1, -1, dtype=last_B.dtype) * tokens
    last = (last_B[:, None] - before).reshape(-1)
    q = q_BTNH.reshape(B * pieces, tokens, K, G, H).transpose(0, 2, 3, 1, 4).reshape(B * pieces, K, G * tokens, H)
    queries = _in_tiles(G * tokens)
    q = jnp.pad(q, ((0, 0), (0, 0), (0, queries - G * tokens), (0, L - H)))
    if not interpret:  # else a chip with room for all pages of a layer in VMEM moves them there and back at every step
        kv_PKCL = pltpu.with_memory_space_constraint(kv_PKCL, pltpu.HBM)
    of_row = pl.BlockSpec((1, K, queries, L), lambda row, *_: (row, 0, 0, 0))
    out = pl.pallas_call(
        functools.partial(_attend, pieces=pieces, tokens=tokens, scale=H**-0.5, window=window),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(B * pieces,),
            in_specs=[of_row, pl.BlockSpec(memory_space=pltpu.HBM)],
            out_specs=of_row,
            scratch_shapes=[
                pltpu.VMEM((2, count, K, C, L), kv_PKCL.dtype),
                pltpu.VMEM((K, queries, 1), jnp.float32),
                pltpu.VMEM((K, queries, 1), jnp.float32),
                pltpu.VMEM((K, queries, L), jnp.float32),
                pltpu.SMEM((1,), jnp.int32),
                pltpu.SemaphoreType.DMA((2,)),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary",)),  # one row after the other
        interpret=pltpu.InterpretParams() if interpret else False,
        name="narrow_attention",
    )(table_BB, last, q, kv_PKCL)
    out = out[:, :, : G * tokens, H:].reshape(B, pieces, K, G, tokens, H)
    return out.transpose(0, 1, 4, 2, 3, 5).reshape(B, T, N, H)
