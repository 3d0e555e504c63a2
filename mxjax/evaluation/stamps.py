"""What an answer was made with, as short digests: `--resume` keeps only what was made with the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from mxjax import __version__, checkpoint, mas, models
from mxjax.config import to_json
from mxjax.files import absolute
from mxjax.rollout import Question, Role
from mxjax.workdir import plain, question_record

_CONFIG = ("reward", "rollout", "roles")  # parts of a config that answers and grades depend on
_MODEL_FILES = (".safetensors", ".gguf", ".json", ".jinja", ".model")


def digest(value: Any) -> str:
    """12 hexadecimal digits for a value that `workdir.plain` can write."""
    text = json.dumps(plain(value), sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def questions_digest(questions: Sequence[Question], *others: Any) -> str:
    """That of questions in their order, and of what else a row's questions are."""
    return digest([[question_record(question) for question in questions], *others])


def weights_stamp(source: str, step: int | None) -> Any:
    """What tells the weights of a source from others that had its name: the manifest of a checkpoint, or each file's
    size and time; nothing for a source that is no local file or folder."""
    if models.is_workdir(source):
        manifest = absolute(source) / "checkpoints" / str(step) / checkpoint.MANIFEST
        return digest(manifest.read_text()) if manifest.exists() else None
    path = epath.Path(source).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    stats = [(file.name, file.stat()) for file in files if file.suffix in _MODEL_FILES]
    return [(name, stat.length, stat.mtime) for name, stat in stats]


def settings_of(
    sources: Sequence[tuple[str, int | None, ConfigDict]], roles: Mapping[str, Role], seed: int
) -> dict[str, Any]:
    """All settings that an answer depends on beside its question, its system and the number of samples.

    `sources` are (checkpoint, step, config) of each policy, its config as the flags of the command have left it.
    """
    configs = [to_json(config) for _, _, config in sources]
    return {
        "mxjax": __version__, "seed": seed, "checkpoints": [(source, step) for source, step, _ in sources],
        "weights": [weights_stamp(source, step) for source, step, _ in sources],
        "configs": [{name: config[name] for name in _CONFIG} for config in configs],
        "engines": [(config["engine"]["max_len"], config["engine"]["slots"]) for config in configs],
        "agent_text": configs[0]["eval"]["agent_text"],
        "roles": {name: (role.sampling, mas.load_prompts(role.prompt)) for name, role in roles.items()},
    }  # fmt: skip
