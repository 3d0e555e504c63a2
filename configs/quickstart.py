"""The main job: a policy of 0.65 million parameters learns to design and to execute multi-agent systems for arithmetic.

Command: make quickstart, or
  mxjax sft   --config configs/quickstart.py --workdir runs/quickstart/cold_start
  mxjax train --config configs/quickstart.py --workdir runs/quickstart --config.init=runs/quickstart/cold_start
Hardware: 2 CPU cores, 2 GB. Time: 7 minutes cold start, 2 minutes RL.
Result: on 512 held-out questions designed systems go from 62 % to 74 %, the single agent from 70 % to 78 %.
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
        "options": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2},
        "form": "mixed",
        "bare_share": 0.5,
        "distinct": False,
    }
    config.data.train_size = 40_000
    config.data.validation_size = 512

    for role in config.roles.values():
        role.prompt = os.path.join(os.path.dirname(__file__), "prompts", "arithmetic.toml")
    config.roles.designer.max_tokens = 200
    config.roles.executor.max_tokens = 64
    config.engine.max_len = 256
    config.rollout.limits = {"agent_calls": 16, "fuel": 200_000}

    config.sft.questions = 40_000
    config.sft.designer_share = 0.15
    config.sft.vocab_size = 512
    config.sft.steps = 2400
    config.sft.batch_segments = 48
    config.sft.microbatch_rows = 2
    config.sft.row_length = 256
    config.sft.optimizer.learning_rate = 4e-3
    config.sft.optimizer.warmup_steps = 30

    config.rollout.questions = 32
    config.rl.steps = 20
    config.rl.stage_length = 10
    config.rl.optimizer.learning_rate = 1e-4
    config.rl.minibatch_segments = 64
    config.rl.microbatch_rows = 2
    config.rl.row_length = 256
    config.eval.agent_text = "Work step by step."
    config.checkpoint.every = 5
    return config
