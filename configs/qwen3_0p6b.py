"""Qwen3-0.6B on the chips of one host: the smallest setting with the paper's lengths.

Command: mxjax plan --config=configs/qwen3_0p6b.py --topology=v5e:2x2, then on the slice
  mxjax train --config configs/qwen3_0p6b.py --workdir runs/qwen3-0.6b --config.data.train.source=jsonl:FILE
Hardware: one host of four TPU chips, see docs/pods.md. It has not been run to the end here.
"""

import pathlib
import runpy


def get_config():
    """The 8B setting with the smallest model and more slots."""
    config = runpy.run_path(str(pathlib.Path(__file__).with_name("qwen3_8b.py")))["get_config"]()
    config.init = "hf:Qwen/Qwen3-0.6B"
    config.engine.slots = 8
    return config
