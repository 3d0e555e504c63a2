"""Which charts a run's page shows, and from which metrics.

A chart is a row of a table here. Metrics of a role exist only for the steps that trained it, so those lines have gaps
where the other role was trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from mxjax.report.charts import Series, Stage, empty, line_chart, share_chart, thin
from mxjax.report.html import join, tag
from mxjax.report.number_format import duration, finite, number, percent
from mxjax.report.run_files import Rows, Run, own_evals, system_of

DESIGNER, EXECUTOR = 0, 1


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line chart of metrics: `lines` are (name, metric, style)."""

    title: str
    unit: str
    lines: tuple[tuple[str, str, int], ...]
    share: bool = False
    top: float | None = None


def _by_role(metric: str) -> tuple[tuple[str, str, int], ...]:
    return (("designer", f"designer/{metric}", DESIGNER), ("executor", f"executor/{metric}", EXECUTOR))


LEARNING = (
    Chart(
        "Reward by role",
        "mean of an execution",
        (("designer: all executions", "reward", DESIGNER), ("executor: those that ran", "executor_reward", EXECUTOR)),
    ),
    Chart(
        "Correct answers in training",
        "share of executions",
        (("correct", "correct", 2), ("right format", "format", 3)),
        share=True,
        top=1.0,
    ),
    Chart("Valid designs", "share of designs", (("valid", "valid_designs", DESIGNER),), share=True, top=1.0),
)
COST = (
    Chart("Calls", "agent calls per execution", (("calls", "calls", EXECUTOR),)),
    Chart(
        "Tokens",
        "sampled per call",
        (("design", "design_tokens", DESIGNER), ("agent reply", "response_tokens", EXECUTOR)),
    ),
    Chart(
        "What goes wrong",
        "share",
        (
            ("reply cut by its limit", "cut_replies", 4),
            ("answer not an agent's", "not_from_agent", 5),
            ("gold answer in the design", "gold_in_design", 6),
            ("lost to infrastructure", "invalid_executions", 7),
        ),
        share=True,
    ),
)
UPDATES = (
    Chart("Clip fraction", "share of tokens", _by_role("clip_fraction"), share=True),
    Chart("Approximate KL", "nats per token, to the policy that sampled", _by_role("kl")),
    Chart("Entropy", "nats per token", _by_role("entropy")),
    Chart("Gradient norm", "before clipping", (("mean of the step", "grad_norm", 2), ("largest", "grad_norm_max", 3))),
    Chart(
        "Groups without spread",
        "share of questions whose rewards are all alike",
        (("designer", "designer_zero_spread", DESIGNER), ("executor", "executor_zero_spread", EXECUTOR)),
        share=True,
        top=1.0,
    ),
    Chart("Sampler against trainer", "mean difference of log-probabilities", _by_role("engine_difference")),
)


def learning_curves(run: Run) -> Markup:
    """The charts of reinforcement learning, in three groups.

    Before the first step, a sentence instead.
    """
    if not run.rl:
        return _group("Learning", "No step of reinforcement learning has been logged yet.", [])
    stages = stages_of(run.rl)
    note = "Shaded: which role each stage trained. Lines of a role stop where the other role was trained."

    def charts(specs: Sequence[Chart]) -> list[Markup]:
        return [metric_chart(spec, run.rl, stages) for spec in specs]

    patterns = share_chart("Patterns", [(row["step"], row.get("patterns") or {}) for row in run.rl], stages)
    speed = Chart(
        "Sampling speed", "tokens per second of decoding", (("sampled", "engine_decode_tokens_per_s", EXECUTOR),)
    )
    seconds = Chart("Time per step", "seconds", (("rollout", "rollout_s", 4), ("update", "update_s", 5)))
    timed = [{**row, "update_s": _update_seconds(row)} for row in run.rl]
    return join(
        _group("Learning", note, [held_out_chart(run, stages), *charts(LEARNING), patterns]),
        _group("Cost", "", [*charts(COST), *(metric_chart(spec, timed, stages) for spec in (speed, seconds))]),
        _group("Updates", "", charts(UPDATES)),
    )


def metric_chart(chart: Chart, rows: Rows, stages: Sequence[Stage]) -> Markup:
    """One chart of `rows`.

    A line whose metric no row has is left out.
    """
    series = [Series(name, points(rows, metric), style) for name, metric, style in chart.lines]
    span = (rows[0]["step"] - 0.5, rows[-1]["step"] + 0.5)
    return line_chart(chart.title, chart.unit, series, stages, span=span, share=chart.share, top=chart.top)


def points(rows: Rows, metric: str) -> list[tuple[int, float]]:
    """(step, value) of every row that has a number for the metric."""
    return [(row["step"], row[metric]) for row in rows if finite(row.get(metric))]


def held_out_chart(run: Run, stages: Sequence[Stage]) -> Markup:
    """Accuracy of each system on the held-out questions.

    An evaluation after n steps stands where step n begins.
    """
    evals = own_evals(run)
    title, systems = "Held-out accuracy", list(dict.fromkeys(map(system_of, evals)))
    if not systems:
        return empty(title, "No evaluation yet.")
    order = {"designed": DESIGNER, "single": EXECUTOR}
    series = []
    for n, system in enumerate(systems):
        rows = [row for row in evals if system_of(row) == system and finite(row.get("accuracy"))]
        intervals = [(row["step"] - 0.5, *row["ci95"]) for row in rows if row.get("ci95")]
        style = order.get(system, n + 2)
        at = [(row["step"] - 0.5, row["accuracy"]) for row in rows]
        series.append(Series(str(system), at, style, intervals, gaps=False))
    last = max(run.rl[-1]["step"] + 0.5, max(row["step"] for row in evals) - 0.5)
    span = (run.rl[0]["step"] - 0.5, last)
    return line_chart(title, "with 95 % intervals", series, stages, span=span, share=True, top=1.0, name_x=_after)


def _after(x: float) -> str:
    return f"after {x + 0.5:g} steps"


def cold_start_curve(run: Run) -> Markup:
    """The loss of supervised fine-tuning.

    A sentence instead if no cold start is known.
    """
    if not run.cold_start:
        return tag("p", "No cold start is known: init names none, and there is none in cold_start/.", class_="absent")
    span = (run.cold_start[0]["step"] - 0.5, run.cold_start[-1]["step"] + 0.5)

    def chart(title: str, unit: str, name: str, metric: str, style: int) -> Markup:
        line = Series(name, thin(points(run.cold_start, metric)), style)
        return line_chart(title, unit, [line], span=span, x_name="step")

    loss = chart("Loss", "nats per token", name="loss", metric="sft/loss", style=2)
    norm = chart("Gradient norm", "before clipping", name="mean of the step", metric="grad_norm", style=3)
    return tag("div", loss, norm, class_="charts")


def stages_of(rows: Rows) -> list[Stage]:
    """The stages of a run: consecutive steps that trained one role."""
    stages = []
    for role, group in groupby(rows, key=lambda row: row.get("stage") or ""):
        steps = [row["step"] for row in group]
        if role:
            stages.append(Stage(steps[0], steps[-1], role))
    return stages


def stage_table(rows: Rows) -> Markup:
    """Means over each stage, with shares of groups without spread.

    The shares are given by role.
    """
    heads = (
        "stage",
        "steps",
        "reward",
        "correct",
        "valid designs",
        "no spread, designer",
        "no spread, executor",
        "time",
    )
    body = []
    for stage in stages_of(rows):
        inside = [row for row in rows if stage.first <= row["step"] <= stage.last]
        mean = lambda metric, inside=inside: _mean([row.get(metric) for row in inside])
        cells = (
            stage.role.replace("+", " and "),
            f"{stage.first} to {stage.last}",
            number(mean("reward")),
            percent(mean("correct")),
            percent(mean("valid_designs")),
            percent(mean("designer_zero_spread")),
            percent(mean("executor_zero_spread")),
            duration(sum(row.get("step_s") or 0 for row in inside)),
        )
        body.append(tag("tr", *[tag("td", cell, data_label=head) for head, cell in zip(heads, cells)]))
    head = tag("thead", tag("tr", *[tag("th", name, scope="col") for name in heads]))
    return tag("table", head, tag("tbody", *body)) if body else join()


def _mean(values: Sequence[Any]) -> float | None:
    known = [value for value in values if finite(value)]
    return sum(known) / len(known) if known else None


def _update_seconds(row: dict[str, Any]) -> float | None:
    known = finite(row.get("step_s")) and finite(row.get("rollout_s"))
    return row["step_s"] - row["rollout_s"] if known else None


def _group(title: str, note: str, charts: Sequence[Markup]) -> Markup:
    lead = tag("p", note, class_="lead") if note else None
    return tag("section", tag("h2", title), lead, tag("div", *charts, class_="charts"))
