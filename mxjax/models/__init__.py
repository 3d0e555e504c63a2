"""The policy model: configuration, parameters, pure forward functions, tokenizers, and loading."""

from mxjax.models.config import ModelConfig, preset
from mxjax.models.io import Policy, directory_of, is_model, is_workdir, load, save_hf
from mxjax.models.params import init_params
from mxjax.models.tokenizer import Tokenizer
from mxjax.models.transformer import forward, token_logprobs

__all__ = [
    "ModelConfig",
    "Policy",
    "Tokenizer",
    "directory_of",
    "forward",
    "init_params",
    "is_model",
    "is_workdir",
    "load",
    "preset",
    "save_hf",
    "token_logprobs",
]
