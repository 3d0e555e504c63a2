"""Read the current contents of a workdir.

Whatever is missing or cut short counts as absent. No device is touched: a run may be using it at this moment.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from etils import epath

from mxjax.data.pools import HELD_OUT
from mxjax.errors import UserError
from mxjax.files import matching, read_rows
from mxjax.lock import LOCK

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of one run.

    `rows` are the lines of the table, `cold_start` the metrics of the run's cold start. `command` is the whole command
    line that started it last, "" where that is not known. `controls` are the results of runs in folders of this one, by
    name: what the run is compared with.
    """

    name: str
    command: str
    record: dict[str, Any]
    results: dict[str, Any]
    rl: Rows
    evals: Rows
    cold_start: Rows
    rows: Rows
    controls: dict[str, dict[str, Any]]
    before: tuple[int, Rows] | None
    after: tuple[int, Rows] | None

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration, {} before it is written."""
        return mapping(mapping(self.record.get("config")) or self.results.get("config"))

    @property
    def steps(self) -> int | None:
        """The number of steps that the run is to take.

        RL steps, or those of the cold start in a workdir that has only that.
        """
        only_cold = self.cold_start and not self.rl and not self.evals
        return mapping(self.config.get("sft" if only_cold else "rl")).get("steps")

    @property
    def finished(self) -> bool:
        """Whether every step has been taken and the results are written."""
        rows = self.rl or self.cold_start
        return bool(self.results) and (not rows or self.steps is None or rows[-1]["step"] + 1 >= self.steps)


def read_run(workdir: epath.PathLike) -> Run:
    """The contents of `workdir`; UserError when it is no workdir."""
    path = epath.Path(workdir)
    if not any((path / name).exists() for name in ("config.json", "metrics.jsonl", "results.json")):
        raise UserError(f"{path} has no config.json, metrics.jsonl or results.json, so it is no workdir; check it")
    record, results = read_object(path / "config.json"), read_object(path / "results.json")
    metrics = [row for row in read_rows(path / "metrics.jsonl") if isinstance(row.get("step"), int)]
    evals = [row for row in metrics if row.get("phase") == "eval"]
    before, after = eval_episodes(path / "episodes")
    controls = read_controls(path)
    rows = table_rows(results, evals, read_object(path / "evaluation" / "results.json"))
    return Run(
        name=path.resolve().name,
        command=command_of(path, results),
        record=record,
        results=results,
        rl=[row for row in metrics if row.get("phase") == "rl"],
        evals=evals,
        cold_start=[row for row in metrics if row.get("phase") == "sft"] or cold_start_rows(path, record),
        rows=rows + [row for control in controls.values() for row in control["rows"]],
        controls=controls,
        before=before,
        after=after,
    )


def read_object(path: epath.Path) -> dict[str, Any]:
    """The JSON object in a file.

    {} if it is missing, or no whole object.
    """
    try:
        return mapping(json.loads(path.read_text())) if path.exists() else {}
    except ValueError:
        return {}


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is a dict, else {}."""
    return value if isinstance(value, dict) else {}


def cold_start_rows(path: epath.Path, record: dict[str, Any]) -> Rows:
    """Metrics of the cold start.

    They come from the workdir that `init` names if there is one, else from `cold_start/` within.
    """
    init = mapping(record.get("config")).get("init")
    places = [epath.Path(init)] if isinstance(init, str) and init and not init.startswith(("random:", "hf:")) else []
    for place in [*places, path / "cold_start"]:
        rows = [row for row in read_rows(place / "metrics.jsonl") if row.get("phase") == "sft" and "step" in row]
        if rows:
            return rows
    return []


def read_controls(path: epath.Path) -> dict[str, dict[str, Any]]:
    """{name: {"rows", "phases_s"}} of evaluated runs in folders of this one."""
    controls = {}
    for file in (folder / "evaluation" / "results.json" for folder in matching(path, "*")):
        folder = file.parent.parent
        rows = [{**row, "when": folder.name} for row in read_object(file).get("rows") or () if is_row(row)]
        if rows:
            phases_s = mapping(read_object(folder / "results.json").get("phases_s"))
            controls[folder.name] = {"rows": rows, "phases_s": phases_s}
    return controls


def command_of(path: epath.Path, results: dict[str, Any]) -> str:
    """The command line of a run.

    It comes from the run's lock while it is going; "" if it is not known.
    """
    command = read_object(path / LOCK).get("command") or results.get("command") or ""
    return f"mxjax {command}" if command in ("train", "sft", "evaluate") else str(command)  # as older results name it


def is_row(value: Any) -> bool:
    """Whether `value` is a line of the table."""
    return isinstance(value, dict) and "accuracy" in value


def system_of(row: dict[str, Any]) -> str:
    """The system of a row without its number of votes.

    The number may differ from one evaluation to the next.
    """
    return str(row.get("system")).partition("@")[0]


def own_evals(run: Run) -> Rows:
    """Evaluations on the run's held-out questions.

    If there are none, those on the benchmark that comes first.
    """
    named = [row.get("benchmark") for row in run.evals]
    benchmark = HELD_OUT if HELD_OUT in named or not named else named[0]
    return [row for row in run.evals if row.get("benchmark") == benchmark]


def table_rows(results: dict[str, Any], evals: Rows, evaluation: dict[str, Any]) -> Rows:
    """Rows of results.json and of the evaluations since.

    These are the run's own evaluations and those of `mxjax evaluate` on it.
    """
    rows = [row for row in results.get("rows") or () if is_row(row)]
    seen = {(row.get("when"), row.get("system"), row.get("benchmark")) for row in rows}
    for row in evals:
        if is_row(row) and (row.get("when"), row.get("system"), row.get("benchmark")) not in seen:
            rows.append(row)
    later = [row for row in evaluation.get("rows") or () if is_row(row)]
    return rows + [{"when": "mxjax evaluate", **row} for row in later]


def eval_episodes(folder: epath.Path) -> tuple[tuple[int, Rows] | None, tuple[int, Rows] | None]:
    """(step, trees) of the first and of the last evaluation of designs.

    Returns None for what is not there yet.
    """
    by_step = {}
    for file in matching(folder, "eval_*_designed.jsonl"):
        match = re.fullmatch(r"eval_(\d+)_designed\.jsonl", file.name)
        if match and (trees := read_rows(file)):
            by_step[int(match[1])] = trees
    steps = sorted(by_step)
    before = (steps[0], by_step[steps[0]]) if steps and steps[0] == 0 else None
    after = (steps[-1], by_step[steps[-1]]) if steps and steps[-1] > 0 else None
    return before, after
