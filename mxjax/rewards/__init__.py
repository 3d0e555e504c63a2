"""Verifiers: what an execution earned, from the message its design returned.

Answers are written by the policy that is being trained, so every grader here treats them as hostile text: nothing
is evaluated, work is bounded, and whatever is not plainly the gold answer is wrong.
"""

from mxjax.program_extraction import extract_program
from mxjax.rewards.code import grade_code
from mxjax.rewards.examples import program_tool
from mxjax.rewards.extract import extract_answer
from mxjax.rewards.format import format_code, format_math
from mxjax.rewards.math import grade_math
from mxjax.rewards.reward import RewardFunction, make_reward
from mxjax.rewards.verdict import InfrastructureError, Verdict
from mxjax.rewards.versions import grader_versions
from mxjax.rewards.words import grade_text

__all__ = [
    "InfrastructureError",
    "RewardFunction",
    "Verdict",
    "extract_answer",
    "extract_program",
    "format_code",
    "format_math",
    "grade_code",
    "grade_math",
    "grade_text",
    "grader_versions",
    "make_reward",
    "program_tool",
]
