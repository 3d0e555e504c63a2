"""The config of a run, and its form in a run's files.

A config file's `get_config()` starts from `default_config()` and sets what differs. Every key stands in `mxjax.keys`
with its default, its range and its meaning.
"""

from __future__ import annotations

import json
from typing import Any

from ml_collections import ConfigDict

from mxjax import __version__
from mxjax.keys import defaults


def default_config() -> ConfigDict:
    """All keys with their defaults.

    Batch sizes and learning rates are the paper's.
    """
    return ConfigDict(defaults())


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values."""
    return json.loads(config.to_json_best_effort())


def from_json(values: dict[str, Any]) -> ConfigDict:
    """The config that `to_json` wrote; keys that came later have their defaults."""

    def filled(default: Any, value: Any) -> Any:
        if not isinstance(default, dict) or not isinstance(value, dict):
            return value
        return {**default, **{key: filled(default.get(key), item) for key, item in value.items()}}

    return ConfigDict(filled(to_json(default_config()), values))


def run_record(config: ConfigDict, kind: str, model: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The contents of a workdir's `config.json`.

    The package version marks it as ours. `kind` is "sft", "train" or "convert".
    """
    return {"mxjax": __version__, "kind": kind, "model": model, "config": to_json(config), **more}
