"""Model configuration and named presets: everything the one transformer needs to know about an architecture.

Field names follow `config.json` of Hugging Face, so that a checkpoint's own file reads straight into a `ModelConfig`.
"""

from __future__ import annotations

import dataclasses

DTYPES = ("float32", "bfloat16")
REMAT = ("none", "dots", "full")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture (the first group) and how it is computed (`dtype`, `remat`).

    `qk_norm` is Qwen3's RMS norm of each query and key head before RoPE. `remat` names what the backward pass
    recomputes: "none", "dots" (all but matrix products) or "full" (each layer).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    qk_norm: bool = False
    tie_word_embeddings: bool = True
    max_position_embeddings: int = 4096
    dtype: str = "float32"
    remat: str = "full"

    def __post_init__(self):
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"ModelConfig.{name} must be positive, got {getattr(self, name)}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary embeddings, got {self.head_dim}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {DTYPES}, got {self.dtype!r}")
        if self.remat not in REMAT:
            raise ValueError(f"remat must be one of {REMAT}, got {self.remat!r}")

    def replace(self, **changes) -> ModelConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def _qwen3(hidden, ffn, layers, heads, tied, dtype="bfloat16"):
    return ModelConfig(
        vocab_size=151_936, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=8, head_dim=128, rope_theta=1e6, qk_norm=True,
        tie_word_embeddings=tied, max_position_embeddings=40_960, dtype=dtype,
    )  # fmt: skip


def _smollm2(hidden, ffn, layers, heads, kv_heads):
    return ModelConfig(
        vocab_size=49_152, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=64, rope_theta=1e5,
        rms_norm_eps=1e-5, max_position_embeddings=8192, dtype="bfloat16",
    )  # fmt: skip


def _small(hidden, layers, heads, vocab, max_len):
    return ModelConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=max(1, heads // 2), head_dim=32, qk_norm=True,
        max_position_embeddings=max_len,
    )  # fmt: skip


PRESETS = {
    "tiny": _small(64, 2, 2, 512, 1024),
    "quickstart": _small(128, 3, 4, 1024, 1024),
    "smollm2-135m": _smollm2(576, 1536, 30, 9, 3),
    "smollm2-360m": _smollm2(960, 2560, 32, 15, 5),
    "qwen3-0.6b": _qwen3(1024, 3072, 28, 16, True),
    "qwen3-1.7b": _qwen3(2048, 6144, 28, 16, True),
    "qwen3-4b": _qwen3(2560, 9728, 36, 32, True),
    "qwen3-8b": _qwen3(4096, 12_288, 36, 32, False),
    "qwen3-14b": _qwen3(5120, 17_408, 40, 40, False),
    "qwen3-32b": _qwen3(5120, 25_600, 64, 64, False),
}


def preset(name: str) -> ModelConfig:
    """The configuration called `name`, any letter case. Raises ValueError that lists the known names."""
    try:
        return PRESETS[name.lower()]
    except KeyError:
        raise ValueError(f"unknown model preset {name!r}; known: {', '.join(PRESETS)}") from None
