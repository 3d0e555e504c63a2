"""Turn rolled-out trees into training segments.

It decides the advantage and the weight of each token. This is the one place where rollout records meet the loss;
everything after it sees arrays only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mxjax.errors import UserError
from mxjax.rl.advantages import designer_advantages, executor_advantages
from mxjax.rl.packing import TrainingSegment, training_segment
from mxjax.rollout.records import QuestionTree, Segment

AGGREGATIONS = ("token", "segment", "execution")


def credit(
    trees: Iterable[QuestionTree],
    executor_group: str = "question",
    aggregation: str = "token",
    drop_zero_spread: bool = False,
) -> list[TrainingSegment]:
    """Training segments of both roles.

    The segment of a design gets its A_D; the segments of an execution get its A_E.

    `old_logprobs` are the engine's `model_logprobs`. Left out: invalid executions, designs none of whose executions is
    valid, and calls without a sampled token. In order of tree, design, execution and call.

    Args:
      trees: rolled-out questions; M and N may differ between them.
      executor_group: group of the executors' statistics, see `executor_advantages`.
      aggregation: what weighs the same in the loss, which stays sum of w l / sum of w. "token": every token weighs 1.
        "segment": the tokens of a segment sum to 1. "execution": the tokens of an execution sum to 1 (a design's
        segment by itself).
      drop_zero_spread: leave out groups without spread, whose advantages are all 0. They add nothing to the gradient
        but do count in the denominator.

    Raises:
      ValueError: for an unknown group or aggregation, or rewards that are not finite.
    """
    if aggregation not in AGGREGATIONS:
        raise UserError(f"rl.aggregation must be one of {', '.join(AGGREGATIONS)}, got {aggregation!r}")
    segments = []
    for tree in trees:
        rewards_1MN = tree.rewards_MN[None]
        executor_valid_MN = tree.executor_valid_MN
        designer_M = designer_advantages(rewards_1MN, tree.valid_MN[None])[0]
        executor_MN = executor_advantages(rewards_1MN, executor_valid_MN[None], executor_group)[0]
        keep_designs_M: np.ndarray = np.any(tree.valid_MN, axis=1)
        keep_MN = executor_valid_MN
        if drop_zero_spread:
            keep_designs_M = keep_designs_M & has_spread(designer_M)
            spread = has_spread(executor_MN, axis=None if executor_group == "question" else 1)
            keep_MN = keep_MN & spread
        for i, design in enumerate(tree.designs):
            if design.segment is not None and keep_designs_M[i]:
                segments += _weigh([design.segment], "designer", designer_M[i], aggregation)
            for j, execution in enumerate(design.executions):
                if keep_MN[i, j]:
                    segments += _weigh(execution.segments, "executor", executor_MN[i, j], aggregation)
    return segments


def has_spread(advantages: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Whether a group's advantages differ from 0, over `axis` (kept).

    A group without spread has only zeros.
    """
    return np.any(advantages != 0, axis=axis, keepdims=axis is not None)


def _weigh(calls: Sequence[Segment], role: str, advantage: float, aggregation: str) -> list[TrainingSegment]:
    """Training segments of calls that share one advantage.

    The calls are those of an execution, or the one of a design.
    """
    calls = [call for call in calls if len(call.token_ids)]
    total = sum(len(call.token_ids) for call in calls)
    weight = {
        "token": lambda call: 1.0,
        "segment": lambda call: 1.0 / len(call.token_ids),
        "execution": lambda call: 1.0 / total,
    }[aggregation]
    return [
        training_segment(
            role,
            call.prompt_token_ids,
            call.token_ids,
            advantage=advantage,
            old_logprobs=call.model_logprobs,
            weight=weight(call),
            temperature=_temperature(call.sampling),
        )
        for call in calls
    ]


def _temperature(sampling) -> float:
    """The temperature of `model_logprobs`: the sampling one, 1 for greedy."""
    if isinstance(sampling, Mapping):
        temperature = sampling.get("temperature", 1.0)
    else:
        temperature = getattr(sampling, "temperature", 1.0)
    return float(temperature) or 1.0
