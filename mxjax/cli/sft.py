"""`mxjax sft`: the cold start, supervised fine-tuning on filtered trajectories."""

from __future__ import annotations

from absl import flags
from ml_collections import ConfigDict

from mxjax.cold_start.sft import sft
from mxjax.terminal import say


def run(config: ConfigDict, values: flags.FlagValues) -> int:
    """Train the cold start and print its last loss."""
    metrics = sft(config, values.quiet)
    say(f"cold start: loss {metrics['sft/loss']:.4f}" if metrics else f"{config.workdir} is already trained")
    return 0
