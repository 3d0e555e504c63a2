"""Optimiser steps skipped because a number was not finite.

Their batches are kept, and many skips in a row end the run. One overflow is an accident of a batch; several in a row
are a wrong setting or a broken input, which more steps do not mend.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mxjax.errors import RunStopped
from mxjax.files import make_folder, write_bytes
from mxjax.rl import SkippedBatch
from mxjax.rl.packing import ROW_DTYPES
from mxjax.workdir import Workdir

FOLDER = "skipped"

_log = logging.getLogger(__name__)


def keeper(workdir: Workdir, step: int) -> Callable[[SkippedBatch], None]:
    """A function that keeps the skipped batches of a step.

    Each is `skipped/STEP_OWNER_INDEX.npz` with the arrays of `rl.Rows`.
    """

    def keep(batch: SkippedBatch) -> None:
        path = workdir.path / FOLDER / f"{step}_{batch.owner}_{batch.index}.npz"
        make_folder(path.parent)
        packed = io.BytesIO()
        np.savez_compressed(packed, **{name: getattr(batch.rows, name) for name in (*ROW_DTYPES, "places")})
        write_bytes(path, packed.getvalue())
        _log.warning(
            "step %d: optimiser step %d of %s would not be finite and was skipped; its batch is %s",
            step,
            batch.index,
            batch.owner,
            path,
        )

    return keep


def in_a_row(rows: Iterable[Mapping[str, Any]], phase: str) -> int:
    """Count the latest steps in a row with a skipped optimiser step.

    Steps without an optimiser step because the engine's numbers were not finite count too; other steps without one are
    passed over. `rows` are metrics lines, `phase` is "rl" or "sft".
    """
    count = 0
    for row in reversed([row for row in rows if row["phase"] == phase]):
        if _spoilt(row):
            count += 1
        elif row.get("updates"):
            break
    return count


def _spoilt(row: Mapping[str, Any]) -> bool:
    return bool(row.get("skipped") or (row.get("not_finite_replies") and not row.get("updates")))


def check_skips(workdir: Workdir, metrics: Mapping[str, Any], phase: str, settings: ConfigDict) -> None:
    """Raise RunStopped at the `max_skipped`-th skipped step in a row.

    The step of these metrics is already logged.
    """
    if not _spoilt(metrics):
        return
    count = in_a_row(workdir.metrics(), phase)
    if count >= settings.max_skipped:
        raise RunStopped(
            f"{count} steps in a row ({phase}.max_skipped={settings.max_skipped}) had a loss, gradient or parameter "
            f"that is not finite and were skipped: look at their batches in {workdir.path / FOLDER}, or lower "
            f"{phase}.optimizer.learning_rate; the parameters are sound, and the last checkpoint is as it was"
        )
