"""The head of the page and the table.

They say what was run, on what, how long, and how each system did.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mxjax.data.pools import HELD_OUT
from mxjax.evaluation import paired_change, table
from mxjax.report.html import join, tag
from mxjax.report.number_format import ABSENT, duration, finite, number, percent
from mxjax.report.run_files import Rows, Run, mapping, own_evals, system_of

COLUMNS = (
    "when",
    "system",
    "benchmark",
    "questions",
    "accuracy",
    "95 % interval",
    "valid designs",
    "calls",
    "tokens in",
    "tokens out",
    "seconds",
    "failures",
)


def headline(run: Run) -> Markup:
    """The figures to see first.

    Where the run is, and how each system changed from the first evaluation to the last. On the held-out questions
    alone: shares on different benchmarks are not one curve.
    """
    tiles = [_tile("state", *_state(run))]
    evals = own_evals(run)
    benchmark = str(evals[0].get("benchmark")).replace(HELD_OUT, "held out") if evals else ""
    for system in dict.fromkeys(map(system_of, evals)):
        rows = [row for row in evals if system_of(row) == system and finite(row.get("accuracy"))]
        if len(rows) > 1 and rows[0]["step"] != rows[-1]["step"]:
            change = f"{percent(rows[0]['accuracy'])} → {percent(rows[-1]['accuracy'])}"
            tiles.append(_tile(f"{system}, {benchmark}", change, paired_change(rows[0], rows[-1])))
        elif rows:
            tiles.append(_tile(f"{system}, {benchmark}", percent(rows[0]["accuracy"]), f"after step {rows[0]['step']}"))
    return tag("div", *tiles, class_="tiles")


def run_comparisons(run: Run) -> list[tuple[str, str]]:
    """The comparisons that a run's table must show, with paired differences.

    For each benchmark: designed systems after the last step against those before the first, against the other systems
    after the last step, and against the designed systems of each control.
    """
    comparisons = []
    for benchmark in dict.fromkeys(row.get("benchmark") for row in run.evals):
        rows = [row for row in run.rows if row.get("benchmark") == benchmark]
        evaluated = [row for row in run.evals if row.get("benchmark") == benchmark]
        designed = [row for row in evaluated if row.get("system") == "designed"]
        if not designed:
            continue
        after = designed[-1]
        others = [designed[0], *[row for row in evaluated if row["step"] == after["step"]]]
        others += [row for row in rows if row.get("when") in run.controls and row.get("system") == "designed"]
        for other in others:
            change = "" if other is after else paired_change(other, after)
            if change:
                name = f"{other['system']}, {other['when']}"
                comparisons.append((f"designed, {after['when']}, against {name} ({benchmark})", change))
    return comparisons


def facts(run: Run) -> Markup:
    """Command, seed, device, versions, phase times, and the config to open."""
    results, model = run.results, mapping(run.record.get("model"))
    versions = {"mxjax": run.record.get("mxjax"), **mapping(results.get("versions"))}
    size = [f"{model[key]} {word}" for key, word in _SIZES.items() if key in model]
    pending = "written when the run ends"
    pairs = [
        ("command", run.command or pending),
        ("seed", results.get("seed", run.config.get("seed", ABSENT))),
        ("device", results.get("device") or pending),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version) or ABSENT),
        ("model", ", ".join(size) or ABSENT),
        ("starts from", run.config.get("init") or ABSENT),
        *[
            (PHASES.get(name, name.replace("_", " ")), duration(seconds))
            for name, seconds in phase_seconds(run).items()
        ],
    ]
    parts = [fact_list(pairs)]
    if run.config:
        text = json.dumps(run.config, indent=1)
        parts.append(tag("details", tag("summary", "the whole configuration"), tag("pre", text)))
    return join(parts)


def fact_list(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """Named facts side by side.

    A command line has a row to itself.
    """
    parts = []
    for name, value in pairs:
        command = name == "command"
        words = [join(tag("span", word), " ") for word in str(value).split(" ")]  # where a line may break
        shown = tag("dd", tag("code", *words) if command else value)
        parts.append(tag("div", tag("dt", name), shown, class_="whole" if command else None))
    return tag("dl", *parts, class_="facts")


PHASES = {"cold_start_data": "cold start, data", "cold_start": "cold start", "rl": "reinforcement learning"}
_SIZES = {
    "num_hidden_layers": "layers",
    "hidden_size": "wide",
    "num_attention_heads": "heads",
    "vocab_size": "tokens known",
}


def phase_seconds(run: Run) -> dict[str, float]:
    """Seconds of each phase.

    They are as recorded, or added up from the metrics while the run goes on.
    """
    recorded = mapping(run.results.get("phases_s"))
    if recorded and run.finished:
        return recorded

    def total(rows: Rows, key: str) -> float:
        return sum(row[key] for row in rows if finite(row.get(key)))

    cold = [row["time_s"] for row in run.cold_start if finite(row.get("time_s"))]
    seconds_by_phase = {"cold_start": max(cold, default=0.0), "rl": total(run.rl, "step_s")}
    seconds_by_phase["evaluation"] = total(run.evals, "seconds")
    return {name: seconds for name, seconds in seconds_by_phase.items() if seconds}


def comparison_list(run: Run) -> Markup:
    """The paired differences, if there is anything to compare yet."""
    pairs = run_comparisons(run)
    return tag("div", tag("h3", "On the same questions"), fact_list(pairs)) if pairs else tag("div")


def summary(run: Run) -> str:
    """The results as text for a terminal.

    It has command, table, pattern shares, paired differences, and the time of each phase.
    """
    lines = [f"command: {run.command}"] if run.command else []
    lines += [table(run.rows)] if run.rows else ["No system has been evaluated yet."]
    for row in run.rows:
        if row.get("system") == "designed":
            shares = ", ".join(f"{name} {share:.0%}" for name, share in mapping(row.get("patterns")).items())
            lines.append(f"patterns, {row.get('when', '')}: {shares}")
    lines += [f"{name}: {change}" for name, change in run_comparisons(run)]
    phases = [("", name, seconds) for name, seconds in phase_seconds(run).items()]
    for control, results in run.controls.items():
        phases += [(f"{control}, ", name, seconds) for name, seconds in results["phases_s"].items()]
    times = [f"{of}{PHASES.get(name, name.replace('_', ' '))} {duration(seconds)}" for of, name, seconds in phases]
    return "\n".join([*lines, "time: " + "; ".join(times)])


def results_table(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Every row of the results; a sentence where there are none yet."""
    if not rows:
        return tag("p", "No system has been evaluated yet.", class_="absent")
    head = tag("thead", tag("tr", *[tag("th", name, scope="col") for name in COLUMNS]))
    body = [tag("tr", *[tag("td", cell, data_label=name) for name, cell in zip(COLUMNS, _cells(row))]) for row in rows]
    return tag(
        "div", tag("table", head, tag("tbody", *body)), class_="wide", tabindex="0", role="group", aria_label="results"
    )


def _cells(row: Mapping[str, Any]) -> Sequence[Any]:
    failures = mapping(row.get("failures"))
    accuracy, samples = row.get("accuracy"), row.get("samples", 1)
    asked = f"{row.get('n', ABSENT)}" + (f" × {samples}" if samples != 1 else "")
    return (
        row.get("when") or ABSENT,
        tag("b", row.get("system")),
        row.get("benchmark") or ABSENT,
        asked,
        tag("b", percent(accuracy)),
        interval_bar(accuracy, row.get("ci95")),
        percent(row.get("valid_design_rate")),
        number(row.get("calls")),
        number(row.get("prompt_tokens")),
        number(row.get("response_tokens")),
        number(row.get("seconds")),
        ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in failures.items()) or "none",
    )


def interval_bar(value: float | None, interval: Sequence[float] | None) -> Markup:
    """A 95 % interval as text and as a bar.

    The bar's scale is from 0 to 100 %.
    """
    if not finite(value) or not interval or not all(map(finite, interval)):
        return tag("span", ABSENT)
    low, high = interval
    at = lambda share: 4 + 92 * min(1.0, max(0.0, share))
    bar = tag(
        "svg",
        tag("path", d="M4 7H96M4 3V11M96 3V11", class_="track"),
        tag("rect", x=at(low), y=3, width=max(1.0, at(high) - at(low)), height=8, class_="ci"),
        tag("path", d=f"M{at(value):.1f} 1V13", class_="ci-mean"),
        viewBox="0 0 100 14",
        width=100,
        height=14,
        aria_hidden="true",
    )
    return tag("span", bar, " ", tag("small", f"{percent(low)} to {percent(high)}"), class_="interval-cell")


def _state(run: Run) -> tuple[str, str]:
    """Where the run is, and about how long the rest takes."""
    rows, total, name = (run.rl, run.steps, "RL steps") if run.rl else (run.cold_start, run.steps, "cold start steps")
    if run.evals and not run.rl:
        rows, name = [], "RL steps"
    done = rows[-1]["step"] + 1 if rows else 0
    if run.finished:
        return "finished", f"{done} {name}" if done else ""
    of = f"{done} of {total} {name}" if total else f"{done} {name}"
    recent = [row["step_s"] for row in rows[-5:] if finite(row.get("step_s"))]
    left = (
        f", about {duration((total - done) * sum(recent) / len(recent))} left"
        if recent and total and done < total
        else ""
    )
    return "not finished", of + left


def _tile(name: str, value: str, note: str) -> Markup:
    return tag("div", tag("span", name), tag("b", value), tag("small", note), class_="tile")
