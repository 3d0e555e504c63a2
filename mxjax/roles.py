"""Designer and executor as a config describes them.

Each has an engine, sampling settings and prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from mxjax import models, stopping
from mxjax.rl import TrainState
from mxjax.rl.stages import ROLES
from mxjax.rollout import DesignSampling, Role
from mxjax.rollout.tree import engines_of
from mxjax.sampling import Engine, SamplingParams
from mxjax.sampling.engine import EngineSettings, engine_layout


def engine_settings(config: ConfigDict) -> dict[str, Any]:
    """`config.engine` as arguments of an `Engine`."""
    return {**config.engine, "pages": config.engine.pages or None}


def check_engine(config: ConfigDict, cfg: models.ModelConfig, mesh: jax.sharding.Mesh) -> None:
    """Raise UserError if no engine of `config.engine` can run this model.

    It allocates no memory.
    """
    engine_layout(cfg, EngineSettings(**engine_settings(config)), mesh)


def make_roles(
    config: ConfigDict, policies: Mapping[str, models.Policy], mesh=None, **sampling
) -> dict[str, Role[Engine]]:
    """Designer and executor over `policies` ({"shared": ...} or one each).

    A shared policy has one engine for both. `sampling` overrides the config's settings of both roles.
    """
    engines = {name: Engine(policy, mesh=mesh, **engine_settings(config)) for name, policy in policies.items()}
    roles = {}
    for role in ROLES:
        settings = config.roles[role]
        params = SamplingParams(**{**settings.sampling, **sampling}, max_tokens=settings.max_tokens)
        bounds = DesignSampling(**settings.get("design_sampling", {}))
        roles[role] = Role(engines.get("shared") or engines[role], params, settings.prompt, bounds)
    return roles


def warm_up(roles: Mapping[str, Role[Engine]]) -> None:
    """Compile the programs of the engines.

    A signal to stop takes effect between two engines.
    """
    for engine in engines_of(roles):
        engine.warmup()
        stopping.poll()


def update_params(roles: Mapping[str, Role[Engine]], state: TrainState) -> None:
    """Give both roles' engines the parameters of the state."""
    for name, params in state.policies.items():
        roles["executor" if name == "shared" else name].engine.update_params(params)
