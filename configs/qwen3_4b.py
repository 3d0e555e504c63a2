"""Qwen3-4B in the paper's setting.

Command: mxjax plan --config=configs/qwen3_4b.py --topology=v5e:4x8, then
  mxjax train --config configs/qwen3_4b.py --workdir gs://BUCKET/qwen3-4b --config.data.train.source=jsonl:FILE
Hardware: a TPU slice on which it fits, see docs/pods.md. It has not been run to the end here: training runs on one host
  so far, and is refused on a slice of several; the plan is for when it is not.
"""

import pathlib
import runpy


def get_config():
    """The 8B setting with the smaller model."""
    config = runpy.run_path(str(pathlib.Path(__file__).with_name("qwen3_8b.py")))["get_config"]()
    config.init = "hf:Qwen/Qwen3-4B"
    return config
