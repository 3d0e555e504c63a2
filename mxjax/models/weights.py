"""Conversion between foreign weight files and our parameter tree.

One table of names and layouts serves both directions. A leaf is read shard by shard, each device's part straight from
the file, so that no process ever holds a whole model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.experimental import multihost_utils

from mxjax.errors import UserError
from mxjax.models.config import ModelConfig
from mxjax.models.params import abstract_params, param_table


class Layout(NamedTuple):
    """Foreign names and axes of a leaf.

    A foreign axis may fuse several ("NH").
    """

    huggingface: str
    gguf: str
    theirs: str
    ours: str


HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
COMPARED_ROWS = 4096

# Leaf path → its layout. Names with {} are one tensor per layer; our leaves stack these on a leading axis.
_LAYOUTS = {
    "embed": Layout("model.embed_tokens.weight", "token_embd.weight", "V D", "VD"),
    "layers/attn_norm": Layout("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", "D", "D"),
    "layers/wq": Layout("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", "NH D", "DNH"),
    "layers/wk": Layout("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", "KH D", "DKH"),
    "layers/wv": Layout("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", "KH D", "DKH"),
    "layers/wo": Layout("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", "D NH", "NHD"),
    "layers/q_bias": Layout("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", "NH", "NH"),
    "layers/k_bias": Layout("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", "KH", "KH"),
    "layers/v_bias": Layout("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", "KH", "KH"),
    "layers/q_norm": Layout("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", "H", "H"),
    "layers/k_norm": Layout("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", "H", "H"),
    "layers/mlp_norm": Layout("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", "D", "D"),
    "layers/w_gate": Layout("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", "F D", "DF"),
    "layers/w_up": Layout("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", "F D", "DF"),
    "layers/w_down": Layout("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", "D F", "FD"),
    "final_norm": Layout("model.norm.weight", "output_norm.weight", "D", "D"),
    "lm_head": Layout("lm_head.weight", "output.weight", "V D", "DV"),
}
# With norms on both sides of a block, the name that others give to the one before the MLP is that of one after it.
_SANDWICH = {
    "layers/post_attn_norm": Layout(
        "model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", "D", "D"
    ),
    "layers/mlp_norm": Layout("model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", "D", "D"),
    "layers/post_mlp_norm": Layout(
        "model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", "D", "D"
    ),
}


def layouts(cfg: ModelConfig) -> dict[str, Layout]:
    """Leaf path → layout, of every leaf that `cfg` has."""
    known = {**_LAYOUTS, **(_SANDWICH if cfg.sandwich_norms else {})}
    return {path: known[path] for path in traverse_util.flatten_dict(param_table(cfg), sep="/")}


class Tensors(Protocol):
    """A weight file, whose tensors have the names of Hugging Face."""

    @property
    def origin(self) -> str:
        """The file or folder, as errors name it."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each tensor."""

    @property
    def dtypes(self) -> Mapping[str, str]:
        """The file's own name of each tensor's dtype."""

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """tensor[index]"""


def load_params(tensors: Tensors, cfg: ModelConfig, mesh: jax.sharding.Mesh | None, dtype) -> dict:
    """Load the parameter tree of `cfg` from `tensors`.

    It is laid out on the shardings of `mesh` (None: the first device). Raises ValueError naming a tensor that is
    missing, misshaped, or unknown to this architecture.
    """
    leaves = traverse_util.flatten_dict(abstract_params(cfg, mesh, dtype), sep="/")
    names = layouts(cfg)
    check_tensors(tensors, cfg)
    check_tied(tensors, cfg)
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    arrays = {}
    for path, leaf in leaves.items():
        read = _Reader(tensors, names[path], leaf, stacked=path.startswith("layers/"))
        arrays[path] = jax.make_array_from_callback(leaf.shape, leaf.sharding or default, read)
    return traverse_util.unflatten_dict(arrays, sep="/")


def to_huggingface(params: Mapping, cfg: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Hugging Face's tensors of `params`, one at a time.

    Yields the name, and a contiguous array in the dtype of the leaf. Collective: in a run of several processes all of
    them must iterate.
    """
    names = layouts(cfg)
    for path, leaf in traverse_util.flatten_dict(dict(params), sep="/").items():
        layout = names[path]
        for layer in range(cfg.num_hidden_layers) if path.startswith("layers/") else [None]:
            ours = _on_host(leaf if layer is None else leaf[layer])
            sizes = dict(zip(layout.ours, ours.shape, strict=True))
            order = [layout.ours.index(axis) for axis in layout.theirs.replace(" ", "")]
            theirs = ours.transpose(order).reshape(_foreign_shape(layout, sizes))
            yield layout.huggingface.format(layer), np.ascontiguousarray(theirs)


def _on_host(array: jax.Array) -> np.ndarray:
    return np.asarray(array if array.is_fully_addressable else multihost_utils.process_allgather(array, tiled=True))


def _foreign_shape(layout: Layout, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(math.prod(sizes[axis] for axis in group) for group in layout.theirs.split(" "))


def foreign_shapes(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the Hugging Face tensors that `cfg` requires."""
    shapes = {}
    leaves = traverse_util.flatten_dict(abstract_params(cfg), sep="/")
    for path, layout in layouts(cfg).items():
        stacked = path.startswith("layers/")
        sizes = dict(zip(layout.ours, leaves[path].shape[stacked:], strict=True))
        for layer in range(cfg.num_hidden_layers) if stacked else [None]:
            shapes[layout.huggingface.format(layer)] = _foreign_shape(layout, sizes)
    return shapes


def check_tensors(tensors: Tensors, cfg: ModelConfig) -> None:
    """Raise ValueError for tensors that do not fit `cfg`.

    The message names one that is missing, misshaped, of integers, or unknown to `cfg`.
    """
    expected = foreign_shapes(cfg)
    for name, shape in expected.items():
        if name not in tensors.shapes:
            raise UserError(f"{tensors.origin} lacks the tensor {name}, which its configuration asks for")
        if tuple(tensors.shapes[name]) != shape:
            found = list(tensors.shapes[name])
            raise UserError(f"{name} in {tensors.origin} has shape {found}, its configuration asks for {list(shape)}")
        if re.match(r"[IUC]\d|BOOL|F[468](_|$)", dtype := tensors.dtypes[name]):
            raise UserError(f"{name} in {tensors.origin} holds {dtype}; weights must be floating point")
    for name in tensors.shapes:
        # Files repeat tied embeddings and older ones store rotary frequencies; both are computed here.
        redundant = name.endswith("rotary_emb.inv_freq") or (cfg.tie_word_embeddings and name == HEAD)
        if name not in expected and not redundant:
            raise UserError(
                f"{tensors.origin} has the tensor {name}, for which this architecture has no place; "
                "its model family is not supported"
            )


def check_tied(tensors: Tensors, cfg: ModelConfig) -> None:
    """Raise ValueError for tied embeddings beside a head that differs.

    Readers disagree on which of the two counts.
    """
    if not cfg.tie_word_embeddings or HEAD not in tensors.shapes:
        return
    same = tuple(tensors.shapes[HEAD]) == tuple(tensors.shapes[EMBEDDINGS])
    for start in range(0, cfg.vocab_size, COMPARED_ROWS) if same else ():
        rows = slice(start, min(start + COMPARED_ROWS, cfg.vocab_size)), slice(0, cfg.hidden_size)
        head, embeddings = (np.asarray(tensors.read(name, rows), np.float32) for name in (HEAD, EMBEDDINGS))
        same = same and np.array_equal(head, embeddings, equal_nan=True)
    if not same:
        raise UserError(
            f"{tensors.origin} ties its embeddings (tie_word_embeddings) and has a {HEAD} that differs from "
            f"{EMBEDDINGS}: set tie_word_embeddings to false if the head counts, or leave it out of the file"
        )


class _Reader:
    """Callback of `jax.make_array_from_callback` for one leaf.

    It maps a global index to the values of that shard.
    """

    def __init__(self, tensors: Tensors, layout: Layout, leaf: jax.ShapeDtypeStruct, stacked: bool):
        self.tensors, self.layout, self.leaf, self.stacked = tensors, layout, leaf, stacked
        self.shards: dict[tuple, np.ndarray] = {}  # replicas ask for the same shard

    def __call__(self, index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None  # JAX asks for shards of this process alone
        ranges = tuple(part.indices(size)[:2] for part, size in zip(index, self.leaf.shape, strict=True))
        if ranges not in self.shards:
            self.shards[ranges] = self._read(ranges)
        return self.shards[ranges]

    def _read(self, ranges: tuple[tuple[int, int], ...]) -> np.ndarray:
        """The shard, one foreign tensor after another written straight to its place."""
        out = np.empty([stop - start for start, stop in ranges], jnp.dtype(self.leaf.dtype))
        if not self.stacked:
            out[...] = self._tensor(self.layout.huggingface, ranges)
            return out
        (first, last), *rest = ranges
        for layer in range(first, last):
            out[layer - first] = self._tensor(self.layout.huggingface.format(layer), rest)
        return out

    def _tensor(self, name: str, ranges) -> np.ndarray:
        """Part of one foreign tensor as a view in our axes.

        `ranges` are in our axes.
        """
        axes = self.layout.ours
        shape = self.leaf.shape[1:] if self.stacked else self.leaf.shape
        size, part = dict(zip(axes, shape)), dict(zip(axes, ranges))
        index = []
        for group in self.layout.theirs.split(" "):
            inner = math.prod(size[axis] for axis in group[1:])
            for axis in group[1:]:  # only the outermost of fused axes is ever sharded
                assert part[axis] == (0, size[axis]), (name, ranges)
            start, stop = part[group[0]]
            index.append(slice(start * inner, stop * inner))
        theirs = self.layout.theirs.replace(" ", "")
        values = self.tensors.read(name, tuple(index))
        values = values.reshape([part[axis][1] - part[axis][0] for axis in theirs])
        return values.transpose([theirs.index(axis) for axis in axes])
