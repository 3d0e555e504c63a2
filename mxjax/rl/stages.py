"""Which role learns at which RL step.

Stages are a pure function of the step, so a resumed run does not have to restore them.
"""

from __future__ import annotations

from mxjax.errors import UserError

ROLES = ("designer", "executor")
MODES = ("stagewise", "coupled", "designer_only", "executor_only")


def stage_at(step: int, stage_length: int = 30, first: str = "executor") -> str:
    """The role that learns at RL step `step` of a stagewise run.

    stage(t) = floor(t / K) mod 2 with K = `stage_length` RL steps; stage 0 trains the role `first`, stage 1 the other.
    Raises ValueError for an unknown role, a negative step or a stage length below 1.
    """
    if first not in ROLES:
        raise UserError(f"rl.first_stage must be one of {', '.join(ROLES)}, got {first!r}")
    if stage_length < 1:
        raise UserError(f"rl.stage_length must be at least 1 RL step, got {stage_length}")
    if step < 0:
        raise ValueError(f"an RL step must not be negative, got {step}")
    other = ROLES[1 - ROLES.index(first)]
    return first if (step // stage_length) % 2 == 0 else other


def role_weights(step: int, mode: str, stage_length: int = 30, first: str = "executor") -> dict[str, float]:
    """The weights of the roles' losses at RL step `step`.

    {"designer": alpha_D, "executor": alpha_E} of L = alpha_D L_D + alpha_E L_E. "stagewise" gives 1 to the role of the
    stage, "coupled" 1 to both, "designer_only" and "executor_only" 1 to that role. Raises ValueError for an unknown
    mode, and as `stage_at` does.
    """
    if mode not in MODES:
        raise UserError(f"rl.mode must be one of {', '.join(MODES)}, got {mode!r}")
    stage = stage_at(step, stage_length, first)
    active = {
        "stagewise": (stage,),
        "coupled": ROLES,
        "designer_only": ("designer",),
        "executor_only": ("executor",),
    }[mode]
    return {role: float(role in active) for role in ROLES}


def stage_switched(step: int, mode: str, stage_length: int = 30, first: str = "executor") -> bool:
    """Whether the roles that learn change at RL step `step`.

    The step is compared with the one before it; False at step 0.
    """
    now = role_weights(step, mode, stage_length, first)
    return step > 0 and now != role_weights(step - 1, mode, stage_length, first)
