"""Group-relative advantages of designs and executions.

Statistics run over designs and executions, never over LLM calls, so that an execution which made more calls does not
weigh more. They are float64 on the host: the arrays are tiny, and rewards such as 0.4 must not leave rounding noise
where a group has no spread.
"""

from __future__ import annotations

import numpy as np

from mxjax.errors import UserError

EPSILON = 1e-6
GROUPS = ("question", "design")


def designer_advantages(rewards_QMN, valid_QMN=None) -> np.ndarray:
    """Advantages of designs, f32[Q, M].

    With Rbar_i the mean of R_ij over the valid executions j of design i (a failed execution is valid and counts 0):

        A_D_i = (Rbar_i - mean_i Rbar) / (std_i Rbar + eps)

    over the M designs of a question; std is the population one, eps = 1e-6. A design without any valid execution is
    outside the group and gets 0; a group whose std is at most eps gets 0.

    Args:
      rewards_QMN: terminal rewards [Q, M, N].
      valid_QMN: bool [Q, M, N], False where the machine lost the execution; all valid by default.

    Raises:
      ValueError: for other shapes, or a valid reward that is not finite.
    """
    rewards_QMN, valid_QMN = _checked(rewards_QMN, valid_QMN)
    counts_QM = valid_QMN.sum(axis=2)
    means_QM = np.where(valid_QMN, rewards_QMN, 0.0).sum(axis=2) / np.maximum(counts_QM, 1)
    return _standardise(means_QM, counts_QM > 0)


def executor_advantages(rewards_QMN, valid_QMN=None, group: str = "question") -> np.ndarray:
    """Advantages of executions, f32[Q, M, N].

        A_E_ij = (R_ij - mean R) / (std R + eps)

    over all valid executions of the question (`group="question"`) or of the design (`group="design"`); std is the
    population one, eps = 1e-6. Invalid executions get 0 and stay out of the statistics; a group whose std is at most
    eps gets 0.

    Args:
      rewards_QMN: terminal rewards [Q, M, N].
      valid_QMN: bool [Q, M, N], False where the execution was lost or made no executor call; all valid by default.
      group: "question" or "design".

    Raises:
      ValueError: for an unknown group, other shapes, or a valid reward that is not finite.
    """
    if group not in GROUPS:
        raise UserError(f"executor group must be one of {', '.join(GROUPS)}, got {group!r}")
    rewards_QMN, valid_QMN = _checked(rewards_QMN, valid_QMN)
    Q, M, N = rewards_QMN.shape
    groups = (Q, M * N) if group == "question" else (Q * M, N)
    return _standardise(rewards_QMN.reshape(groups), valid_QMN.reshape(groups)).reshape(Q, M, N)


def _checked(rewards_QMN, valid_QMN) -> tuple[np.ndarray, np.ndarray]:
    rewards_QMN = np.asarray(rewards_QMN, np.float64)
    if rewards_QMN.ndim != 3:
        raise ValueError(f"rewards must have the axes [questions, designs, executions], got {rewards_QMN.shape}")
    valid_QMN = np.ones(rewards_QMN.shape, bool) if valid_QMN is None else np.asarray(valid_QMN, bool)
    if valid_QMN.shape != rewards_QMN.shape:
        raise ValueError(f"valid has the shape {valid_QMN.shape}, but rewards have {rewards_QMN.shape}")
    if not np.isfinite(rewards_QMN[valid_QMN]).all():
        where = tuple(int(i) for i in np.argwhere(valid_QMN & ~np.isfinite(rewards_QMN))[0])
        raise ValueError(f"the reward of the valid execution {where} is {rewards_QMN[where]}, not a finite number")
    return rewards_QMN, valid_QMN


def _standardise(values_GS: np.ndarray, valid_GS: np.ndarray) -> np.ndarray:
    """(value - mean) / (std + eps) within each group G.

    Over its valid samples S; 0 where a sample is invalid or its group has no spread.
    """
    values_GS = np.where(valid_GS, values_GS, 0.0)
    counts_G1 = np.maximum(valid_GS.sum(axis=1, keepdims=True), 1)
    centred_GS = np.where(valid_GS, values_GS - values_GS.sum(axis=1, keepdims=True) / counts_G1, 0.0)
    std_G1 = np.sqrt((centred_GS**2).sum(axis=1, keepdims=True) / counts_G1)
    return np.where(std_G1 > EPSILON, centred_GS / (std_G1 + EPSILON), 0.0).astype(np.float32)
