"""Rollout: from questions to trees of designs and executions."""

from mxjax.rollout.overrides import DesignSampling
from mxjax.rollout.records import Design, Execution, Question, QuestionTree, Reward, Segment, Task, design_error_counts
from mxjax.rollout.tree import Role, collect

__all__ = [
    "Design",
    "DesignSampling",
    "Execution",
    "Question",
    "QuestionTree",
    "Reward",
    "Role",
    "Segment",
    "Task",
    "collect",
    "design_error_counts",
]
