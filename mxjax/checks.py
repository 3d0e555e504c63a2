"""Checks of a config that involve several keys at once.

Checks of single keys are in `mxjax.keys`. They run before anything is loaded or written, so that wrong settings do not
fail after time has been spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mxjax import mas
from mxjax.errors import UserError
from mxjax.evaluation import check_run_systems
from mxjax.grading import check_tools, limits_of_tests
from mxjax.keys import check_ranges
from mxjax.ranges import check_names
from mxjax.rollout import DesignSampling


def check_config(config: ConfigDict) -> None:
    """Raise UserError for settings that no run can work with."""
    check_ranges(config)
    rl = config.rl
    for role in config.roles.values():
        mas.load_prompts(role.prompt)
    DesignSampling(**config.roles.executor.design_sampling)
    check_names("rollout.limits", config.rollout.limits, mas.Limits)
    mas.Limits(**config.rollout.limits)
    limits_of_tests(config)
    check_tools(config)
    check_run_systems(config.eval.systems)
    if rl.row_length < config.engine.max_len:
        raise UserError(
            f"rl.row_length={rl.row_length} must hold the longest prompt with its response, "
            f"engine.max_len={config.engine.max_len} tokens; raise the one or lower the other"
        )
    sizes = {name: role.minibatch_segments or rl.minibatch_segments for name, role in config.roles.items()}
    if rl.mode == "coupled" and len(set(sizes.values())) > 1:
        listed = " and ".join(f"{size} of the {name}" for name, size in sizes.items())
        raise UserError(
            f"rl.mode=coupled takes one gradient for both roles, so their mini-batches must be equal, and are {listed} "
            "segments: set roles.designer.minibatch_segments and roles.executor.minibatch_segments to one number"
        )
    for name, steps in (("rl", None), ("sft", config.sft.steps + 1)):
        check_schedule(f"{name}.optimizer", config[name].optimizer, steps)


def check_schedule(name: str, optimizer: Mapping[str, Any], default_steps: int | None) -> None:
    """Raise UserError for a schedule that ends before its warm-up does.

    `default_steps` stands for total_steps=0.
    """
    total = optimizer["total_steps"] or default_steps or 0
    if optimizer["schedule"] != "constant" and total <= optimizer["warmup_steps"]:
        raise UserError(
            f"{name}.schedule={optimizer['schedule']} needs {name}.total_steps above {name}.warmup_steps="
            f"{optimizer['warmup_steps']}, got {total}"
        )
