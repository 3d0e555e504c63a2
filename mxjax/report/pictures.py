"""Figures of the page as SVG files.

For a README or a slide. They load nothing and follow the light or dark theme.
"""

from __future__ import annotations

import collections
import re

from etils import epath
from markupsafe import Markup

from mxjax import mas
from mxjax.errors import UserError
from mxjax.files import make_folder, write_text
from mxjax.report.charts import texture_defs
from mxjax.report.curves import held_out_chart, stages_of
from mxjax.report.drawing import svg_file
from mxjax.report.html import tag
from mxjax.report.run_files import Run, mapping, read_run
from mxjax.report.style import STYLE

WIDTH = 640
LEGEND = 64  # room below a chart for its keys, and above it for its title
_SVG = 'xmlns="http://www.w3.org/2000/svg"'


def write_pictures(workdir: epath.PathLike, folder: epath.PathLike) -> list[epath.Path]:
    """Write learning_curve.svg and design.svg of a run into `folder`.

    Returns their paths. The design is the one that the last evaluation shows of its most frequent pattern. Raises
    UserError when the run has no evaluation of designs yet.
    """
    run, folder = read_run(workdir), epath.Path(folder)
    design = typical_design(run)
    if not design or not run.rl:
        raise UserError(f"{workdir} has no evaluation of designs after training yet; let mxjax train end first")
    make_folder(folder)
    drawn = {
        "learning_curve": picture(held_out_chart(run, stages_of(run.rl))),
        "design": svg_file(mas.graph(mas.check(design))),
    }
    paths = [folder / f"{name}.svg" for name in drawn]
    for path, text in zip(paths, drawn.values(), strict=True):
        write_text(path, text)
    return paths


def typical_design(run: Run) -> str:
    """The first design of the most frequent pattern in the last evaluation.

    Returns "" if there is none.
    """
    by_pattern = collections.defaultdict(list)
    for tree in run.after[1] if run.after else ():
        for design in map(mapping, tree.get("designs") or ()):
            if design.get("source") and not design.get("error"):
                by_pattern[mas.pattern(mas.check(design["source"]))].append(design["source"])
    return max(by_pattern.values(), key=len)[0] if by_pattern else ""


def picture(chart: Markup) -> str:
    """A chart of the page as an SVG document, 640 units wide.

    Raises UserError for an empty chart.
    """
    size_of_chart = re.search(r'viewBox="0 0 (\S+) (\S+)"', chart)
    if size_of_chart is None:
        raise UserError("the chart has nothing to draw yet; let mxjax train end first")
    width, height = map(float, size_of_chart.groups())
    whole = round(WIDTH * height / width) + 2 * LEGEND
    body = tag(
        "div",
        texture_defs(),
        chart,
        xmlns="http://www.w3.org/1999/xhtml",
        style="font:16px/1.5 system-ui,sans-serif;color:var(--ink)",
    )
    drawn = Markup(str(body).replace("<svg ", f"<svg {_SVG} "))  # inside HTML, which this is, a page needs no namespace
    inside = tag("foreignObject", drawn, x=0, y=0, width=WIDTH, height=whole)
    size = f'viewBox="0 0 {WIDTH} {whole}" width="{WIDTH}" height="{whole}"'
    return f"<svg {_SVG} {size}><style>{STYLE}</style>{inside}</svg>\n"
