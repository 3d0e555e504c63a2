"""The main job: a 0.9M-parameter policy learns to design and to execute arithmetic multi-agent systems, from nothing.

Command: make quickstart, or
  mxjax sft   --config configs/quickstart.py --workdir runs/quickstart/cold_start
  mxjax train --config configs/quickstart.py --workdir runs/quickstart --config.init=runs/quickstart/cold_start
Hardware: 2 CPU cores, 2 GB.
"""

import os.path

from mxjax.config import default_config


def get_config():
    """The settings of `make quickstart`."""
    config = default_config()
    config.init = "random:quickstart"
    config.model.remat = "none"
    config.data.train = {
        "source": "reasoning_gym:chain_sum",
        "options": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2},
        "form": "mixed",
        "bare_share": 0.5,
        "distinct": False,
    }
    config.data.train_size = 60_000
    config.data.validation_size = 512

    for role in config.roles.values():
        role.prompt = os.path.join(os.path.dirname(__file__), "prompts", "arithmetic.toml")
    config.roles.designer.max_tokens = 200
    config.roles.executor.max_tokens = 64
    config.engine.max_len = 448
    config.rollout.limits = {"agent_calls": 16, "fuel": 200_000}

    config.sft.questions = 20_000
    config.sft.vocab_size = 512
    config.sft.steps = 600
    config.sft.batch_segments = 192
    config.sft.microbatch_rows = 16
    config.sft.row_length = 256
    config.sft.optimizer.learning_rate = 3e-3

    config.rollout.questions = 16
    config.rl.steps = 20
    config.rl.stage_length = 10
    config.rl.optimizer.learning_rate = 2e-4
    config.rl.minibatch_segments = 128
    config.rl.microbatch_rows = 16
    config.rl.row_length = 448
    config.checkpoint.every = 5
    return config
