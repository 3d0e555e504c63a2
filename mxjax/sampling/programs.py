"""The device programs of the engine.

They fill pages with prompts, decode a chunk of steps for all slots, and move pages. All run at one fixed shape, and
attention reduces over the cache in fixed blocks, so a row's bits depend on neither its neighbours nor the length that
others have reached: a block past a row's end adds exactly nothing. A block is a page is a prefill chunk. S slots, R
prefill rows, C tokens of a page, B pages of a row, P pages in all, K kv heads, G query heads per kv head, H head dim.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mxjax.errors import UserError
from mxjax.models.config import ModelConfig
from mxjax.models.params import param_table
from mxjax.models.transformer import embed, layer, layer_kind, rms_norm, unembed
from mxjax.sampling import logits as sampling
from mxjax.sampling.attention import XlaAttention
from mxjax.sampling.params import MAX_STOP_IDS
from mxjax.sharding import AnyMesh, named_sharding, partition_spec

PREFILL_ROWS = 8
Array = jax.Array | np.ndarray


class Progress(NamedTuple):
    """The progress of every slot after the last decode chunk.

    Arrays have length S.
    """

    token: Array  # last token, not yet in the cache
    position: Array  # its position
    sampled: Array  # how many tokens were sampled before
    live: Array


class Memory(NamedTuple):
    """State that stays on the device, donated from program to program."""

    cache: list  # per layer what the attention backend lays out; the first page of a group is its null page
    seen_SV: jax.Array  # see `logits.mark_seen`; only rows with penalties are kept right
    progress: Progress


class Slots(NamedTuple):
    """The host's view of all slots before a decode chunk.

    Arrays are [S, ...].
    """

    fresh: Array  # whether `begin` replaces what the device knows
    begin: Progress
    live: Array  # False ends a slot that the device still takes for live
    table: Array  # [S, B] the pages of its tokens, in order
    max_tokens: Array
    min_tokens: Array
    seed: Array  # [S, 2]
    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array
    repetition_penalty: Array
    presence_penalty: Array
    frequency_penalty: Array
    stop_ids: Array  # [S, 8]


# A slot without a request: (value, dtype) of each setting. It costs what an untruncated request costs.
IDLE = {
    "max_tokens": (0, np.int32),
    "min_tokens": (0, np.int32),
    "seed": ((0, 0), np.uint32),
    "temperature": (1, np.float32),
    "top_k": (0, np.int32),
    "top_p": (1, np.float32),
    "min_p": (0, np.float32),
    "repetition_penalty": (1, np.float32),
    "presence_penalty": (0, np.float32),
    "frequency_penalty": (0, np.float32),
    "stop_ids": ((-1,) * MAX_STOP_IDS, np.int32),
}


def idle_slots(slots: int, blocks: int) -> Slots:
    """Slots without a request, as NumPy arrays.

    Each has up to `blocks` pages.
    """
    ints, bools = (lambda: np.zeros(slots, np.int32)), (lambda: np.zeros(slots, bool))
    begin = Progress(ints(), ints(), ints(), bools())
    settings = {name: np.array([value] * slots, dtype) for name, (value, dtype) in IDLE.items()}
    return Slots(bools(), begin, bools(), np.zeros((slots, blocks), np.int32), **settings)


def params_layout(cfg: ModelConfig, mesh: AnyMesh | None = None) -> dict:
    """Shape, dtype and sharding of what `split_layers` makes."""

    def of(leaf, skip=0):
        shape, axes = leaf.shape[skip:], leaf.axes[skip:]
        sharding = None if mesh is None else named_sharding(mesh, axes, shape)
        return jax.ShapeDtypeStruct(shape, cfg.dtype, sharding=sharding)

    table = param_table(cfg)
    layer = {name: of(leaf, 1) for name, leaf in table["layers"].items()}
    rest = {name: of(leaf) for name, leaf in table.items() if name != "layers"}
    return {**rest, "layers": [layer] * cfg.num_hidden_layers}


@functools.partial(jax.jit, static_argnums=(1, 2))
def split_layers(params: Mapping[str, Any], cfg: ModelConfig, mesh: jax.sharding.Mesh | None = None) -> dict:
    """Copy `params` in the compute dtype, as a list of layers.

    The copy is laid out on `mesh`. Decode unrolls the layers, since slicing a stack would copy it at every step. A
    copy, since the trainer donates its own; and in the dtype that the layers compute in, so that no step converts
    anything.
    """

    def convert(value, like):
        value = jnp.array(value, like.dtype, copy=True)
        return value if like.sharding is None else jax.lax.with_sharding_constraint(value, like.sharding)

    stacked = params["layers"]
    layers = [{name: leaf[i] for name, leaf in stacked.items()} for i in range(cfg.num_hidden_layers)]
    return jax.tree.map(convert, {**params, "layers": layers}, params_layout(cfg, mesh))


def slot_groups(slots: int, mesh: AnyMesh | None) -> int:
    """The number of groups into which `mesh` divides the slots.

    Each has pages of its own, stored with its slots.
    """
    if mesh is None:
        return 1
    axes = partition_spec(mesh.shape, ("slots",), (slots,))[0] or ()
    return math.prod(mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes))


def group_pages(pages: int | None, slots: int, blocks: int, groups: int) -> int:
    """The number of pages in each of the `groups`.

    `pages` None gives enough for every slot. Raises ValueError if no request would fit.
    """
    pages = slots * blocks if pages is None else pages
    if pages // groups < blocks:
        raise UserError(
            f"pages={pages} in {groups} part{'s' * (groups > 1)} hold no request of max_len tokens, which are {blocks} "
            f"pages; give at least {blocks * groups}"
        )
    return pages // groups


def memory_layout(cfg: ModelConfig, attention: XlaAttention, slots: int, pages: int, mesh=None) -> Memory:
    """Shape, dtype and sharding of the memory.

    `slots` and `pages` are the totals. Each of the `slot_groups` has equally many pages, and one more, its first: the
    null page.
    """
    groups = attention.groups

    def struct(shape, dtype, axes):
        sharding = None
        if mesh is not None:
            by_slot = partition_spec(mesh.shape, ("slots",), (slots,))[0]
            spec = PartitionSpec(by_slot, *partition_spec(mesh.shape, axes, shape[1:]))
            sharding = NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    total = groups * (pages // groups + 1)
    layer = tuple(struct((total, *shape), cfg.dtype, axes) for shape, axes in attention.layout(cfg))
    ints, bools = struct((slots,), jnp.int32, ()), struct((slots,), bool, ())
    seen_SV = struct((slots, cfg.vocab_size), jnp.int32, ("vocab",))
    return Memory([layer] * cfg.num_hidden_layers, seen_SV, Progress(ints, ints, ints, bools))


def empty_memory(layout: Memory) -> Memory:
    """A memory with this layout: empty pages, no ids seen.

    No slot is live.
    """
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding), layout)


def jitted(cfg: ModelConfig, attention: XlaAttention, decode_steps: int, layout: Memory) -> dict:
    """The device programs, each of (params, memory, *arguments), by name.

    All but `save_pages` give (memory, *results); the memory is donated and keeps its layout.
    """
    memory = None if layout.seen_SV.sharding is None else jax.tree.map(lambda leaf: leaf.sharding, layout)

    def program(fn, results=0):
        out = None if memory is None else (memory, *(None,) * results)
        return jax.jit(fn, donate_argnums=1, out_shardings=out, keep_unused=True)

    mark_seen = lambda memory, *args: memory._replace(seen_SV=sampling.mark_seen(memory.seen_SV, *args))
    return {
        "prefill": program(lambda params, *args: (prefill(params, cfg, attention, *args),)),
        "decode": program(lambda params, *args: decode(params, cfg, attention, decode_steps, *args), results=5),
        "mark_seen": program(lambda params, *args: (mark_seen(*args),)),
        "copy_pages": program(lambda params, *args: (copy_pages(attention, *args),)),
        "clear": program(lambda params, memory: (jax.tree.map(jnp.zeros_like, memory),)),
        "load_pages": program(lambda params, *args: (load_pages(*args),)),
        "save_pages": jax.jit(lambda params, *args: save_pages(*args)),
    }


def lowered(cfg: ModelConfig, attention: XlaAttention, decode_steps: int, blocks: int, layout: Memory, mesh=None):
    """`prefill` and `decode` lowered from shapes alone, by name.

    Requests have up to `blocks` pages. For ahead-of-time compilation and memory analysis. `mesh` is that of `layout`.
    """
    slots = layout.seen_SV.shape[0]
    ints = lambda *shape: np.zeros(shape, np.int32)
    arguments = {
        "prefill": (ints(PREFILL_ROWS, attention.size), ints(PREFILL_ROWS, blocks), ints(PREFILL_ROWS)),
        "decode": (idle_slots(slots, blocks), np.int32(1)),
    }
    programs, params = jitted(cfg, attention, decode_steps, layout), params_layout(cfg, mesh)
    return {name: programs[name].lower(params, layout, *args) for name, args in arguments.items()}


def prefill(
    params: dict, cfg: ModelConfig, attention: XlaAttention, memory: Memory, tokens_RC, table_RB, start_R
) -> Memory:
    """Write the keys and values of R prompt chunks to the cache.

    Each is written from `start_R` (a multiple of C) on. The rows may be of different prompts or, in order, of one:
    every layer writes all of them before it reads. No logits: the last prompt token is left for decode, so that decode
    stays the only program that samples. A chunk's tail past the prompt writes positions that decode overwrites before
    anything may look at them. Unused rows have the table 0.
    """
    C = tokens_RC.shape[1]
    cache = list(memory.cache)
    positions_RC = start_R[:, None] + jnp.arange(C, dtype=jnp.int32)
    page_R = jnp.take_along_axis(table_RB, start_R[:, None] // C, axis=1)[:, 0]
    x = embed(params, cfg, tokens_RC)
    for i, p in enumerate(params["layers"]):
        kind = layer_kind(cfg, i)

        def attend(q, k, v, i=i, window=kind.window):
            cache[i] = attention.write_pages(cache[i], page_R, k, v)
            return attention.attend(cache[i], q, positions_RC, table_RB, window)

        x = layer(p, cfg, x, positions_RC, kind, attend=attend)
    return memory._replace(cache=cache)


def decode_logits(params: dict, cfg: ModelConfig, attention: XlaAttention, cache: list, token_S, position_S, table_SB):
    """Logits f32[S, V] after `token_S` at `position_S`.

    Also returns the cache with these tokens added.
    """
    cache = list(cache)
    size = attention.size
    offset_S = position_S % size
    page_S = jnp.take_along_axis(table_SB, position_S[:, None] // size, axis=1)[:, 0]
    x = embed(params, cfg, token_S[:, None])
    for i, p in enumerate(params["layers"]):
        kind = layer_kind(cfg, i)

        def attend(q, k, v, i=i, window=kind.window):
            cache[i] = attention.write_tokens(cache[i], page_S, offset_S, k[:, 0], v[:, 0])
            return attention.attend(cache[i], q, position_S[:, None], table_SB, window, by_slot=True)

        x = layer(p, cfg, x, position_S[:, None], kind, attend=attend)
    x = rms_norm(x, params["final_norm"], cfg)
    return unembed(params, cfg, x)[:, 0], cache


def decode(
    params: dict,
    cfg: ModelConfig,
    attention: XlaAttention,
    steps: int,
    memory: Memory,
    slots: Slots,
    enough,
):
    """Decode up to `steps` tokens for every live slot.

    Ends early when `enough` slots have ended, or all.

    Returns (memory, tokens int32[S, steps], logprobs f32[S, steps], model_logprobs f32[S, steps], count int32[S],
    stopped bool[S]): `count` tokens of a row are valid, `stopped` says that the last of them is a stop id. A row that
    is not live idles at position 0 of its group's null page.
    """
    S = slots.live.size
    replace = lambda new, old: jnp.where(slots.fresh, new, old)
    token, position, start_index, live = map(replace, slots.begin, memory.progress)
    live &= slots.live
    started = live.sum()
    pages = memory.cache[0][0].shape[0] // attention.groups
    null_page_S1 = (jnp.arange(S, dtype=jnp.int32) // (S // attention.groups) * pages)[:, None]

    def body(state):
        step, memory, stopped, tokens, logprobs, model_logprobs = state
        token, position, index, live = memory.progress
        seen = memory.seen_SV
        table = jnp.where(live[:, None], slots.table, null_page_S1)
        at = jnp.where(live, position, 0)
        places = token, at, table
        logits, cache = decode_logits(params, cfg, attention, memory.cache, *places)
        unused = logits.shape[1]  # an index out of range is dropped
        stops = jnp.where((slots.stop_ids >= 0) & (index < slots.min_tokens)[:, None], slots.stop_ids, unused)
        allowed = sampling.penalise(
            logits, seen, slots.repetition_penalty, slots.presence_penalty, slots.frequency_penalty
        )
        allowed = allowed.at[jnp.arange(S)[:, None], stops].set(sampling.NEVER, mode="drop")
        settings = slots.temperature, slots.top_k, slots.top_p, slots.min_p
        new, logprob, model_logprob = sampling.sample(logits, allowed, slots.seed, index, *settings)
        write = lambda buffer, value: buffer.at[:, step].set(jnp.where(live, value, 0))
        stop = live & (new[:, None] == slots.stop_ids).any(-1)
        moved = live.astype(jnp.int32)
        index = index + moved
        seen = seen.at[jnp.arange(S), new].add(2 * moved)
        going = live & ~stop & (index < slots.max_tokens)
        progress = Progress(jnp.where(live, new, token), position + moved, index, going)
        return (
            step + 1,
            Memory(cache, seen, progress),
            stopped | stop,
            write(tokens, new),
            write(logprobs, logprob),
            write(model_logprobs, model_logprob),
        )

    def unfinished(state):
        live = state[1].progress.live
        return (state[0] < steps) & live.any() & (started - live.sum() < enough)

    memory = memory._replace(progress=Progress(token, position, start_index, live))
    floats = jnp.zeros((S, steps), jnp.float32)
    start = 0, memory, jnp.zeros(S, bool), jnp.zeros((S, steps), jnp.int32), floats, floats
    _, memory, stopped, tokens, logprobs, model_logprobs = jax.lax.while_loop(unfinished, body, start)
    return memory, tokens, logprobs, model_logprobs, memory.progress.sampled - start_index, stopped


def copy_pages(attention: XlaAttention, memory: Memory, from_S, to_S, count) -> Memory:
    """Copy the first `count` of the pages `from_S` to `to_S`.

    The other entries are page 0, a null page. Where a device holds all pages they are copied one by one, which moves no
    more than it has to. Elsewhere XLA would gather all pages for each.
    """
    if attention.groups > 1:
        move = lambda pool: pool.at[to_S].set(pool.at[from_S].get(mode="promise_in_bounds"))
        return memory._replace(cache=jax.tree.map(move, memory.cache))

    def body(i, cache):
        move = lambda pool: jax.lax.dynamic_update_slice_in_dim(
            pool, jax.lax.dynamic_slice_in_dim(pool, from_S[i], 1), to_S[i], 0
        )
        return jax.tree.map(move, cache)

    return memory._replace(cache=jax.lax.fori_loop(0, count, body, memory.cache))


def save_pages(memory: Memory, table_B) -> list:
    """The content of these pages, per layer."""
    return jax.tree.map(lambda pool: pool.at[table_B].get(mode="promise_in_bounds"), memory.cache)


def load_pages(memory: Memory, table_B, content: list) -> Memory:
    """Put `content`, as `save_pages` gave it, into these pages."""
    return memory._replace(cache=jax.tree.map(lambda pool, new: pool.at[table_B].set(new), memory.cache, content))
