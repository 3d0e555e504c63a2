"""`mxjax train`: starts from `init`, or continues the workdir."""

from __future__ import annotations

from absl import flags
from ml_collections import ConfigDict

from mxjax.evaluation import table
from mxjax.evaluation.choice import describe
from mxjax.report import write_report
from mxjax.terminal import say
from mxjax.train import train


def run(config: ConfigDict, values: flags.FlagValues) -> int:
    """Train and print the table of evaluations."""
    say(table(train(config, values.quiet)))
    say(describe(config.workdir))
    say(f"report: {write_report(config.workdir)}")
    return 0
