"""The two device programs of the engine: prefill a chunk of some prompts, decode a chunk of steps for all slots.

Both run at one fixed shape, and attention reduces over the cache in fixed blocks, so a row's bits depend on neither its
neighbours nor the length that others have reached: a block past a row's end adds exactly nothing. S slots, R prefill
rows, C tokens of a block (and of a prefill chunk), P blocks of a slot, K kv heads, G query heads per kv head, H head
dim.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mxjax.models.attention import MASKED
from mxjax.models.config import ModelConfig
from mxjax.models.params import param_table
from mxjax.models.transformer import embed, layer, layer_kind, rms_norm, unembed
from mxjax.sampling import logits as sampling
from mxjax.sampling.params import MAX_STOP_IDS
from mxjax.sharding import named_sharding

PREFILL_ROWS = 8


class Memory(NamedTuple):
    """What stays on the device between programs, and is donated from one to the next."""

    cache: list  # see `memory_layout`
    seen_SV: jax.Array  # see `logits.mark_seen`; only rows with penalties are kept right


class Slots(NamedTuple):
    """State of every slot at the start of a decode chunk: arrays of length S (`seed` [S, 2], `stop_ids` [S, 8])."""

    token: jax.Array  # last token, not yet in the cache
    position: jax.Array  # its position
    index: jax.Array  # how many tokens were sampled before
    max_tokens: jax.Array
    min_tokens: jax.Array
    live: jax.Array
    seed: jax.Array
    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    min_p: jax.Array
    repetition_penalty: jax.Array
    presence_penalty: jax.Array
    frequency_penalty: jax.Array
    stop_ids: jax.Array


def idle_slots(slots: int) -> Slots:
    """The state of slots that hold no request, as NumPy arrays."""
    ints = lambda *shape: np.zeros(shape, np.int32)
    return Slots(
        token=ints(slots), position=ints(slots), index=ints(slots), max_tokens=ints(slots), min_tokens=ints(slots),
        live=np.zeros(slots, bool), seed=np.zeros((slots, 2), np.uint32), temperature=np.ones(slots, np.float32),
        top_k=ints(slots), top_p=np.ones(slots, np.float32), min_p=np.zeros(slots, np.float32),
        repetition_penalty=np.ones(slots, np.float32), presence_penalty=np.zeros(slots, np.float32),
        frequency_penalty=np.zeros(slots, np.float32),
        stop_ids=np.full((slots, MAX_STOP_IDS), -1, np.int32),
    )  # fmt: skip


def _struct(cfg: ModelConfig, mesh: jax.sharding.Mesh | None, shape, axes, dtype=None) -> jax.ShapeDtypeStruct:
    sharding = None if mesh is None else named_sharding(mesh, axes, shape)
    return jax.ShapeDtypeStruct(shape, dtype or cfg.dtype, sharding=sharding)


def params_layout(cfg: ModelConfig, mesh: jax.sharding.Mesh | None = None) -> dict:
    """Shape, dtype and sharding of what `split_layers` makes."""
    table = param_table(cfg)
    of = lambda leaf, skip=0: _struct(cfg, mesh, leaf.shape[skip:], leaf.axes[skip:])
    layer = {name: of(leaf, 1) for name, leaf in table["layers"].items()}
    rest = {name: of(leaf) for name, leaf in table.items() if name != "layers"}
    return {**rest, "layers": [layer] * cfg.num_hidden_layers}


@functools.partial(jax.jit, static_argnums=(1, 2))
def split_layers(params: dict, cfg: ModelConfig, mesh: jax.sharding.Mesh | None = None) -> dict:
    """A copy of `params` in the compute dtype with a list of layers, laid out on `mesh`.

    Decode unrolls the layers, since slicing a stack would copy it at every step. A copy, since the trainer donates its
    own; and in the dtype that the layers compute in, so that no step converts anything.
    """

    def convert(value, like):
        value = jnp.array(value, like.dtype, copy=True)
        return value if like.sharding is None else jax.lax.with_sharding_constraint(value, like.sharding)

    stacked = params["layers"]
    layers = [{name: leaf[i] for name, leaf in stacked.items()} for i in range(cfg.num_hidden_layers)]
    return jax.tree.map(convert, {**params, "layers": layers}, params_layout(cfg, mesh))


def memory_layout(
    cfg: ModelConfig, slots: int, blocks: int, size: int, mesh: jax.sharding.Mesh | None = None
) -> Memory:
    """Shapes, dtypes and shardings of `Memory`; of the cache one (k_PSKHC, v_PSKCH) pair per layer, in compute dtype.

    A block of all slots is contiguous, and keys have their tokens innermost: what the two products of attention read.
    """
    leading, head_dim = (blocks, slots, cfg.num_key_value_heads), cfg.head_dim
    of = lambda *shape: _struct(cfg, mesh, (*leading, *shape), (None, "slots", "kv_heads", None, None))
    seen = _struct(cfg, mesh, (slots, cfg.vocab_size), ("slots", "vocab"), jnp.int32)
    return Memory([(of(head_dim, size), of(size, head_dim))] * cfg.num_hidden_layers, seen)


def empty_memory(cfg: ModelConfig, slots: int, blocks: int, size: int, mesh: jax.sharding.Mesh | None = None) -> Memory:
    """A memory with the layout of `memory_layout`, nothing in it."""
    zeros = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
    return jax.tree.map(zeros, memory_layout(cfg, slots, blocks, size, mesh))


def jitted(cfg: ModelConfig, decode_steps: int, layout: Memory) -> dict:
    """The programs of (params, memory, *arguments) by name; the memory is donated and keeps its layout."""
    memory = None if layout.seen_SV.sharding is None else jax.tree.map(lambda leaf: leaf.sharding, layout)
    rest = (None,) * 5
    return {
        "prefill": jax.jit(
            lambda params, memory, *args: memory._replace(cache=prefill(params, cfg, memory.cache, *args)),
            donate_argnums=1, out_shardings=memory,
        ),
        "mark_seen": jax.jit(
            lambda params, memory, *args: memory._replace(seen_SV=sampling.mark_seen(memory.seen_SV, *args)),
            donate_argnums=1, out_shardings=memory,
        ),
        "decode": jax.jit(
            lambda params, *args: decode(params, cfg, decode_steps, *args), donate_argnums=1,
            out_shardings=None if memory is None else (memory, *rest),
        ),
    }  # fmt: skip


def lowered(cfg: ModelConfig, decode_steps: int, layout: Memory, mesh: jax.sharding.Mesh | None = None) -> dict:
    """Prefill and decode lowered from shapes alone, for ahead-of-time compilation and memory analysis."""
    keys = layout.cache[0][0].shape
    arguments = {
        "prefill": (np.zeros((PREFILL_ROWS, keys[-1]), np.int32), np.zeros(PREFILL_ROWS, np.int32), np.int32(0)),
        "decode": (idle_slots(keys[1]),),
    }
    programs, params = jitted(cfg, decode_steps, layout), params_layout(cfg, mesh)
    return {name: programs[name].lower(params, layout, *given) for name, given in arguments.items()}


def cached_attention(q_BTNH, positions_BT, size: int, read_block, window: int | None = None):
    """Attention of q over the cache up to each query's own position, one KV block after another (online softmax).

    With a `window`, over at most that many positions, its own included.

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


def prefill(params: dict, cfg: ModelConfig, cache: list, tokens_RC, slots_R, start) -> list:
    """Writes the keys and values of one chunk of R prompts, from position `start` (a multiple of C), to the cache.

    No logits: the last prompt token is left for decode, which so stays the only program that samples. A chunk's tail
    past the prompt writes positions that decode overwrites before anything may look at them. Unused rows repeat row 0.
    """
    R, C = tokens_RC.shape
    cache = list(cache)
    positions_RC = jnp.broadcast_to(start + jnp.arange(C), (R, C))
    x = embed(params, cfg, tokens_RC)
    for i, p in enumerate(params["layers"]):
        kind = layer_kind(cfg, i)

        def attend(q, k, v, i=i, window=kind.window):
            pair = []
            for stored, new in zip(cache[i], (k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)), strict=True):
                for r in range(R):
                    stored = jax.lax.dynamic_update_slice(
                        stored, new[None, r : r + 1], (start // C, slots_R[r], 0, 0, 0)
                    )
                pair.append(stored)
            cache[i] = tuple(pair)

            def read_block(block):
                read = lambda a, slot: jax.lax.dynamic_slice(a, (block, slot, 0, 0, 0), (1, 1, *a.shape[2:]))[0]
                return tuple(jnp.concatenate([read(a, slots_R[r]) for r in range(R)]) for a in pair)

            return cached_attention(q, positions_RC, C, read_block, window)

        x = layer(p, cfg, x, positions_RC, kind, attend)
    return cache


def decode_logits(params: dict, cfg: ModelConfig, cache: list, token_S, position_S):
    """Logits f32[S, V] after `token_S` at `position_S`, and the cache with their keys and values added."""
    cache = list(cache)
    size = cache[0][0].shape[-1]
    block_S, offset_S, slot_S = position_S // size, position_S % size, jnp.arange(token_S.shape[0])
    x = embed(params, cfg, token_S[:, None])
    for i, p in enumerate(params["layers"]):
        kind = layer_kind(cfg, i)

        def attend(q, k, v, i=i, window=kind.window):
            k_PSKHC, v_PSKCH = cache[i]
            k_PSKHC = k_PSKHC.at[block_S, slot_S, :, :, offset_S].set(k[:, 0])
            v_PSKCH = v_PSKCH.at[block_S, slot_S, :, offset_S].set(v[:, 0])
            cache[i] = k_PSKHC, v_PSKCH
            read_block = lambda i: (k_PSKHC[i], v_PSKCH[i])
            return cached_attention(q, position_S[:, None], size, read_block, window)

        x = layer(p, cfg, x, position_S[:, None], kind, attend)
    x = rms_norm(x, params["final_norm"], cfg)
    return unembed(params, cfg, x)[:, 0], cache


def decode(params: dict, cfg: ModelConfig, steps: int, memory: Memory, slots: Slots):
    """Up to `steps` tokens for every live slot; ends early when none is live.

    Returns (memory, tokens int32[S, steps], logprobs f32[S, steps], model_logprobs f32[S, steps], count int32[S],
    stopped bool[S]): `count` tokens of a row are valid, `stopped` says that the last of them is a stop id. A row that
    is not live idles at position 0 of its slot, which nobody reads any more.
    """
    S = slots.token.shape[0]
    start_index = slots.index

    def body(state):
        step, (cache, seen), token, position, index, live, stopped, tokens, logprobs, model_logprobs = state
        logits, cache = decode_logits(params, cfg, cache, token, jnp.where(live, position, 0))
        unused = logits.shape[1]  # an index out of range is dropped
        stops = jnp.where((slots.stop_ids >= 0) & (index < slots.min_tokens)[:, None], slots.stop_ids, unused)
        allowed = sampling.penalise(
            logits, seen, slots.repetition_penalty, slots.presence_penalty, slots.frequency_penalty
        )
        allowed = allowed.at[jnp.arange(S)[:, None], stops].set(sampling.NEVER, mode="drop")
        new, logprob, model_logprob = sampling.sample(
            logits, allowed, slots.seed, index, slots.temperature, slots.top_k, slots.top_p, slots.min_p
        )
        write = lambda buffer, value: buffer.at[:, step].set(jnp.where(live, value, 0))
        stop = live & (new[:, None] == slots.stop_ids).any(-1)
        moved = live.astype(jnp.int32)
        index = index + moved
        seen = seen.at[jnp.arange(S), new].add(2 * moved)
        return (
            step + 1, Memory(cache, seen), jnp.where(live, new, token), position + moved, index,
            live & ~stop & (index < slots.max_tokens), stopped | stop,
            write(tokens, new), write(logprobs, logprob), write(model_logprobs, model_logprob),
        )  # fmt: skip

    floats = jnp.zeros((S, steps), jnp.float32)
    state = (
        0, memory, slots.token, slots.position, slots.index, slots.live, jnp.zeros(S, bool),
        jnp.zeros((S, steps), jnp.int32), floats, floats,
    )  # fmt: skip
    out = jax.lax.while_loop(lambda state: (state[0] < steps) & state[5].any(), body, state)
    _, memory, _, _, index, _, stopped, tokens, logprobs, model_logprobs = out
    return memory, tokens, logprobs, model_logprobs, index - start_index, stopped
