"""The paper's setting: Qwen3-8B learns to design and to execute by reinforcement learning, in stages of 30 steps.

Command: mxjax plan --config=configs/qwen3_8b.py --topology=v5e:8x8, then
  mxjax train --config configs/qwen3_8b.py --workdir gs://BUCKET/qwen3-8b --config.data.train.source=jsonl:FILE
Hardware: a TPU slice on which it fits, see docs/pods.md; the paper has 8 H200. It has not been run to the end here:
  training runs on one host so far, and is refused on a slice of several; the plan is for when it is not.
Result in the paper: 38.3 on average over six benchmarks of mathematics and code, from 32.2 after its cold start.
"""

from mxjax.config import default_config


def get_config():
    """Batch sizes, stages and learning rates are the defaults, which are the paper's; this adds model and layout."""
    config = default_config()
    config.init = "hf:Qwen/Qwen3-8B"  # or the workdir of a cold start
    config.model.dtype = "bfloat16"
    config.mesh.tensor = 4
    config.data.train = {"source": "jsonl:data/train.jsonl"}  # questions with number golds; APPS needs a sandbox
    config.eval.benchmarks = ("math500", "aime24", "aime25")
    config.engine.slots = 4  # of each host
    config.rl.old_logprobs = "recompute"  # so that ratios start at 1 in bfloat16 too
    return config
