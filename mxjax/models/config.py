"""Model configuration and named presets.

A configuration has all that the one transformer needs to know about an architecture. Field names follow `config.json`
of Hugging Face, so that a checkpoint's own file reads straight into a `ModelConfig`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict

from mxjax.errors import UserError
from mxjax.values import is_finite, is_integer

DTYPES = ("float32", "bfloat16")
REMAT = ("none", "dots", "full", "offload")
ACTIVATIONS = ("silu", "gelu_pytorch_tanh")
FULL, SLIDING = "full_attention", "sliding_attention"
LAYER_TYPES = (FULL, SLIDING)
ROPE_TYPES = ("linear", "llama3")
# The largest value of a setting: beyond every model, yet small enough to keep a made-up number from doing harm.
LARGEST = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 18,
    "intermediate_size": 1 << 20,
    "num_hidden_layers": 1 << 12,
    "num_attention_heads": 1 << 12,
    "num_key_value_heads": 1 << 12,
    "head_dim": 1 << 12,
    "max_position_embeddings": 1 << 31,
    "sliding_window": 1 << 31,
}


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Scaling of rotary frequencies for contexts longer than in pretraining.

    "linear" divides all of them by `factor`. "llama3" divides those whose wavelength is over
    original_max_position_embeddings / low_freq_factor, leaves those under .../high_freq_factor, and blends between.
    """

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    def __post_init__(self):
        if self.rope_type not in ROPE_TYPES:
            raise UserError(f"rope_type must be one of {ROPE_TYPES}, got {self.rope_type!r}")
        for name in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"):
            _check_positive(f"the {name} of rope_scaling", getattr(self, name))
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise UserError(
                f"rope_scaling needs 0 < low_freq_factor < high_freq_factor, got {self.low_freq_factor} and "
                f"{self.high_freq_factor}"
            )


def _check_positive(name: str, value: float) -> None:
    if not (is_finite(value) and value > 0):
        raise UserError(f"{name} must be positive, got {value!r}")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture (the first group) and how it is computed (`dtype`, `param_dtype`, `remat`).

    Every family is a choice of these:

    - `rope_scaling`: Llama 3.1 and later; a mapping of its fields is taken too. Layers of sliding attention are never
      scaled and rotate with `rope_local_base_freq` in place of `rope_theta`.
    - `attention_bias`: a bias on queries, keys and values (Qwen2).
    - `qk_norm`: RMS norm of each query and key head before the rotation (Qwen3, Gemma 3).
    - `layer_types`: "full_attention" or "sliding_attention" of each layer, empty if all are full; a sliding layer sees
      `sliding_window` tokens, its own included (Gemma 3).
    - `query_pre_attn_scalar`: scores are multiplied by its inverse square root; None: `head_dim`.
    - `norm_offset`: an RMS norm multiplies by 1 + weight. `sandwich_norms`: what a block adds to the residual is
      normed too. `scale_embeddings`: embeddings are multiplied by sqrt(hidden_size) (all three Gemma 3).

    `dtype` is that of the computation, `param_dtype` that of the weights in training: float32 master weights, or
    bfloat16.

    `remat` names what the backward pass recomputes: "none", "dots" (all but matrix products), "full" (each layer, from
    its input), or "offload" ("full", and the inputs wait in the host's memory).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    rope_local_base_freq: float = 10_000.0
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    qk_norm: bool = False
    layer_types: tuple[str, ...] = ()
    sliding_window: int | None = None
    query_pre_attn_scalar: int | None = None
    hidden_act: str = "silu"
    norm_offset: bool = False
    sandwich_norms: bool = False
    scale_embeddings: bool = False
    tie_word_embeddings: bool = True
    max_position_embeddings: int = 4096
    dtype: str = "float32"
    param_dtype: str = "float32"
    remat: str = "full"

    def __post_init__(self):
        if isinstance(self.rope_scaling, Mapping):  # from JSON or a config file
            object.__setattr__(self, "rope_scaling", RopeScaling(**self.rope_scaling))
        object.__setattr__(self, "layer_types", tuple(self.layer_types))
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if not (is_integer(value) and 1 <= value <= most) and not (name == "sliding_window" and value is None):
                raise UserError(f"ModelConfig.{name} must be positive, whole and at most {most}, got {value!r}")
        for name in ("rope_theta", "rope_local_base_freq", "rms_norm_eps"):
            _check_positive(f"ModelConfig.{name}", getattr(self, name))
        if self.query_pre_attn_scalar is not None:
            _check_positive("ModelConfig.query_pre_attn_scalar", self.query_pre_attn_scalar)
        for field in dataclasses.fields(self):
            if field.type == "bool" and not isinstance(getattr(self, field.name), bool):
                raise UserError(f"ModelConfig.{field.name} must be true or false, got {getattr(self, field.name)!r}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise UserError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})"
            )
        if self.head_dim % 2:
            raise UserError(f"head_dim must be even for rotary embeddings, got {self.head_dim}")
        if self.layer_types and len(self.layer_types) != self.num_hidden_layers:
            raise UserError(f"layer_types names {len(self.layer_types)} layers of {self.num_hidden_layers}")
        if SLIDING in self.layer_types and not (self.sliding_window and self.sliding_window > 0):
            raise UserError(f"layer_types has {SLIDING}, which needs a sliding_window, got {self.sliding_window}")
        choices = {"dtype": DTYPES, "param_dtype": DTYPES, "remat": REMAT, "hidden_act": ACTIVATIONS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if unknown := [kind for kind in self.layer_types if kind not in LAYER_TYPES]:
            raise UserError(f"layer_types must be of {LAYER_TYPES}, got {unknown[0]!r}")

    def replace(self, **changes) -> ModelConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The attention of each layer: "full_attention" or "sliding_attention"."""
        return self.layer_types or (FULL,) * self.num_hidden_layers

    @property
    def family(self) -> str:
        """The `model_type` that Hugging Face knows this architecture by.

        Raises ValueError for a combination of settings that no family has.
        """
        windowed = SLIDING in self.layer_types or self.query_pre_attn_scalar not in (None, self.head_dim)
        for name, traits in FAMILY_TRAITS.items():
            if all(getattr(self, trait) == value for trait, value in traits.items()):
                if windowed and name != "gemma3_text":
                    raise UserError(f"{name} models have neither sliding attention nor a query_pre_attn_scalar")
                return name
        traits_here = ", ".join(f"{trait}={getattr(self, trait)}" for trait in FAMILY_TRAITS["llama"])
        raise UserError(f"no model family has {traits_here}; known: {', '.join(FAMILY_TRAITS)}")


def _traits(attention_bias: bool = False, qk_norm: bool = False, gemma: bool = False) -> dict[str, Any]:
    return {
        "attention_bias": attention_bias,
        "qk_norm": qk_norm,
        "norm_offset": gemma,
        "sandwich_norms": gemma,
        "scale_embeddings": gemma,
        "hidden_act": "gelu_pytorch_tanh" if gemma else "silu",
    }


# `model_type` → the settings of ModelConfig that the family implies.
FAMILY_TRAITS = {
    "llama": _traits(),
    "qwen2": _traits(attention_bias=True),
    "qwen3": _traits(qk_norm=True),
    "gemma3_text": _traits(qk_norm=True, gemma=True),
}


def gemma_layer_types(layers: int, period: int = 6) -> tuple[str, ...]:
    """Gemma's pattern: each `period`-th layer sees everything, the others a window."""
    return tuple(SLIDING if (index + 1) % period else FULL for index in range(layers))


class _Sizes(TypedDict):
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int


def _sizes(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int = 8) -> _Sizes:
    return {
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }


def _qwen2(sizes: _Sizes, tied: bool, vocab: int = 151_936) -> ModelConfig:
    return ModelConfig(
        **sizes,
        vocab_size=vocab,
        head_dim=sizes["hidden_size"] // sizes["num_attention_heads"],
        rope_theta=1e6,
        tie_word_embeddings=tied,
        max_position_embeddings=32_768,
        dtype="bfloat16",
        **FAMILY_TRAITS["qwen2"],
    )


def _llama32(sizes: _Sizes, head_dim: int) -> ModelConfig:
    return ModelConfig(
        **sizes,
        vocab_size=128_256,
        head_dim=head_dim,
        rope_theta=5e5,
        rope_scaling=RopeScaling("llama3", 32.0),
        rms_norm_eps=1e-5,
        max_position_embeddings=131_072,
        dtype="bfloat16",
    )


def _gemma3(
    sizes: _Sizes, window: int, positions: int, vocab: int = 262_144, scaling: RopeScaling | None = None
) -> ModelConfig:
    return ModelConfig(
        **sizes,
        vocab_size=vocab,
        head_dim=256,
        rope_theta=1e6,
        rope_scaling=scaling,
        layer_types=gemma_layer_types(sizes["num_hidden_layers"]),
        sliding_window=window,
        query_pre_attn_scalar=256,
        max_position_embeddings=positions,
        dtype="bfloat16",
        **FAMILY_TRAITS["gemma3_text"],
    )


def _qwen3(sizes: _Sizes, tied: bool) -> ModelConfig:
    return ModelConfig(
        **sizes,
        vocab_size=151_936,
        head_dim=128,
        rope_theta=1e6,
        qk_norm=True,
        tie_word_embeddings=tied,
        max_position_embeddings=40_960,
        dtype="bfloat16",
    )


def _smollm2(sizes: _Sizes) -> ModelConfig:
    return ModelConfig(
        **sizes,
        vocab_size=49_152,
        head_dim=64,
        rope_theta=1e5,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        dtype="bfloat16",
    )


def _small(sizes: _Sizes, vocab: int) -> ModelConfig:
    return ModelConfig(**sizes, vocab_size=vocab, head_dim=32, qk_norm=True, max_position_embeddings=1024)


PRESETS = {
    "tiny": _small(_sizes(64, 192, 2, 2, 1), 512),
    "quickstart": _small(_sizes(128, 384, 3, 4, 2), 1024),
    "smollm2-135m": _smollm2(_sizes(576, 1536, 30, 9, 3)),
    "smollm2-360m": _smollm2(_sizes(960, 2560, 32, 15, 5)),
    "llama-3.2-1b": _llama32(_sizes(2048, 8192, 16, 32), 64),
    "llama-3.2-3b": _llama32(_sizes(3072, 8192, 28, 24), 128),
    "qwen2.5-0.5b": _qwen2(_sizes(896, 4864, 24, 14, 2), True),
    "qwen2.5-1.5b": _qwen2(_sizes(1536, 8960, 28, 12, 2), True),
    "qwen2.5-3b": _qwen2(_sizes(2048, 11_008, 36, 16, 2), True),
    "qwen2.5-7b": _qwen2(_sizes(3584, 18_944, 28, 28, 4), False, vocab=152_064),
    "qwen3-0.6b": _qwen3(_sizes(1024, 3072, 28, 16), True),
    "qwen3-1.7b": _qwen3(_sizes(2048, 6144, 28, 16), True),
    "qwen3-4b": _qwen3(_sizes(2560, 9728, 36, 32), True),
    "qwen3-8b": _qwen3(_sizes(4096, 12_288, 36, 32), False),
    "qwen3-14b": _qwen3(_sizes(5120, 17_408, 40, 40), False),
    "qwen3-32b": _qwen3(_sizes(5120, 25_600, 64, 64), False),
    "gemma3-270m": _gemma3(_sizes(640, 2048, 18, 4, 1), 512, 32_768),
    "gemma3-1b": _gemma3(_sizes(1152, 6912, 26, 4, 1), 512, 32_768),
    "gemma3-4b": _gemma3(_sizes(2560, 10_240, 34, 8, 4), 1024, 131_072, 262_208, RopeScaling("linear", 8.0)),
}


def preset(name: str) -> ModelConfig:
    """The configuration called `name`, any letter case.

    Raises ValueError that lists the known names.
    """
    try:
        return PRESETS[name.lower()]
    except KeyError:
        raise UserError(f"unknown model preset {name!r}; known: {', '.join(PRESETS)}") from None
