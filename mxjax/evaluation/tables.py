"""Rows as text or markdown, with their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mxjax.evaluation.statistics import paired_change
from mxjax.evaluation.systems import DESIGNED

Row = Mapping[str, Any]
HEAD = ("when", "system", "benchmark", "n", "accuracy", "95 %", "valid", "calls", "tokens in", "tokens out", "s")


def cells(row: Row) -> tuple[str, ...]:
    """A row's texts, under `HEAD`."""
    return (
        str(row.get("when", "")),
        row["system"],
        row["benchmark"],
        str(row["n"]),
        f"{row['accuracy']:.1%}",
        f"{row['ci95'][0]:.1%} - {row['ci95'][1]:.1%}",
        f"{row['valid_design_rate']:.0%}",
        f"{row['calls']:.1f}",
        f"{row['prompt_tokens']:.0f}",
        f"{row['response_tokens']:.0f}",
        f"{row['seconds']:.0f}",
    )


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned text.

    System, accuracy with its interval, validity and cost per question.
    """
    lines = [HEAD, *map(cells, rows)]
    widths = [max(len(line[c]) for line in lines) for c in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def markdown(rows: Sequence[Row]) -> str:
    """Rows as markdown.

    Then pass@k and majority@k where there are samples, and what went wrong.
    """
    first = 0 if any(row.get("when") for row in rows) else 1
    parts = [_markdown_table(HEAD[first:], [cells(row)[first:] for row in rows])]
    sampled = [row for row in rows if "pass_at" in row]
    if sampled:
        ks = sorted({int(k) for row in sampled for k in row["pass_at"]})
        head = ["system", "benchmark", "samples", *[f"{name}@{k}" for k in ks for name in ("pass", "majority")]]
        lines = [
            [
                row["system"],
                row["benchmark"],
                str(row["samples"]),
                *[with_interval(row[name].get(str(k))) for k in ks for name in ("pass_at", "majority_at")],
            ]
            for row in sampled
        ]
        parts.append(_markdown_table(head, lines))
    details = [f"- {row['system']} on {row['benchmark']}: {text}" for row in rows if (text := details_of(row))]
    compared = [f"- {name}: {change}" for name, change in comparisons(rows)]
    parts += ["\n".join(lines) for lines in (details, compared) if lines]
    return "\n\n".join(parts) + "\n"


def details_of(row: Row) -> str:
    """Patterns of the designs, and how often what went wrong.

    Patterns are listed where there are several.
    """
    listed = []
    patterns = row.get("patterns") or {}
    if len(patterns) > 1 or row["system"].startswith(DESIGNED):
        listed.append("patterns " + ", ".join(f"{name} {share:.0%}" for name, share in patterns.items()))
    if row.get("reasons"):
        listed.append("not right: " + ", ".join(f"{name} {count}" for name, count in row["reasons"].items()))
    if row.get("in_process"):
        listed.append(f"{row['in_process']} passed in one process with their tests")
    if row.get("grading_faults"):
        listed.append(f"grading raised an exception for {row['grading_faults']}")
    if row.get("chosen"):
        chosen = row["chosen"]
        listed.append(f"{chosen['name']} was best of {len(chosen['candidates'])} on {chosen['validation']}")
    return "; ".join(listed)


def comparisons(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Paired differences of the rows on each benchmark.

    Designed systems against each other one on the same questions, or the last against the first. The second where a
    benchmark has no row of designed systems.
    """
    changes = []
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        same_benchmark = [row for row in rows if row["benchmark"] == benchmark]
        main = next((row for row in same_benchmark if row["system"] == DESIGNED), same_benchmark[-1])
        for other in same_benchmark if main["system"] == DESIGNED else same_benchmark[:1]:
            change = "" if other is main else paired_change(other, main)
            if change:
                changes.append((f"{main['system']} against {other['system']} ({benchmark})", change))
    return changes


def with_interval(at: Mapping[str, Any] | None) -> str:
    """A value and its 95 % interval, "" if there is none."""
    return "" if at is None else f"{at['value']:.1%} ({at['ci95'][0]:.1%} - {at['ci95'][1]:.1%})"


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (head, rule, *lines)
    )
