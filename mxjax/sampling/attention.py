"""Attention over the paged cache.

There is one interface; each backend has a page layout of its own. `xla` runs everywhere and reads page after page, up
to the longest live row. `tpu` and `gpu` are the Pallas kernels that come with JAX, for models whose shapes fit them;
`tpu_narrow` is our own for the heads that `tpu` has no tiles for. A layer's cache is a tuple of arrays with pages in
front, so code that moves pages needs to know no layout. B rows, T tokens of a row, S slots, R prefill rows, C tokens of
a page, P pages, K kv heads, N query heads, G = N/K, H head dim.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from mxjax.errors import UserError
from mxjax.models.attention import MASKED
from mxjax.models.config import SLIDING, ModelConfig
from mxjax.sharding import AnyMesh, partition_spec


def cached_attention(q_BTNH, positions_BT, size: int, read_block, window: int | None = None):
    """Attention of q over the cache up to each query's own position.

    Takes one KV block after another, with an online softmax. With a `window`, over at most that many positions, its own
    included.

    `read_block(i) -> (k_BKHC, v_BKCH)` holds the cache at positions i * size to (i + 1) * size - 1.
    """
    B, T, N, H = q_BTNH.shape
    K = jax.eval_shape(read_block, 0)[0].shape[1]
    G = N // K
    q = q_BTNH.reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4).reshape(B, K, G * T, H)
    limit = jnp.tile(positions_BT, (1, G))[:, None, :, None]  # query row g*T + t looks up to position t

    def body(i, carry):
        best, total, out = carry
        k, v = read_block(i)
        scores = jnp.einsum("bkqh,bkhc->bkqc", q, k, preferred_element_type=jnp.float32) * H**-0.5
        keys = i * size + jnp.arange(size)
        visible = keys <= limit if window is None else (keys <= limit) & (keys > limit - window)
        scores = jnp.where(visible, scores, MASKED)
        new_best = jnp.maximum(best, scores.max(-1))
        weights = jnp.exp(scores - new_best[..., None])
        rescale = jnp.exp(best - new_best)
        out = out * rescale[..., None] + jnp.einsum(
            "bkqc,bkch->bkqh", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
        )
        return new_best, total * rescale + weights.sum(-1), out

    start = (
        jnp.full((B, K, G * T), 2 * MASKED, jnp.float32),
        jnp.zeros((B, K, G * T), jnp.float32),
        jnp.zeros((B, K, G * T, H), jnp.float32),
    )
    first = 0 if window is None else jnp.maximum(positions_BT.min() - window + 1, 0) // size
    blocks = positions_BT.max() // size + 1
    _, total, out = jax.lax.fori_loop(first, blocks, body, start)
    out = (out / total[..., None]).astype(q_BTNH.dtype)
    return out.reshape(B, K, G, T, H).transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


def _by_group(fn, groups: int, pool, page_S, *rest):
    """Call `fn(pool, page_S, *rest)` for each group of slots.

    A slot's pages are of its own group, so no group reads another's part.
    """
    if groups == 1:
        return fn(pool, page_S, *rest)
    split = lambda a: a.reshape(groups, -1, *a.shape[1:])
    first = jnp.arange(groups, dtype=page_S.dtype)[:, None] * (pool.shape[0] // groups)
    out = jax.vmap(fn)(split(pool), split(page_S) - first, *map(split, rest))
    return out.reshape(-1, *out.shape[2:])


def _read(pool, page):
    return pool.at[page].get(mode="promise_in_bounds")


def _write_token(pool, page_S, offset_S, new_S, axis: int):
    """Write one token to a page of every slot.

    Returns the pool; a page has its tokens along `axis`. On TPUs the page is written as a whole: to scatter a token,
    XLA converts the layout of all pages there and back.
    """

    def scattered(pool, page_S, offset_S, new_S):
        return pool.at[(page_S, *[slice(None)] * axis, offset_S)].set(new_S)

    def in_whole_pages(pool, page_S, offset_S, new_S):
        here = jnp.arange(pool.shape[axis + 1]) == offset_S[:, None]
        here = here.reshape(-1, *[pool.shape[axis + 1] if i == axis else 1 for i in range(pool.ndim - 1)])
        return pool.at[page_S].set(jnp.where(here, jnp.expand_dims(new_S, axis + 1), _read(pool, page_S)))

    return jax.lax.platform_dependent(pool, page_S, offset_S, new_S, tpu=in_whole_pages, default=scattered)


def _write_each(pool, page_R, new_R):
    for r in range(len(page_R)):
        pool = jax.lax.dynamic_update_slice_in_dim(pool, new_R[r : r + 1], page_R[r], 0)
    return pool


class XlaAttention:
    """Pages (k_PKHC, v_PKCH).

    Keys have their tokens innermost, which is what the two products of attention read.
    """

    name = "xla"

    def __init__(self, size: int, mesh: AnyMesh | None = None, groups: int = 1):
        self.size, self.mesh, self.groups = size, mesh, groups

    def layout(self, cfg: ModelConfig) -> list[tuple[tuple, tuple]]:
        """Page shape and logical axes of each array of a layer."""
        K, H, C = cfg.num_key_value_heads, cfg.head_dim, self.size
        axes = "kv_heads", None, None
        return [((K, H, C), axes), ((K, C, H), axes)]

    def write_tokens(self, layer, page_S, offset_S, k_SKH, v_SKH):
        """The layer with one token of every slot written to its page."""
        k_PKHC, v_PKCH = layer
        write_k = functools.partial(_write_token, axis=2)
        write_v = functools.partial(_write_token, axis=1)
        place = page_S, offset_S
        return (
            _by_group(write_k, self.groups, k_PKHC, *place, k_SKH),
            _by_group(write_v, self.groups, v_PKCH, *place, v_SKH),
        )

    def write_pages(self, layer, page_R, k_RCKH, v_RCKH):
        """The layer with these pages written as a whole."""
        k_PKHC, v_PKCH = layer
        return (
            _write_each(k_PKHC, page_R, k_RCKH.transpose(0, 2, 3, 1)),
            _write_each(v_PKCH, page_R, v_RCKH.transpose(0, 2, 1, 3)),
        )

    def read(self, layer, page_B, by_slot: bool = False):
        """One page of every row: (k_BKHC, v_BKCH).

        `by_slot` says that the rows are the slots; otherwise they are any.
        """
        return tuple(_by_group(_read, self.groups if by_slot else 1, pool, page_B) for pool in layer)

    def attend(self, layer, q_BTNH, positions_BT, table_BB, window=None, by_slot: bool = False):
        """`cached_attention` of rows whose pages are in `table_BB`.

        For `by_slot` see `read`.
        """
        read_block = lambda block: self.read(layer, table_BB[:, block], by_slot)
        return cached_attention(q_BTNH, positions_BT, self.size, read_block, window)


class _TpuKernel(XlaAttention):
    """A kernel for TPUs.

    On a mesh every device runs it on the pages of its own slots and heads.
    """

    heads_axis: int  # of the layer's only array

    def _kernel(self, pages, q_BTNH, positions_BT, table_BB, window):
        """Attention on one device, [B, T, N, H]."""
        raise NotImplementedError

    def attend(self, layer, q_BTNH, positions_BT, table_BB, window=None, by_slot=False):
        """See `XlaAttention`."""
        if self.groups > 1 and not by_slot:  # no device holds the pages of all rows
            return super().attend(layer, q_BTNH, positions_BT, table_BB, window)
        kernel = functools.partial(self._kernel, window=window)
        if self.mesh is None:
            return kernel(layer[0], q_BTNH, positions_BT, table_BB)
        slots = partition_spec(self.mesh.shape, ("slots",), (self.groups,))[0]
        heads = partition_spec(self.mesh.shape, ("kv_heads",), (layer[0].shape[self.heads_axis],))[0]
        first_page = jnp.arange(self.groups, dtype=table_BB.dtype) * (layer[0].shape[0] // self.groups)
        of_group = table_BB - jnp.repeat(first_page, len(table_BB) // self.groups)[:, None]
        axes = [slots, None, None]
        axes[self.heads_axis] = heads
        pages, queries = PartitionSpec(*axes), PartitionSpec(slots, None, heads)
        by_device = jax.shard_map(
            kernel,
            mesh=self.mesh,
            in_specs=(pages, queries, PartitionSpec(slots), PartitionSpec(slots)),
            out_specs=queries,
            check_vma=False,
        )
        return by_device(layer[0], q_BTNH, positions_BT, of_group)


class TpuAttention(_TpuKernel):
    """JAX's ragged paged attention for TPUs.

    The keys and values of a head alternate in a page: (kv_PCMH,), M = 2K.
    """

    name, heads_axis = "tpu", 2

    def layout(self, cfg):
        """See `XlaAttention`."""
        return [((self.size, 2 * cfg.num_key_value_heads, cfg.head_dim), (None, "kv_heads", None))]

    @staticmethod
    def _paired(k, v):
        return jnp.stack([k, v], axis=-2).reshape(*k.shape[:-2], 2 * k.shape[-2], k.shape[-1])

    def write_tokens(self, layer, page_S, offset_S, k_SKH, v_SKH):
        """See `XlaAttention`."""
        write, place = (lambda pool, page, offset, new: pool.at[page, offset].set(new)), (page_S, offset_S)
        return (_by_group(write, self.groups, layer[0], *place, self._paired(k_SKH, v_SKH)),)

    def write_pages(self, layer, page_R, k_RCKH, v_RCKH):
        """See `XlaAttention`."""
        return (_write_each(layer[0], page_R, self._paired(k_RCKH, v_RCKH)),)

    def read(self, layer, page_B, by_slot=False):
        """See `XlaAttention`."""
        (kv_BCMH,) = super().read(layer, page_B, by_slot)
        return kv_BCMH[:, :, 0::2].transpose(0, 2, 3, 1), kv_BCMH[:, :, 1::2].transpose(0, 2, 1, 3)

    def _kernel(self, kv_PCMH, q_BTNH, positions_BT, table_BB, window):
        from jax.experimental.pallas import tpu as pltpu
        from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ragged_paged_attention

        # else a chip with room for all pages of a layer in VMEM moves them there and back at every step
        kv_PCMH = pltpu.with_memory_space_constraint(kv_PCMH, pltpu.HBM)
        B, T, N, H = q_BTNH.shape
        out = ragged_paged_attention(
            q_BTNH.reshape(B * T, N, H),
            kv_PCMH,
            kv_lens=positions_BT[:, -1] + 1,
            page_indices=table_BB,
            cu_q_lens=jnp.arange(B + 1, dtype=jnp.int32) * T,
            num_seqs=jnp.array([B], jnp.int32),
            sm_scale=H**-0.5,
            sliding_window=window,
            # given, since the kernel's own choice asks for the devices of this process, even when compiling for others
            num_kv_pages_per_block=max(1, min(table_BB.shape[1], 512 // self.size)),
            num_queries_per_block=min(B * T, 32),
        )
        return out.reshape(B, T, N, H)


class TpuNarrowAttention(_TpuKernel):
    """Our kernel for TPUs.

    Pages hold each head's key and value side by side: (kv_PKCL,), L = 2H.
    """

    name, heads_axis, interpret = "tpu_narrow", 1, False

    def layout(self, cfg):
        """See `XlaAttention`."""
        return [((cfg.num_key_value_heads, self.size, 2 * cfg.head_dim), ("kv_heads", None, None))]

    def write_tokens(self, layer, page_S, offset_S, k_SKH, v_SKH):
        """See `XlaAttention`."""
        write, place = functools.partial(_write_token, axis=1), (page_S, offset_S)
        return (_by_group(write, self.groups, layer[0], *place, jnp.concatenate([k_SKH, v_SKH], -1)),)

    def write_pages(self, layer, page_R, k_RCKH, v_RCKH):
        """See `XlaAttention`."""
        return (_write_each(layer[0], page_R, jnp.concatenate([k_RCKH, v_RCKH], -1).swapaxes(1, 2)),)

    def read(self, layer, page_B, by_slot=False):
        """See `XlaAttention`."""
        (kv_BKCL,) = super().read(layer, page_B, by_slot)
        k_BKCH, v_BKCH = jnp.split(kv_BKCL, 2, axis=-1)
        return k_BKCH.swapaxes(2, 3), v_BKCH

    def _kernel(self, kv_PKCL, q_BTNH, positions_BT, table_BB, window):
        from mxjax.sampling.narrow_kernel import narrow_attention

        return narrow_attention(q_BTNH, kv_PKCL, positions_BT[:, -1], table_BB, window, interpret=self.interpret)


class GpuAttention(XlaAttention):
    """JAX's paged attention for GPUs, for decode.

    Pages are (k_PKCH, v_PKCH); prompts are read page after page.
    """

    name, interpret = "gpu", False

    def layout(self, cfg):
        """See `XlaAttention`."""
        shape = cfg.num_key_value_heads, self.size, cfg.head_dim
        return [(shape, ("kv_heads", None, None))] * 2

    def write_tokens(self, layer, page_S, offset_S, k_SKH, v_SKH):
        """See `XlaAttention`."""
        write, place = (lambda pool, page, offset, new: pool.at[page, :, offset].set(new)), (page_S, offset_S)
        return tuple(_by_group(write, self.groups, pool, *place, new) for pool, new in zip(layer, (k_SKH, v_SKH)))

    def write_pages(self, layer, page_R, k_RCKH, v_RCKH):
        """See `XlaAttention`."""
        return tuple(_write_each(pool, page_R, new.transpose(0, 2, 1, 3)) for pool, new in zip(layer, (k_RCKH, v_RCKH)))

    def read(self, layer, page_B, by_slot=False):
        """See `XlaAttention`."""
        k_BKCH, v_BKCH = super().read(layer, page_B, by_slot)
        return k_BKCH.swapaxes(2, 3), v_BKCH

    def attend(self, layer, q_BTNH, positions_BT, table_BB, window=None, by_slot=False):
        """See `XlaAttention`.

        The kernel gets every kv head of a row as a row of its own, so pages stay in front.
        """
        B, T, N, H = q_BTNH.shape
        if T > 1:
            return super().attend(layer, q_BTNH, positions_BT, table_BB, window, by_slot=by_slot)
        from jax.experimental.pallas.ops.gpu.paged_attention import paged_attention

        K, blocks = layer[0].shape[1], table_BB.shape[1]
        splits = math.gcd(blocks, 16)
        heads_table = (table_BB[:, None] * K + jnp.arange(K, dtype=jnp.int32)[:, None]).reshape(B * K, blocks)
        by_head = lambda pool: pool.reshape(1, -1, *pool.shape[2:])
        out = paged_attention(
            q_BTNH.reshape(B * K, N // K, H) * H**-0.5,
            by_head(layer[0]),
            by_head(layer[1]),
            heads_table,
            jnp.repeat(positions_BT[:, 0] + 1, K),
            k_splits=splits,
            interpret=self.interpret,
            pages_per_compute_block=math.gcd(blocks // splits, 8),
        )
        return out.reshape(B, 1, N, H)


BACKENDS = {backend.name: backend for backend in (XlaAttention, TpuAttention, TpuNarrowAttention, GpuAttention)}
OF_PLATFORM = {"tpu": ("tpu", "tpu_narrow"), "gpu": ("gpu",)}


def unfit(name: str, cfg: ModelConfig, size: int, mesh=None, slots: int = 1, blocks: int = 1) -> str:
    """Why a backend cannot run this model; "" if it can.

    Pages have `size` tokens. Each device of `mesh` has `slots` slots of at most `blocks` pages.
    """
    power_of_two = lambda n: n & (n - 1) == 0
    K, H = cfg.num_key_value_heads, cfg.head_dim
    ways = mesh.shape["tensor"] if mesh else 1
    if name == "xla":
        return ""
    packing = 4 // jnp.dtype(cfg.dtype).itemsize
    if name in OF_PLATFORM["tpu"] and K % ways:
        return f"{K} kv heads do not divide over mesh.tensor={ways}"
    if name == "tpu_narrow":
        if H % 64:
            return f"its kernel needs heads of a multiple of 64, not {H}"
        if size % (8 * packing):
            return f"its kernel needs pages of a multiple of {8 * packing}, not {size}"
        from mxjax.sampling import narrow_kernel

        if 4 * slots * blocks > narrow_kernel.SMEM:
            return f"its kernel has no room for the tables of {slots} slots with {blocks} pages"
        try:
            page, itemsize = (K // ways, size, 2 * H), jnp.dtype(cfg.dtype).itemsize
            narrow_kernel.shares(size, cfg.num_attention_heads // K, blocks, page, itemsize)
        except ValueError as error:
            return str(error)
        return ""
    if name == "tpu":
        rows = 2 * K // ways / packing
        if rows not in (1, 2, 4, 8) and rows % 8:
            return f"its kernel cannot tile {K // ways} kv heads of {cfg.dtype}"
        return "" if H % 128 == 0 else f"its kernel needs heads of a multiple of 128, not {H}"
    if mesh and mesh.size > 1:
        return f"its kernel runs on one device, the mesh has {mesh.size}"
    if SLIDING in cfg.kinds:
        return "its kernel has no sliding window"
    if H < 16 or not power_of_two(H) or size < 16 or not power_of_two(size):
        return f"its kernel needs heads and pages of a power of two from 16 on, not {H} and {size}"
    return ""


def choose(
    name: str, cfg: ModelConfig, size: int, mesh=None, platform: str | None = None, slots: int = 1, blocks: int = 1
) -> tuple[str, str]:
    """(backend, why) for "auto" or a backend's name, see `unfit`.

    Raises ValueError for a backend that is not available.
    """
    platform = platform or jax.default_backend()
    kernels = OF_PLATFORM.get(platform, ())
    if name == "auto":
        reasons = {kernel: unfit(kernel, cfg, size, mesh, slots=slots, blocks=blocks) for kernel in kernels}
        refusals = " and ".join(f"not {kernel}: {reason}" for kernel, reason in reasons.items() if reason)
        for kernel, reason in reasons.items():
            if not reason:
                return kernel, refusals or "the model fits its kernel"
        return "xla", refusals or f"there is no kernel for {platform}"
    if name not in BACKENDS:
        raise UserError(f"attention must be auto, {', '.join(BACKENDS)}; got {name!r}")
    if name not in ("xla", *kernels):
        needed = next(kind for kind, names in OF_PLATFORM.items() if name in names)
        raise UserError(f"attention={name!r} needs a {needed}, this is a {platform}; use 'auto'")
    if reason := unfit(name, cfg, size, mesh, slots=slots, blocks=blocks):
        raise UserError(f"attention={name!r} cannot run this model: {reason}; use 'auto'")
    return name, "asked for"
