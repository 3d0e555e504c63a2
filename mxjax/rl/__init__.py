"""Reinforcement learning: advantages, stages, packing, losses, and the optimiser step."""

from mxjax.rl.advantages import designer_advantages, executor_advantages
from mxjax.rl.credit import credit
from mxjax.rl.losses import make_policy_loss, nll_loss, policy_loss, policy_stats, sft_loss
from mxjax.rl.optimizer import TrainState, init_state, learning_rate_schedule, make_optimizer
from mxjax.rl.packing import Rows, TrainingSegment, merge_turns, pack, training_segment
from mxjax.rl.stages import role_weights, stage_at, stage_switched
from mxjax.rl.update import Learner, LearnerSettings, SkippedBatch

__all__ = [
    "Learner",
    "LearnerSettings",
    "Rows",
    "SkippedBatch",
    "TrainState",
    "TrainingSegment",
    "credit",
    "designer_advantages",
    "executor_advantages",
    "init_state",
    "learning_rate_schedule",
    "make_optimizer",
    "make_policy_loss",
    "merge_turns",
    "nll_loss",
    "pack",
    "policy_loss",
    "policy_stats",
    "role_weights",
    "sft_loss",
    "stage_at",
    "stage_switched",
    "training_segment",
]
