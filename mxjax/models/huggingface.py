"""Hugging Face directories: `config.json` and safetensors, read and written.

Only what the one transformer computes is accepted: a setting that would change the result is refused by name, never
ignored.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mxjax.errors import MissingFile, UserError
from mxjax.files import read_json, reading
from mxjax.models.config import (
    FAMILY_TRAITS,
    FULL,
    ROPE_TYPES,
    SLIDING,
    ModelConfig,
    RopeScaling,
    gemma_layer_types,
)
from mxjax.models.weights import to_huggingface

SHARD_BYTES = 5 * 10**9

# `model_type` → its class, and the values that its config.json may leave out.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {"max_position_embeddings": 2048}),
    "qwen2": ("Qwen2ForCausalLM", {"max_position_embeddings": 32_768}),
    "qwen3": ("Qwen3ForCausalLM", {"max_position_embeddings": 32_768, "head_dim": 128}),
    "gemma3_text": (
        "Gemma3ForCausalLM",
        {
            "vocab_size": 262_208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
            "sliding_window_pattern": 6,
            "rope_theta": 1e6,
            "rope_local_base_freq": 10_000.0,
            "tie_word_embeddings": True,
            "max_position_embeddings": 131_072,
        },
    ),
}
MULTIMODAL = "gemma3"  # the `model_type` whose `text_config` is a gemma3_text
# Parts of a multimodal checkpoint that a text model has no use for, and what its text model's names begin with.
VISION = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")
TEXT = {"language_model.model.": "model.", "language_model.lm_head.": "lm_head.", "model.language_model.": "model."}


def read_config(config: Mapping[str, Any], origin: str) -> ModelConfig:
    """ModelConfig of a parsed config.json; `origin` names it in errors.

    Raises ValueError for another architecture or a setting that the transformer does not compute.
    """
    with reading(origin):
        return _read_config(config, origin)


def _read_config(config: Mapping[str, Any], origin: str) -> ModelConfig:
    family = config.get("model_type")
    if family == MULTIMODAL:
        shared = {key: value for key, value in config.items() if key in ("dtype", "torch_dtype")}
        config, family = {**shared, **(config.get("text_config") or {})}, "gemma3_text"
    if not isinstance(family, str) or family not in FAMILIES:
        raise UserError(f"{origin} has model_type {family!r}; supported: {', '.join([*FAMILIES, MULTIMODAL])}")
    _refuse_unsupported(config, family, origin)
    settings = {**FAMILIES[family][1], **{key: value for key, value in config.items() if value is not None}}
    try:
        heads, hidden = settings["num_attention_heads"], settings["hidden_size"]
        dtype = settings.get("dtype", settings.get("torch_dtype", "float32"))
        return ModelConfig(
            vocab_size=settings["vocab_size"],
            hidden_size=hidden,
            intermediate_size=settings["intermediate_size"],
            num_hidden_layers=settings["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=settings.get("num_key_value_heads", heads),
            head_dim=settings.get("head_dim", hidden // heads),
            rms_norm_eps=settings.get("rms_norm_eps", 1e-6),
            tie_word_embeddings=settings.get("tie_word_embeddings", False),
            max_position_embeddings=settings["max_position_embeddings"],
            dtype="float32" if dtype == "float32" else "bfloat16",
            **_rope(settings, origin),
            **(_gemma(settings) if family == "gemma3_text" else {}),
            **FAMILY_TRAITS[family],
        )
    except KeyError as error:
        raise UserError(f"{origin} has no {error.args[0]}") from None
    except (TypeError, ZeroDivisionError) as error:
        raise UserError(f"{origin} has a setting of the wrong kind ({error})") from None


def _gemma(given: Mapping[str, Any]) -> dict[str, Any]:
    layers = given["num_hidden_layers"]
    return {
        "layer_types": tuple(given.get("layer_types") or gemma_layer_types(layers, given["sliding_window_pattern"])),
        "sliding_window": given["sliding_window"],
        "query_pre_attn_scalar": given["query_pre_attn_scalar"],
    }


def _rope(given: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Rotary settings from either form of config.json.

    Old files have `rope_theta`, `rope_scaling` and `rope_local_base_freq`, new ones `rope_parameters`, maybe one set
    per kind of layer. Where a file has both, the old scaling counts, as in `transformers`.
    """
    new, old = given.get("rope_parameters") or {}, given.get("rope_scaling") or {}
    nested = any(isinstance(value, Mapping) for value in new.values())
    local = (new.get(SLIDING) or {}) if nested else {}
    full = (new.get(FULL) or {}) if nested else new
    _refuse_rope(local, "rope_parameters", ("default",), origin)
    name = "rope_scaling" if old else "rope_parameters"
    kind = _refuse_rope(old or full, name, ("default", *ROPE_TYPES), origin)
    if not {"rope_type", "type"} & set(old or full) and "factor" in (old or full):
        raise UserError(f"{origin} sets a factor of {name} without its rope_type, such as linear")
    settings = {**full, **old}
    scaling = None
    if kind == "linear":
        scaling = RopeScaling(kind, float(settings["factor"]))
    elif kind == "llama3":
        original = settings.get("original_max_position_embeddings", given["max_position_embeddings"])
        low, high = float(settings["low_freq_factor"]), float(settings["high_freq_factor"])
        scaling = RopeScaling(kind, float(settings["factor"]), low, high, original)
    return {
        "rope_theta": float(settings.get("rope_theta", given.get("rope_theta", 10_000.0))),
        "rope_scaling": scaling,
        "rope_local_base_freq": float(local.get("rope_theta", given.get("rope_local_base_freq", 10_000.0))),
    }


def _refuse_rope(rope: Mapping[str, Any], name: str, known: tuple[str, ...], origin: str) -> str:
    """The kind of rotary parameters.

    Raises ValueError if it is not of the known ones, or if only part of a head is rotated.
    """
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in known:
        raise UserError(f"{origin} sets {name} to {kind!r}, which is not supported")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError(f"{origin} sets partial_rotary_factor in {name}, which is not supported")
    return kind


def _refuse_unsupported(config: Mapping[str, Any], family: str, origin: str) -> None:
    harmless = {
        "attention_bias": (False, None),
        "mlp_bias": (False, None),
        "use_sliding_window": (False, None),
        "quantization_config": (None,),
        "final_logit_softcapping": (None,),
        "attn_logit_softcapping": (None,),
        "use_bidirectional_attention": (False, None),
        "partial_rotary_factor": (1.0, None),
    }
    activation = FAMILY_TRAITS[family]["hidden_act"]
    harmless["hidden_activation" if family == "gemma3_text" else "hidden_act"] = (activation, None)
    if family == "qwen2":  # always has these biases, whatever the file says
        del harmless["attention_bias"]
    for name, values in harmless.items():
        if config.get(name) not in values:
            raise UserError(f"{origin} sets {name} to {config[name]!r}, which is not supported")
    if family != "gemma3_text" and SLIDING in (config.get("layer_types") or ()):
        raise UserError(f"{origin} sets layer_types with {SLIDING}, which is not supported for {family}")


def write_config(cfg: ModelConfig, dtype: str) -> dict[str, Any]:
    """The config.json of `cfg` with weights in `dtype`.

    `transformers` reads it before and after version 5. Raises ValueError for a combination of settings that no family
    has.
    """
    family = cfg.family
    gemma = family == "gemma3_text"
    fields = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "rope_theta",
        "rms_norm_eps",
        "tie_word_embeddings",
        "max_position_embeddings",
    )
    scaling = None
    if cfg.rope_scaling is not None:
        scaling = dataclasses.asdict(cfg.rope_scaling)
        if cfg.rope_scaling.rope_type == "linear":
            scaling = {"rope_type": "linear", "factor": cfg.rope_scaling.factor}
    rope = {"rope_theta": cfg.rope_theta, **(scaling or {"rope_type": "default"})}
    config = {
        "architectures": [FAMILIES[family][0]],
        "model_type": family,
        **{name: getattr(cfg, name) for name in fields},
        "rope_scaling": scaling,
        "rope_parameters": rope,
        "torch_dtype": dtype,
        "dtype": dtype,
    }
    if family != "qwen2":
        config["attention_bias"] = False
    config["hidden_activation" if gemma else "hidden_act"] = cfg.hidden_act
    if gemma:
        local = {"rope_type": "default", "rope_theta": cfg.rope_local_base_freq}
        config |= {
            "layer_types": list(cfg.kinds),
            "sliding_window": cfg.sliding_window,
            "query_pre_attn_scalar": cfg.query_pre_attn_scalar or cfg.head_dim,
            "rope_local_base_freq": cfg.rope_local_base_freq,
            "rope_parameters": {FULL: rope, SLIDING: local},
        }
    return config


class SafetensorsDirectory:
    """`Tensors` over the safetensors files of a local directory.

    The files are model.safetensors, or those that model.safetensors.index.json lists. Of a `multimodal` checkpoint only
    the text model is read, under the names that it would have alone; `left_out` names the rest. `dtypes` are as
    safetensors spells them ("BF16"). Raises FileNotFoundError without files, ValueError for a damaged one.
    """

    def __init__(self, directory: pathlib.Path, multimodal: bool = False):
        self.origin = str(directory)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self.left_out: list[str] = []
        self._files = {}
        index = directory / "model.safetensors.index.json"
        if index.exists():
            with reading(index):
                names = sorted(set(read_json(index).get("weight_map", {}).values()))
            if not names:
                raise UserError(f"{index} has no weight_map, which names the files; fetch it again")
            if strange := [name for name in names if not _is_file_name(name)]:
                raise UserError(f"{index} names {strange[0]!r}, and its files lie beside it as *.safetensors")
        else:
            names = ["model.safetensors"]
        for name in names:
            if not (directory / name).is_file():
                raise MissingFile(
                    f"{directory} has no {name}; write one with transformers' model.save_pretrained(...), or fetch "
                    "the missing file"
                )
            try:
                file = safetensors.safe_open(directory / name, framework="numpy")
            except (safetensors.SafetensorError, OSError, MemoryError) as error:
                raise UserError(f"{directory / name} is damaged ({error}); fetch it again") from error
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                if multimodal and key.startswith(VISION):
                    self.left_out.append(key)
                    continue
                name = _text_name(key) if multimodal else key
                self._files[name] = (file, key)
                header = file.get_slice(key)
                self.shapes[name], self.dtypes[name] = tuple(header.get_shape()), header.get_dtype()

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        file, key = self._files[name]
        return file.get_slice(key)[index]


def _is_file_name(name: str) -> bool:
    kinds = (pathlib.PurePosixPath, pathlib.PureWindowsPath)
    return isinstance(name, str) and name.endswith(".safetensors") and all(kind(name).name == name for kind in kinds)


def _text_name(key: str) -> str:
    for prefix, ours in TEXT.items():
        if key.startswith(prefix):
            return ours + key.removeprefix(prefix)
    return key


def write_weights(params: Mapping, cfg: ModelConfig, directory: pathlib.Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `params` as safetensors files into a local directory.

    Several files are written if they exceed `shard_bytes`. In a run of several processes all must call it; process 0
    writes.
    """
    shards: list[dict[str, int]] = []
    batch: dict[str, np.ndarray] = {}

    def flush():
        shards.append({name: tensor.nbytes for name, tensor in batch.items()})
        if jax.process_index() == 0:
            path = directory / f"shard-{len(shards)}.safetensors"
            path.touch()
            mode = path.stat().st_mode  # as the user wants files to be; the package makes them private
            safetensors.numpy.save_file(batch, path, metadata={"format": "pt"})
            path.chmod(mode)
        batch.clear()

    for name, tensor in to_huggingface(params, cfg):
        if batch and sum(t.nbytes for t in batch.values()) + tensor.nbytes > shard_bytes:
            flush()
        batch[name] = tensor
    flush()
    if jax.process_index() == 0:
        _name_shards(directory, shards)


def _name_shards(directory: pathlib.Path, shards: list[dict[str, int]]) -> None:
    """Rename the shards as Hugging Face counts them; drop an older save.

    Several shards get an index.
    """
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
    """The one dtype name of a parameter tree; float32 if leaves differ."""
    names = {jnp.dtype(leaf.dtype).name for leaf in jax.tree.leaves(params)}
    return names.pop() if len(names) == 1 else "float32"
