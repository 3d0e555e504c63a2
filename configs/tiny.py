"""A whole run in seconds, for tests and notebooks: it exercises every part and learns nothing worth a table.

Command: mxjax sft --config configs/tiny.py --workdir runs/tiny/cold_start, then
  mxjax train --config configs/tiny.py --workdir runs/tiny --config.init=runs/tiny/cold_start
Hardware: 2 CPU cores, under 40 s.
"""

import pathlib
import runpy


def get_config():
    """The quickstart with a smaller model, fewer questions and a handful of steps."""
    config = runpy.run_path(str(pathlib.Path(__file__).with_name("quickstart.py")))["get_config"](python=False)
    config.init = "random:tiny"
    config.data.train_size = 1200
    config.data.validation_size = 16
    config.sft.questions = 200
    config.sft.vocab_size = 400
    config.sft.steps = 20
    config.sft.optimizer.warmup_steps = 5
    config.sft.batch_segments = 64
    config.sft.designer_share = 1.0
    config.roles.designer.max_tokens = 96
    config.roles.executor.max_tokens = 24
    config.engine.slots = 16
    config.rollout.questions = 2
    config.rollout.designs = 2
    config.rollout.executions = 2
    config.rl.steps = 4
    config.rl.stage_length = 2
    config.rl.minibatch_segments = 16
    config.rl.microbatch_rows = 2
    config.checkpoint.every = 1
    config.telemetry.episodes_every = 2
    return config
