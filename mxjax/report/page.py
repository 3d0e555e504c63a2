"""Assemble the report.

Head, learning curves, table and episodes are one file that loads nothing. The page carries a content security policy
that forbids every load and every script but its own, so that even text that got past the escaping could do nothing.
"""

from __future__ import annotations

import base64
import hashlib

from etils import epath
from markupsafe import Markup

from mxjax.files import write_text
from mxjax.report.charts import texture_defs
from mxjax.report.curves import cold_start_curve, learning_curves, stage_table
from mxjax.report.drawing import arrow_defs
from mxjax.report.episodes import episode_section
from mxjax.report.html import tag
from mxjax.report.run_files import Run, read_run
from mxjax.report.style import SCRIPT, STYLE
from mxjax.report.tables import comparison_list, facts, headline, results_table


def write_report(workdir: epath.PathLike) -> epath.Path:
    """Write `report.html` into a workdir, finished or not, and return its path.

    A reader never sees half a page. Raises UserError when `workdir` is no workdir.
    """
    target = epath.Path(workdir) / "report.html"
    write_text(target, render(read_run(workdir)))
    return target


def render(run: Run) -> str:
    """The whole page of a run."""
    return document(f"{run.name}: mxjax report", *_sections(run))


def document(title: str, *sections: Markup) -> str:
    """A whole page that loads nothing."""
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    body = tag("body", texture_defs(), arrow_defs(), *sections, tag("script", Markup(SCRIPT)))
    return Markup("<!DOCTYPE html>\n") + tag("html", head, body, lang="en") + "\n"


def _sections(run: Run) -> list[Markup]:
    stages = stage_table(run.rl)
    return [
        tag(
            "header",
            tag("h1", run.name),
            tag("p", "A run of MetaAgent-X in JAX", class_="lead"),
            headline(run),
            facts(run),
        ),
        tag("section", tag("h2", "Results"), results_table(run.rows), comparison_list(run)),
        tag("div", learning_curves(run)),
        tag(
            "section",
            tag("h2", "Stages"),
            tag("div", stages, class_="wide", tabindex="0", role="group", aria_label="stages"),
        )
        if stages
        else tag("div"),
        tag("section", tag("h2", "Cold start"), cold_start_curve(run)),
        tag("section", tag("h2", "Episodes before and after"), episode_section(run)),
        tag("footer", "Made by mxjax report from the files of the workdir; it can be made again at any time."),
    ]
