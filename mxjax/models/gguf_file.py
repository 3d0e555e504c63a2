"""GGUF files: configuration and weights of a quantised model in one file, dequantised while reading."""

from __future__ import annotations

from collections.abc import Mapping

import gguf
import numpy as np

from mxjax.models.config import ModelConfig
from mxjax.models.weights import LAYOUTS

# `general.architecture` → qk_norm of ModelConfig.
ARCHITECTURES = {"llama": False, "qwen3": True}


class GgufFile:
    """`Tensors` over a GGUF file; `config` is its ModelConfig and `reader` gives the tokenizer.

    Raises ValueError for a file that is not GGUF, another architecture, or scaled rotary positions.
    """

    def __init__(self, path: str):
        self.origin = str(path)
        try:
            self.reader = gguf.GGUFReader(self.origin)
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path} is not a whole GGUF file ({error})") from error
        self._tensors = {tensor.name: tensor for tensor in self.reader.tensors}
        self.config = self._read_config()
        self._names = dict(_names(self.config.num_hidden_layers))
        known = {theirs: ours for ours, theirs in self._names.items()}
        self.shapes: Mapping[str, tuple[int, ...]] = {
            known.get(name, name): tuple(int(n) for n in reversed(tensor.shape))
            for name, tensor in self._tensors.items()
        }

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        tensor = self._tensors[self._names[name]]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        heads = {"q_proj": self.config.num_attention_heads, "k_proj": self.config.num_key_value_heads}
        if not self.config.qk_norm and (kind := name.split(".")[-2]) in heads:
            values = _half_split(values, heads[kind], self.config.head_dim)
        return values[index]

    def _field(self, name: str, default=None):
        found = self.reader.get_field(name)
        return default if found is None else found.contents()

    def _read_config(self) -> ModelConfig:
        family = self._field("general.architecture")
        if family not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ValueError(f"{self.origin} is of architecture {family!r}; supported: {known}")

        def get(name, default=None):
            value = self._field(f"{family}.{name}", default)
            if value is None:
                raise ValueError(f"{self.origin} has no field {family}.{name}")
            return value

        if (scaling := get("rope.scaling.type", "none")) != "none":
            raise ValueError(f"{self.origin} scales rotary positions ({scaling}), which is not supported")
        heads, hidden = get("attention.head_count"), get("embedding_length")
        return ModelConfig(
            vocab_size=len(self._field("tokenizer.ggml.tokens", ())) or get("vocab_size"),
            hidden_size=hidden,
            intermediate_size=get("feed_forward_length"),
            num_hidden_layers=get("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=get("attention.head_count_kv", heads),
            head_dim=get("attention.key_length", hidden // heads),
            rope_theta=_shortest(get("rope.freq_base", 10_000.0)),
            rms_norm_eps=_shortest(get("attention.layer_norm_rms_epsilon")),
            qk_norm=ARCHITECTURES[family],
            tie_word_embeddings=LAYOUTS["lm_head"].gguf not in self._tensors,
            max_position_embeddings=get("context_length"),
        )


def _names(layers: int):
    """(Hugging Face name, GGUF name) of every tensor."""
    for path, layout in LAYOUTS.items():
        for layer in range(layers) if path.startswith("layers/") else [None]:
            yield layout.huggingface.format(layer), layout.gguf.format(layer)


def _half_split(values: np.ndarray, heads: int, head_dim: int) -> np.ndarray:
    """Rows of a `llama` query or key projection, from interleaved rotary pairs back to halves."""
    pairs = values.reshape(heads, head_dim // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(values.shape)


def _shortest(value: float) -> float:
    """A float32 setting as the decimal that was meant: 1e-5, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
