"""The pages of `mxjax evaluate`.

These are results.md, results.html, and one page of whole episodes for each row.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from mxjax.evaluation.tables import comparisons, details_of, markdown, with_interval
from mxjax.files import read_rows, write_text
from mxjax.report.episodes import whole_episode
from mxjax.report.html import tag
from mxjax.report.page import document
from mxjax.report.tables import fact_list, results_table

Row = Mapping[str, Any]


def write_pages(folder: epath.Path, results: Mapping[str, Any]) -> None:
    """Write results.md and results.html beside results.json, whose contents are `results`."""
    facts = {
        "command": results["command"],
        "checkpoint": results["rows"][0].get("checkpoint", "") if results["rows"] else "",
        "seed": results["seed"],
        "device": results["device"],
        "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        "sandbox level": results["sandbox_level"] or "none needed",
    }
    rows = results["rows"]
    listed = "\n".join(f"- {name}: {_code(value) if name == 'command' else value}" for name, value in facts.items())
    write_text(folder / "results.md", f"# Results\n\n{markdown(rows)}\n{listed}\n")
    write_text(folder / "results.html", _page(rows, facts))


def _code(text: str) -> str:
    """Text in Markdown as it is, whatever backticks it holds."""
    mark = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{mark} {text} {mark}" if "`" in text else f"{mark}{text}{mark}"


def _page(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    name = lambda row: f"{row['system']} on {row['benchmark']}"
    href = lambda row: urllib.parse.quote(f"{row['episodes']}.html", safe="/@")
    links = [
        tag("li", tag("a", name(row), href=href(row)), " ", details_of(row)) for row in rows if row.get("episodes")
    ]
    sampled = [
        (f"{kind}@{k}, {name(row)}", with_interval(at))
        for row in rows
        for kind in ("pass", "majority")
        for k, at in (row.get(f"{kind}_at") or {}).items()
    ]
    return document(
        "mxjax evaluate",
        tag("header", tag("h1", "Results"), fact_list(facts.items())),
        tag("section", results_table(rows), fact_list(comparisons(rows)), fact_list(sampled)),
        tag("section", tag("h2", "Whole episodes"), tag("ul", *links)),
    )


def write_episodes(lines: epath.Path, title: str) -> None:
    """Write the page of the episodes in a jsonl file beside it."""
    episodes = map(whole_episode, read_rows(lines))
    page = document(title, tag("header", tag("h1", title)), tag("section", *episodes))
    write_text(lines.parent / f"{lines.stem}.html", page)
