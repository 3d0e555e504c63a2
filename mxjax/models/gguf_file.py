"""GGUF files: configuration and quantised weights, dequantised while reading."""

from __future__ import annotations

from collections.abc import Mapping

import gguf
import numpy as np

from mxjax.errors import UserError
from mxjax.files import reading
from mxjax.models.config import FAMILY_TRAITS, FULL, SLIDING, ModelConfig, RopeScaling, gemma_layer_types
from mxjax.models.gguf_header import check_header
from mxjax.models.transformer import rope_frequencies
from mxjax.models.weights import layouts

# `general.architecture` → the `model_type` of Hugging Face.
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
ROPE_FREQS = "rope_freqs.weight"  # divisors f32[H / 2] of rotary frequencies: how files of Llama 3 say their scaling
GEMMA_27B_LAYERS = 62  # the one Gemma 3 whose scores are scaled by another size than head_dim; files do not say so


class GgufFile:
    """`Tensors` over a GGUF file.

    `config` is its ModelConfig, `reader` gives the tokenizer, `dtypes` such as "Q4_1".

    Raises ValueError for a file that is not GGUF, another architecture, or rotary positions scaled in another way.
    """

    def __init__(self, path: str):
        self.origin = str(path)
        check_header(self.origin)
        with reading(self.origin):
            self.reader = gguf.GGUFReader(self.origin)
            self._tensors = {tensor.name: tensor for tensor in self.reader.tensors}
            self.config = self._read_config()
        self._names = {
            layout.huggingface.format(layer): layout.gguf.format(layer)
            for path, layout in layouts(self.config).items()
            for layer in (range(self.config.num_hidden_layers) if path.startswith("layers/") else [None])
        }
        known = {theirs: ours for ours, theirs in self._names.items()}
        self.shapes: Mapping[str, tuple[int, ...]] = {
            known.get(name, name): tuple(int(n) for n in reversed(tensor.shape))
            for name, tensor in self._tensors.items()
            if name != ROPE_FREQS
        }
        self.dtypes = {name: self._tensors[self._names.get(name, name)].tensor_type.name for name in self.shapes}

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """tensor[index] in float32.

        Only the rows asked for are dequantised. Projections must be cut at whole heads.
        """
        tensor = self._tensors[self._names[name]]
        rows, *rest = index
        with reading(self.origin):  # a type that the package has no arithmetic for
            values = gguf.quants.dequantize(tensor.data[rows], tensor.tensor_type)
        if self.config.norm_offset and name.endswith("norm.weight"):
            values = values - 1  # llama.cpp multiplies by what it finds, so its files hold 1 + weight
        if self.config.family == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            values = _half_split(values, self.config.head_dim)
        return values[:, *rest] if rest else values

    def _field(self, name: str, default=None):
        found = self.reader.get_field(name)
        return default if found is None else found.contents()

    def _read_config(self) -> ModelConfig:
        family = self._field("general.architecture")
        if not isinstance(family, str) or family not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise UserError(f"{self.origin} is of architecture {family!r}; supported: {known}")
        required = object()

        def get(name, default=required):
            value = self._field(f"{family}.{name}")
            if value is None and default is required:
                raise UserError(f"{self.origin} has no field {family}.{name}")
            return default if value is None else value

        heads, hidden = get("attention.head_count"), get("embedding_length")
        embedding = self._tensors.get(EMBEDDING)
        head_dim = get("attention.key_length", hidden // heads)
        for name in ("attention.value_length", "rope.dimension_count"):
            if get(name, head_dim) != head_dim:
                raise UserError(f"{self.origin} sets {name} to {get(name)} with heads of {head_dim}, unsupported")
        cfg = ModelConfig(
            vocab_size=len(self._field("tokenizer.ggml.tokens", ())) if embedding is None else int(embedding.shape[1]),
            hidden_size=hidden,
            intermediate_size=get("feed_forward_length"),
            num_hidden_layers=get("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=get("attention.head_count_kv", heads),
            head_dim=head_dim,
            rope_theta=_shortest(get("rope.freq_base", 1e6 if family == "gemma3" else 10_000.0)),
            rms_norm_eps=_shortest(get("attention.layer_norm_rms_epsilon")),
            tie_word_embeddings=OUTPUT not in self._tensors,
            max_position_embeddings=get("context_length"),
            **FAMILY_TRAITS[ARCHITECTURES[family]],
        )
        if family == "gemma3":
            pattern = get("attention.sliding_window_pattern", 6)
            cfg = cfg.replace(
                layer_types=gemma_layer_types(cfg.num_hidden_layers, pattern)
                if isinstance(pattern, int)
                else tuple(SLIDING if sliding else FULL for sliding in pattern),
                sliding_window=get("attention.sliding_window"),
                rope_local_base_freq=_shortest(get("rope.freq_base_swa", 10_000.0)),
                query_pre_attn_scalar=hidden // heads if cfg.num_hidden_layers == GEMMA_27B_LAYERS else cfg.head_dim,
            )
        return cfg.replace(rope_scaling=self._rope_scaling(cfg, get))

    def _rope_scaling(self, cfg: ModelConfig, get) -> RopeScaling | None:
        """Rotary scaling as llama.cpp reads it.

        A factor without a type is linear; a missing factor, or one of 0, means none. Older files call the factor
        `rope.scale_linear`.
        """
        kind = get("rope.scaling.type", "linear")
        factor = _shortest(get("rope.scaling.factor", get("rope.scale_linear", 0.0)) or 1.0)
        if kind not in ("linear", "none"):
            raise UserError(f"{self.origin} scales rotary positions ({kind}), which is not supported")
        linear = RopeScaling("linear", factor) if kind == "linear" and factor != 1.0 else None
        if ROPE_FREQS not in self._tensors:
            return linear
        if linear:
            raise UserError(f"{self.origin} has {ROPE_FREQS} and a rope.scaling.factor, which is not supported")
        tensor = self._tensors[ROPE_FREQS]
        divisors = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        scaling = RopeScaling("llama3", _shortest(divisors.max()))  # the other settings are those of all Llama 3
        expected = rope_frequencies(cfg, FULL) / rope_frequencies(cfg.replace(rope_scaling=scaling), FULL)
        if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-4):
            raise UserError(f"{self.origin} has {ROPE_FREQS} that are not Llama 3's, which is not supported")
        return scaling


def _half_split(values: np.ndarray, head_dim: int) -> np.ndarray:
    """Reorder rows of a projection from interleaved rotary pairs to halves.

    The rows are of whole heads of a `llama` query or key projection.
    """
    pairs = values.reshape(-1, head_dim // 2, 2, values.shape[-1])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def _shortest(value: float) -> float:
    """A float32 setting as its shortest decimal: 1e-5, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
