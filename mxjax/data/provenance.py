"""What a policy was trained on, kept beside it: no benchmark or held-out question may be among it unseen."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from mxjax import models
from mxjax.data import likeness
from mxjax.data.identity import IDENTITY
from mxjax.data.overlap import keys_of, quoted, shared_with
from mxjax.data.pools import Pools
from mxjax.errors import UserError
from mxjax.files import read_json, reading
from mxjax.rollout.records import Question

TRAINED_ON = "trained_on.json"

_log = logging.getLogger(__name__)


def trained_on_record(questions: Iterable[Question], init: str) -> dict[str, Any]:
    """What trained_on.json says of a policy that is trained on `questions`, beginning from `init`."""
    questions = list(questions)
    like = likeness.merged(likeness.summary(question.text for question in questions), likeness_of(init))
    return {"identity": IDENTITY, "texts": sorted(keys_of(questions) | trained_on(init)), "likeness": like}


def check_unseen(pools: Pools, init: str) -> None:
    """Raises UserError where questions are held out that `init`, or what it began from, was trained on."""
    if known := shared_with(pools.held_out, trained_on(init)):
        raise UserError(
            f"{len(known)} of {len(pools.held_out)} held-out questions were trained on before, by {init} or "
            f"what it began from, such as {quoted(known[0])}: take its seed and data.train, or set data.validation"
        )


def trained_on(source: str) -> frozenset[str]:
    """The `statement_key` of every question that a policy was trained on, by its run and by those it began from.

    None for a source that does not have them, which a logged sentence says of a workdir.
    """
    if (kept := _kept(source)) is None:
        return frozenset()
    if kept.get("identity") != IDENTITY:
        _log.warning(
            "%s of %s is not there or of another version: no benchmark is compared with its training",
            TRAINED_ON, source,
        )  # fmt: skip
        return frozenset()
    return frozenset(kept.get("texts", ()))


def likeness_of(source: str) -> dict[str, Any]:
    """The `likeness.summary` of the questions that a policy was trained on; empty where nothing is known of them.

    Raises ValueError for a file that has something else there.
    """
    known = (_kept(source) or {}).get("likeness", {})
    with reading(f"{TRAINED_ON} of {source}"):
        likeness.check(known)
    return known


def _kept(source: str) -> dict[str, Any] | None:
    """trained_on.json of a workdir or of a model that was converted from one; None for another model."""
    try:
        directory = models.directory_of(source)
    except FileNotFoundError:  # of the hub, which cannot be reached: loading will say so
        directory = None
    if directory is None or not (models.is_workdir(source) or (directory / TRAINED_ON).exists()):
        return None
    path = directory / TRAINED_ON
    return read_json(path) if path.exists() else {}
