"""`mxjax plan`: whether a run fits a TPU slice, and its speed.

Compiled ahead of time, without a TPU.
"""

from __future__ import annotations

from absl import flags
from ml_collections import ConfigDict, config_flags

from mxjax.errors import UserError
from mxjax.plan import process


def run(config: ConfigDict, values: flags.FlagValues) -> int:
    """Print the table and the verdict.

    Returns 1 where the run does not fit.
    """
    if not values.topology:
        raise UserError("needs --topology SLICE, such as v5e:8x8 or v5litepod-64")
    return process.run(config, config_flags.get_config_filename(values["config"]), values.topology, values.cpu)
