"""Evaluation by one harness and one grader for every system.

Each row has budgets and intervals. A system is a way to answer a question with a policy (`systems`). `harness` answers
a set of questions with one, `suite` runs several and continues after a kill, `answered` and `statistics` make the row,
`tables` its text.
"""

from mxjax.evaluation.answered import Answered, pattern_shares
from mxjax.evaluation.harness import Outcome, evaluate
from mxjax.evaluation.statistics import bootstrap_mean, paired_change, pass_at_k, wilson
from mxjax.evaluation.systems import (
    FIXED,
    MATCHED,
    SYSTEMS,
    check_run_systems,
    fixed_script,
    left_to_do,
    match_budget,
    parse_system,
)
from mxjax.evaluation.tables import markdown, table

__all__ = [
    "FIXED",
    "MATCHED",
    "SYSTEMS",
    "Answered",
    "Outcome",
    "bootstrap_mean",
    "check_run_systems",
    "evaluate",
    "fixed_script",
    "left_to_do",
    "markdown",
    "match_budget",
    "paired_change",
    "parse_system",
    "pass_at_k",
    "pattern_shares",
    "table",
    "wilson",
]
