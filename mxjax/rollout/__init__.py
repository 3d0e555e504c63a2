"""Rollout: from questions to trees of designs and executions."""

from mxjax.rollout.overrides import DesignSampling
from mxjax.rollout.protocols import ChatEngine, RewardFunction, Script
from mxjax.rollout.records import Design, Execution, Question, QuestionTree, Reward, Segment, Task, design_error_counts
from mxjax.rollout.tree import Role, collect

__all__ = [
    "ChatEngine",
    "Design",
    "DesignSampling",
    "Execution",
    "Question",
    "QuestionTree",
    "Reward",
    "RewardFunction",
    "Role",
    "Script",
    "Segment",
    "Task",
    "collect",
    "design_error_counts",
]
