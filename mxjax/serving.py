"""The settings to serve a model with, stored in `mxjax.json`.

They are prompts, limits, tools and lengths. A policy answers well only when asked as in training. A workdir has its
whole config; a directory in Hugging Face's form has this file, which `convert` writes and every command that serves a
checkpoint reads.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from mxjax import __version__, checkpoint, mas, models
from mxjax.config import default_config, from_json, to_json
from mxjax.config_files import prompt_file
from mxjax.errors import UserError
from mxjax.files import read_json, reading
from mxjax.grading import check_tools
from mxjax.rl.stages import ROLES
from mxjax.roles import make_roles
from mxjax.rollout import Role
from mxjax.run import read_record, workdir_prompts
from mxjax.sampling import SamplingParams

FILE = "mxjax.json"
PROMPTS = "prompts"  # the folder of prompt sets that a run read from files: NAME.toml for each role
# The keys of the config that decide what a served model is asked and may do.
KEYS = {
    "roles": {role: ("sampling", "prompt", "max_tokens") for role in ("designer", "executor")},
    "rollout": ("limits", "tools", "stateful_tools"),
    "engine": ("max_len",),
    "reward": ("answer_from",),
    "eval": ("agent_text",),
}


@dataclasses.dataclass(frozen=True)
class Served:
    """A checkpoint that answers.

    It has its config, its step (None for one without), and both roles.
    """

    config: ConfigDict
    step: int | None
    roles: dict[str, Role]


def checkpoint_config(path: str) -> ConfigDict:
    """The config to serve a checkpoint with.

    It is that of its training, or what `convert` kept beside it; else one for general models. For prompt sets that the
    run read from files, the copies saved beside its checkpoints are used.
    """
    is_workdir = models.is_workdir(path)
    directory = None if is_workdir else models.directory_of(path)
    contract = read_contract(directory) if directory is not None else None
    if contract is not None:
        return contract
    if is_workdir:
        record = read_record(path)
        config = from_json(record["config"])
        for name, prompt in workdir_prompts(path, record).items():
            config.roles[name].prompt = prompt
        return config
    config = default_config()
    for role in config.roles.values():
        role.prompt, role.max_tokens = "documented", 1024
    config.engine.max_len = 4096
    return config


def serve(
    path: str,
    config: ConfigDict,
    step: int | None = None,
    tools: str = "",
    prompt: str = "",
    temperature: float | None = None,
    max_tokens: int | None = None,
    max_len: int | None = None,
    slots: int | None = None,
    most_slots: int | None = None,
) -> Served:
    """Load a checkpoint to be served as `config` says.

    Other arguments take precedence over it; lengths are cut to the model's positions.

    Args:
      path: an mxjax workdir, a Hugging Face directory, a .gguf file, or a name that `models.load` knows.
      config: of `checkpoint_config`; it stays as it is.
      step: of a workdir; None for its newest sound one.
      tools: host tools by name, separated by commas, or "none".
      prompt: a prompt set for both roles.
      temperature, max_tokens: of both roles.
      max_len, slots: of the engines; `most_slots` is as many as are of use.

    Raises UserError where it cannot be loaded or has no such tool, prompt or chat template.
    """
    config = copy.deepcopy(config)
    if models.is_workdir(path):
        step = checkpoint.sound_step(epath.Path(path) / "checkpoints", step)
    if tools:
        config.rollout.tools = () if tools == "none" else tuple(tools.split(","))
    check_tools(config)
    names = dict.fromkeys(ROLES) if config.rl.split_policy else {"shared": None}
    policies = {
        name: models.load(path, step=step, role=name if config.rl.split_policy else None, verify=False)
        for name in names
    }
    for policy in policies.values():
        policy.tokenizer.check_turns()
    positions = min(policy.config.max_position_embeddings for policy in policies.values())
    config.engine.max_len = min(max_len or config.engine.max_len, positions)
    config.engine.slots = slots or min(most_slots or config.engine.slots, config.engine.slots)
    for role in config.roles.values():
        role.max_tokens = max_tokens or role.max_tokens
        role.prompt = prompt_file(prompt) or role.prompt
        mas.load_prompts(role.prompt)
    overrides = {} if temperature is None else {"temperature": temperature}
    return Served(config, step, make_roles(config, policies, **overrides))


def write_contract(directory: epath.Path, config: ConfigDict, step: int | None) -> None:
    """Write mxjax.json and the prompt files into a directory of weights.

    Each prompt set that is a file is written. `step` is that of the checkpoint that the weights are from.
    """
    for name, role in config.roles.items():
        if role.prompt.endswith(".toml"):
            (directory / PROMPTS).mkdir(exist_ok=True)
            (directory / PROMPTS / f"{name}.toml").write_text(epath.Path(role.prompt).read_text())
            role.prompt = f"{PROMPTS}/{name}.toml"
    record = {"mxjax": __version__, "step": step, "serving": _picked(to_json(config), KEYS)}
    (directory / FILE).write_text(json.dumps(record, indent=2) + "\n")


def read_contract(directory: epath.Path) -> ConfigDict | None:
    """The config to serve a directory of weights with.

    None if it has no mxjax.json. Raises ValueError for a setting that this version lacks, of the wrong kind, or out of
    its range.
    """
    file = directory / FILE
    if not file.exists():
        return None
    config = default_config()
    with reading(file):
        serving = read_json(file)["serving"]
        _check(serving, KEYS, to_json(config), file)
        for section, values in serving.items():
            for key, value in values.items():
                if isinstance(config[section][key], ConfigDict) and section == "roles":
                    config.roles[key].update(value)
                else:
                    config[section][key] = tuple(value) if isinstance(value, list) else value
        for name, role in config.roles.items():
            if role.prompt not in mas.prompts.NAMED:
                if role.prompt != f"{PROMPTS}/{name}.toml":  # the file of a stranger names no other files
                    raise UserError(f"{file} sets the prompt {role.prompt!r}, which is none of its own")
                role.prompt = str(directory / role.prompt)
            mas.load_prompts(role.prompt)
            SamplingParams(**role.sampling, max_tokens=role.max_tokens)
        mas.Limits(**config.rollout.limits)
        if config.engine.max_len < 1:
            raise UserError(f"engine.max_len must be at least 1, got {config.engine.max_len}")
    return config


def copy_beside(name: str, source: epath.Path, directory: epath.Path) -> None:
    """Copy a file of one model to another, if it is there."""
    if (source / name).exists():
        with (source / name).open("rb") as read, (directory / name).open("wb") as write:
            shutil.copyfileobj(read, write)


def _picked(values: Mapping[str, Any], keys: Any) -> dict[str, Any]:
    if isinstance(keys, tuple):
        return {key: values[key] for key in keys}
    return {key: _picked(values[key], inner) for key, inner in keys.items()}


def _check(values: Mapping[str, Any], keys: Any, usual: Mapping[str, Any], file: epath.Path, prefix: str = "") -> None:
    """Raise ValueError for unknown keys or values of the wrong kind.

    `usual` has the expected kinds.
    """
    for key, value in values.items():
        if key not in keys:
            raise UserError(f"{file} sets {prefix}{key}, which this version lacks")
        if type(value) is not type(usual[key]) and not (type(value) is int and type(usual[key]) is float):
            raise UserError(f"{file} sets {prefix}{key} to {value!r}, which is of the wrong kind")
        if isinstance(keys, dict):
            _check(value, keys[key], usual[key], file, f"{prefix}{key}.")
