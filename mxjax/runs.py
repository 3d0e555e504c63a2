"""What `sft` and `train` share: opening a workdir, where the policy comes from, saving and resuming.

A workdir belongs to one config: continuing it with another is an error that names the keys that differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from mxjax import checkpoint, models
from mxjax.checkpoint import Checkpointer
from mxjax.config import UserError, default_config, run_record, to_json, user_errors
from mxjax.data import Pools, disjoint_pools
from mxjax.rl import TrainState
from mxjax.rollout import Role
from mxjax.sampling import Engine, SamplingParams
from mxjax.sharding import make_mesh
from mxjax.telemetry import Workdir, read_json

MAY_CHANGE = ("workdir", "init", "checkpoint", "telemetry", "rl.steps", "eval")  # in a run that continues


def run_mesh(config: ConfigDict) -> jax.sharding.Mesh:
    """The mesh that `config.mesh` asks for. Raises UserError when the devices do not fit."""
    with user_errors():
        return make_mesh(dict(config.mesh))


def question_pools(config: ConfigDict) -> Pools:
    """Training and held-out questions of a run, without a text in common; the held-out ones are drawn first."""
    data = config.data
    spec = config.task or (list(map(dict, data.mixture)) if data.mixture else _spec(data.train))
    validation = _spec(data.validation) if data.validation else None
    with user_errors():
        return disjoint_pools(spec, data.train_size, data.validation_size, config.seed, held_out_spec=validation)


def _spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, ConfigDict) else value for key, value in spec.items()}


def open_workdir(
    config: ConfigDict, model: models.ModelConfig, tokenizer: models.Tokenizer, ignore: Sequence[str] = ()
) -> Workdir:
    """The run's workdir with config.json, tokenizer and prompt files: all that serving a checkpoint needs.

    Raises UserError when the workdir belongs to another config or kind of run. `ignore` names the top-level keys that
    this kind of run does not read.
    """
    workdir = Workdir(config.workdir)
    record = run_record(config, dataclasses.asdict(model))
    path = workdir.path / "config.json"
    if path.exists():
        earlier = read_json(path)
        if "mxjax" not in earlier:
            raise UserError(f"{path} is not of an mxjax run; choose another --workdir")
        changed = sorted(_differences(earlier["config"], record["config"], {*MAY_CHANGE, *ignore}))
        if changed:
            raise UserError(
                f"{workdir.path} belongs to a run with other settings of {', '.join(changed)}; "
                "set them back, or choose another --workdir"
            )
    workdir.write_json("config.json", record)
    tokenizer.save(workdir.path / "tokenizer")
    for name, role in config.roles.items():
        if role.prompt.endswith(".toml"):
            (workdir.path / "prompts").mkdir(exist_ok=True)
            (workdir.path / "prompts" / f"{name}.toml").write_text(epath.Path(role.prompt).read_text())
    return workdir


def _differences(a: Mapping, b: Mapping, skip: Collection[str], prefix: str = "") -> Iterator[str]:
    """Dotted keys at which two configs differ."""
    for key in sorted({*a, *b}):
        x, y, name = a.get(key), b.get(key), f"{prefix}{key}"
        if name in skip:
            continue
        if isinstance(x, dict) and isinstance(y, dict):
            yield from _differences(x, y, skip, name + ".")
        elif x != y:
            yield name


def load_policy(config: ConfigDict, mesh: jax.sharding.Mesh, role: str | None = None) -> models.Policy:
    """The policy that `config.init` names, in the run's dtype. Raises UserError in one sentence."""
    with user_errors():
        policy = models.load(config.init, mesh=mesh, role=role, seed=config.seed)
        return dataclasses.replace(policy, config=policy.config.replace(**config.model))


def write_workdir(policy: models.Policy, path: epath.PathLike) -> None:
    """A workdir that holds `policy` as its only checkpoint, for `--config.init` and `--checkpoint`."""
    config = default_config()
    config.workdir = str(path)
    for role in config.roles.values():
        role.prompt = "documented"
    workdir = open_workdir(config, policy.config, policy.tokenizer)
    meta = {"step": 0, "stage": "", "seed": config.seed, "config": to_json(config)}
    checkpoint.save(workdir.checkpoints, {"params": {"shared": dict(policy.params)}, "meta": meta}, 0)


def workdir_prompts(path: epath.PathLike) -> dict[str, str]:
    """Prompt files that a workdir keeps, by role: a checkpoint is served with the strings it was trained on."""
    return {file.stem: str(file) for file in (epath.Path(path) / "prompts").glob("*.toml")}


def save_state(checkpointer: Checkpointer, state: TrainState, config: ConfigDict, stage: str) -> None:
    """Saves parameters, each optimiser state, and what the step needs to go on, as step `state.step`."""
    meta = {"step": state.step, "stage": stage, "seed": config.seed, "config": to_json(config)}
    checkpointer.save({**_items(state), "meta": meta}, state.step)


def resume_state(checkpointer: Checkpointer, state: TrainState) -> TrainState:
    """The newest undamaged checkpoint in the shape of `state`, or `state` itself if there is none yet."""
    if checkpointer.latest_step() is None:
        return state
    items = checkpointer.restore({**_items(state), "meta": {}})
    optimizers = {owner: items[f"opt_{owner}"] for owner in state.optimizers}
    return state.replace(policies=items["params"], optimizers=optimizers, step=items["meta"]["step"])


def _items(state: TrainState) -> dict[str, Any]:
    return {"params": state.policies, **{f"opt_{owner}": opt for owner, opt in state.optimizers.items()}}


def make_roles(config: ConfigDict, policies: Mapping[str, models.Policy], mesh=None, **sampling) -> dict[str, Role]:
    """Designer and executor over `policies` ({"shared": ...} or one each); a shared policy is one engine.

    `sampling` overrides the config's settings of both roles.
    """
    engine = config.engine
    engines = {
        name: Engine(policy, slots=engine.slots, page_size=engine.page_size, max_len=engine.max_len, mesh=mesh)
        for name, policy in policies.items()
    }
    roles = {}
    for role in ("designer", "executor"):
        settings = config.roles[role]
        params = SamplingParams(**{**settings.sampling, **sampling}, max_tokens=settings.max_tokens)
        roles[role] = Role(engines.get("shared") or engines[role], params, settings.prompt)
    return roles


@contextlib.contextmanager
def checkpoints(config: ConfigDict, workdir: Workdir) -> Iterator[Checkpointer]:
    """The run's checkpointer; closing waits for the last save."""
    with Checkpointer(workdir.checkpoints, keep=config.checkpoint.keep) as checkpointer:
        yield checkpointer
