"""Which checkpoint of a run is the chosen one.

The best on validation questions, never on a benchmark unless said so. A choice made on a test set is an optimistic
result, so it needs `eval.choose_on_test`, and every row of such a run says so in the table and in results.json.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from mxjax.data.array_records import PREFIX
from mxjax.data.catalogue import SAMPLE, SETS, TEST
from mxjax.data.pools import HELD_OUT
from mxjax.errors import UserError
from mxjax.files import read_json

ON_TEST = "chosen on test"
ON_THESE = "chosen on these questions"
VALIDATION = ("validation", "valid")


def check_choice(config: ConfigDict) -> None:
    """Raise ValueError for an undeclared choice of the checkpoint by test questions."""
    settings, source = config.eval, config.data.validation.get("source", "") if config.data.validation else ""
    if settings.choose_on_test:
        return
    way_out = "or say with eval.choose_on_test=True that the results are chosen on test"
    name, _, split = settings.choose_on.partition("/")
    if settings.choose_on != HELD_OUT and not (name in SETS and split in VALIDATION):
        raise UserError(
            f"eval.choose_on={settings.choose_on} would choose the checkpoint on a benchmark: use {HELD_OUT} or the "
            f"validation split of a public set, {way_out}."
        )
    if is_test(source, "train"):
        raise UserError(f"data.validation is the test split of {source}: name another split, {way_out}.")


def when(config: ConfigDict, step: int) -> str:
    """What the rows of a validation after `step` are headed with."""
    return f"step {step}, {ON_TEST}" if config.eval.choose_on_test else f"step {step}"


def remark(config: ConfigDict, benchmark: str) -> str:
    """Remark on the choice in a row of the chosen checkpoint.

    Returns "" where the choice was made on another benchmark.
    """
    if config.eval.choose_on_test:
        return ON_TEST
    return ON_THESE if _bare(benchmark) == _bare(config.eval.choose_on) else ""


def is_test(name: str, default: str = TEST) -> bool:
    """Whether `name` is a test split.

    "NAME" (its split `default`) and "NAME/SPLIT" are of a public set; "tfds:FOLDER@SPLIT" is a data set's.
    """
    if name.startswith(PREFIX):
        return name.endswith(f"@{TEST}")
    name, _, split = name.partition("/")
    return name in SETS and (split or default) == TEST


def _bare(benchmark: str) -> str:
    """A benchmark's name, one for all that its rows may have.

    The test split, its shipped sample.
    """
    return benchmark.removesuffix(SAMPLE).removesuffix(f"/{TEST}")


def chosen(config: ConfigDict, rows: Sequence[Mapping[str, Any]], saved: Collection[int]) -> dict[str, Any] | None:
    """The chosen checkpoint: the saved step with the best validation so far.

    The earliest of equals; None without any.

    Args:
        config: the run's; `eval.choose_on` is the benchmark and `eval.choose_by` the system that are looked at.
        rows: of validations, as metrics lines have them.
        saved: the steps on disk (`checkpoint.steps`), which the settings of a continued run cannot tell.

    Returns:
        {"step", "benchmark", "system", "accuracy", "on_test"}.
    """
    settings = config.eval
    mine = [
        row
        for row in rows
        if row["phase"] == "eval"
        and row["step"] in saved
        and (_bare(row["benchmark"]), row["system"]) == (_bare(settings.choose_on), settings.choose_by)
    ]
    if not mine:
        return None
    best = max(mine, key=lambda row: (row["accuracy"], -row["step"]))
    names = ("step", "benchmark", "system", "accuracy")
    return {**{name: best[name] for name in names}, "on_test": settings.choose_on_test}


def describe(workdir: str) -> str:
    """One line on the chosen checkpoint of a finished run."""
    best = read_json(epath.Path(workdir) / "results.json").get("chosen")
    if best is None:
        return "chosen: no checkpoint, since eval.choose_on and eval.choose_by name nothing that was evaluated"
    how = f"{ON_TEST}, which flatters it" if best["on_test"] else "best in validation"
    return f"chosen: step {best['step']} ({how}: {best['system']} on {best['benchmark']} {best['accuracy']:.1%})"
