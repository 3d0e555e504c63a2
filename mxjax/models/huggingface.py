"""Hugging Face directories: `config.json` and safetensors, read into and written from our types.

Only what the one transformer computes is accepted: a setting that would change the result is refused by name, never
ignored.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mxjax.models.config import ModelConfig
from mxjax.models.weights import to_huggingface

SHARD_BYTES = 5 * 10**9

# `model_type` → fields of ModelConfig that it implies, and the defaults that its config.json leaves out.
FAMILIES = {
    "llama": ("LlamaForCausalLM", {"qk_norm": False}, {"max_position_embeddings": 2048}),
    "qwen3": ("Qwen3ForCausalLM", {"qk_norm": True}, {"max_position_embeddings": 32_768, "head_dim": 128}),
}


def read_config(config: Mapping[str, Any], origin: str) -> ModelConfig:
    """ModelConfig of a parsed config.json; `origin` names it in errors.

    Raises ValueError for another architecture or a setting that the transformer does not compute.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ValueError(f"{origin} has model_type {family!r}; supported: {', '.join(FAMILIES)}")
    _, implied, defaults = FAMILIES[family]
    _refuse_unsupported(config, origin)
    rope = config.get("rope_parameters") or {}
    given = {**defaults, **{key: value for key, value in config.items() if value is not None}}
    try:
        heads, hidden = given["num_attention_heads"], given["hidden_size"]
        dtype = given.get("dtype", given.get("torch_dtype", "float32"))
        return ModelConfig(
            vocab_size=given["vocab_size"],
            hidden_size=hidden,
            intermediate_size=given["intermediate_size"],
            num_hidden_layers=given["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=given.get("num_key_value_heads", heads),
            head_dim=given.get("head_dim", hidden // heads),
            rope_theta=float(rope.get("rope_theta", given.get("rope_theta", 10_000.0))),
            rms_norm_eps=given.get("rms_norm_eps", 1e-6),
            tie_word_embeddings=given.get("tie_word_embeddings", False),
            max_position_embeddings=given["max_position_embeddings"],
            dtype="float32" if dtype == "float32" else "bfloat16",
            **implied,
        )
    except KeyError as error:
        raise ValueError(f"{origin} has no {error.args[0]}") from None


def _refuse_unsupported(config: Mapping[str, Any], origin: str) -> None:
    harmless = {
        "attention_bias": (False, None),
        "mlp_bias": (False, None),
        "hidden_act": ("silu", None),
        "use_sliding_window": (False, None),
        "quantization_config": (None,),
    }
    for name, values in harmless.items():
        if config.get(name) not in values:
            raise ValueError(f"{origin} sets {name} to {config[name]!r}, which is not supported")
    for name in ("rope_parameters", "rope_scaling"):  # since and before version 5
        rope = config.get(name) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise ValueError(f"{origin} sets {name} to {kind!r}, which is not supported")


def write_config(cfg: ModelConfig, dtype: str) -> dict[str, Any]:
    """config.json of `cfg` with weights in `dtype`, readable by `transformers` before and after version 5."""
    family = "qwen3" if cfg.qk_norm else "llama"
    fields = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "rope_theta", "rms_norm_eps", "tie_word_embeddings",
        "max_position_embeddings",
    )  # fmt: skip
    return {
        "architectures": [FAMILIES[family][0]],
        "model_type": family,
        **{name: getattr(cfg, name) for name in fields},
        "rope_parameters": {"rope_type": "default", "rope_theta": cfg.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "torch_dtype": dtype,
        "dtype": dtype,
    }


class SafetensorsDirectory:
    """`Tensors` over model.safetensors, or the files that model.safetensors.index.json lists, of a local directory.

    Raises FileNotFoundError without these, ValueError for a damaged file.
    """

    def __init__(self, directory: pathlib.Path):
        self.origin = str(directory)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files = {}
        index = directory / "model.safetensors.index.json"
        if index.exists():
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        else:
            names = ["model.safetensors"]
        for name in names:
            if not (directory / name).exists():
                raise FileNotFoundError(
                    f"{directory} has no {name}; write one with transformers' model.save_pretrained(...), or fetch "
                    "the missing file"
                )
            try:
                file = safetensors.safe_open(directory / name, framework="numpy")
            except safetensors.SafetensorError as error:
                raise ValueError(f"{directory / name} is damaged ({error}); fetch it again") from error
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                self._files[key] = file
                self.shapes[key] = tuple(file.get_slice(key).get_shape())

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        return self._files[name].get_slice(name)[index]


def write_weights(params: Mapping, cfg: ModelConfig, directory: pathlib.Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes the tensors of `params` as safetensors into a local directory, several files if they exceed `shard_bytes`.

    In a run of several processes all must call it; process 0 writes.
    """
    shards: list[dict[str, int]] = []
    batch: dict[str, np.ndarray] = {}

    def flush():
        shards.append({name: tensor.nbytes for name, tensor in batch.items()})
        if jax.process_index() == 0:
            path = directory / f"shard-{len(shards)}.safetensors"
            safetensors.numpy.save_file(batch, path, metadata={"format": "pt"})
        batch.clear()

    for name, tensor in to_huggingface(params, cfg):
        if batch and sum(t.nbytes for t in batch.values()) + tensor.nbytes > shard_bytes:
            flush()
        batch[name] = tensor
    flush()
    if jax.process_index() == 0:
        _name_shards(directory, shards)


def _name_shards(directory: pathlib.Path, shards: list[dict[str, int]]) -> None:
    """Renames shard-1 ... as Hugging Face counts them, with an index if there are several; drops an older save."""
    fresh = {directory / f"shard-{number}.safetensors" for number in range(1, len(shards) + 1)}
    for old in {*directory.glob("*.safetensors"), *directory.glob("*.safetensors.index.json")} - fresh:
        old.unlink()
    if len(shards) == 1:
        (directory / "shard-1.safetensors").rename(directory / "model.safetensors")
        return
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        (directory / f"shard-{number}.safetensors").rename(directory / name)
        weight_map.update(dict.fromkeys(shard, name))
    total = sum(size for shard in shards for size in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def params_dtype(params: Mapping) -> str:
    """The one dtype name of a parameter tree; float32 if its leaves differ."""
    names = {jnp.dtype(leaf.dtype).name for leaf in jax.tree.leaves(params)}
    return names.pop() if len(names) == 1 else "float32"
