"""Draw charts as inline SVG.

There are lines with gaps, and shares over time, both above shaded stages. Colour, dash and marker together tell a
series apart, so that neither colour vision nor a screen is needed. The drawing is 400 units wide, about what a phone
shows, and a wide page sets several side by side.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mxjax.report.html import tag
from mxjax.report.number_format import finite, number, percent, ticks

WIDTH, HEIGHT = 400, 216
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 26, 30
STYLES = 8
MOST_POINTS = 240
MOST_MARKERS = 40
STAGE_NAMES = {"executor": "executor", "designer": "designer", "designer+executor": "both roles"}

Points = Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Series:
    """A named line: (x, y) in order of x.

    `style` picks colour, dash and marker; `intervals` are (x, low, high). Without `gaps` all points are joined, however
    far apart they are.
    """

    name: str
    points: Points
    style: int
    intervals: Sequence[tuple[float, float, float]] = ()
    gaps: bool = True


@dataclasses.dataclass(frozen=True)
class Stage:
    """RL steps `first` to `last`, both included, that trained `role`."""

    first: int
    last: int
    role: str


@dataclasses.dataclass(frozen=True)
class Frame:
    """Map data to the drawing.

    X in [x0, x1] and y in [y0, y1] fall inside the plot.
    """

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        """Horizontal position of `value`."""
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Vertical position of `value`; the drawing counts downwards."""
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def line_chart(
    title: str,
    unit: str,
    series: Sequence[Series],
    stages: Sequence[Stage] = (),
    span: tuple[float, float] | None = None,
    share: bool = False,
    top: float | None = None,
    x_name: str = "RL step",
    name_x: Callable[[float], str] | None = None,
) -> Markup:
    """A figure with one line per series.

    The y axis starts at 0 and ends at `top` or above the largest value. `span` is the x range, by default that of the
    points; `name_x` says what to call a place on it, by default `x_name` and its number. Shares are written as
    percentages.
    """
    drawn = [dataclasses.replace(s, points=[p for p in s.points if finite(p[1])]) for s in series]
    drawn = [s for s in drawn if s.points]
    if not drawn:
        return empty(title, "Nothing to draw yet.")
    xs = [x for s in drawn for x, _ in s.points]
    ys = [y for s in drawn for _, y in s.points] + [y for s in drawn for row in s.intervals for y in row[1:]]
    span = span or (min(xs) - 0.5, max(xs) + 0.5)
    frame = Frame(*span, min(0.0, *ys), top if top is not None else _headroom(ys))
    write = percent if share else number
    body = [*_ground(frame, stages, write, x_name), *[_line(frame, s) for s in drawn]]
    keys = [_key(_swatch(s.style), s.name, write(s.points[-1][1])) for s in drawn]
    label = f"{title}, {unit}. Last values: " + ", ".join(f"{s.name} {write(s.points[-1][1])}" for s in drawn)
    values = {x: i for i, x in enumerate(sorted(set(xs)))}
    table = {
        "x": [round(frame.x(x), 1) for x in values],
        "at": [name_x(x) if name_x else f"{x_name} {x:g}" for x in values],
        "share": share,
        "series": [[s.name, _column(s.points, values)] for s in drawn],
    }
    return _figure(title, unit, body, keys, label=label, table=table)


def share_chart(title: str, rows: Sequence[tuple[int, Mapping[str, float]]], stages: Sequence[Stage] = ()) -> Markup:
    """A figure of stacked columns, one per step.

    Columns show how the whole divides among names, most frequent at the bottom.
    """
    rows = [(x, shares) for x, shares in rows if shares]
    if not rows:
        return empty(title, "Nothing to draw yet.")
    totals: dict[str, float] = {}
    for _, shares in rows:
        for name, value in shares.items():
            totals[name] = totals.get(name, 0.0) + value
    names = sorted(totals, key=lambda name: (-totals[name], name))
    if len(names) > STYLES:
        names = [*names[: STYLES - 1], "other"]
    rows = [(x, {n: shares.get(n, 0.0) if n != "other" else _rest(shares, names) for n in names}) for x, shares in rows]
    frame = Frame(rows[0][0] - 0.5, rows[-1][0] + 0.5, 0.0, 1.0)
    columns = _bucket([(x, *shares.values()) for x, shares in rows], MOST_POINTS // 2)
    half = (columns[1][0] - columns[0][0]) / 2 if len(columns) > 1 else 0.5
    bars: list[list[str]] = [[] for _ in names]
    for x, *values in columns:
        left, right, base = frame.x(max(x - half, frame.x0)), frame.x(min(x + half, frame.x1)), 0.0
        for n, value in enumerate(values):
            if value > 0:
                low, high = frame.y(base), frame.y(min(1.0, base + value))
                bars[n].append(f"M{left:.1f} {low:.1f}V{high:.1f}H{right:.1f}V{low:.1f}Z")
            base += value
    body = [*_ground(frame, stages, percent, "RL step")]
    body += [tag("path", d="".join(paths), class_="share", fill=f"url(#t{n})") for n, paths in enumerate(bars)]
    last = rows[-1][1]
    keys = [_key(_patch(n), name, percent(last[name])) for n, name in enumerate(names)]
    label = f"{title}. Last values: " + ", ".join(f"{name} {percent(last[name])}" for name in names)
    table = {
        "x": [round(frame.x(row[0]), 1) for row in columns],
        "at": [f"RL step {row[0]:g}" for row in columns],
        "share": True,
        "series": [[name, [_brief(row[n + 1]) for row in columns]] for n, name in enumerate(names)],
    }
    return _figure(title, "share of designs", body, keys, label=label, table=table)


def empty(title: str, why: str) -> Markup:
    """A figure that says why there is nothing in it."""
    return tag("figure", tag("h3", title), tag("p", why, class_="absent"), class_="chart")


def thin(points: Points, most: int = MOST_POINTS) -> Points:
    """At most about `most` points.

    They are means over runs of neighbours, never across a gap in x.
    """
    size = -(-len(points) // most)
    if size < 2:
        return points
    return [(x, y) for piece in pieces(points) for x, y in _means(piece, size)]


def pieces(points: Points) -> list[Points]:
    """The points in runs without a gap.

    A gap is more than 1.5 times the smallest distance in x.
    """
    if len(points) < 3:
        return [points]
    distances = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    limit = 1.5 * min(distances)
    cuts = [i + 1 for i, distance in enumerate(distances) if distance > limit]
    return [points[a:b] for a, b in zip([0, *cuts], [*cuts, len(points)])]


def texture_defs() -> Markup:
    """A hidden drawing with the textures t0 to t7 of share charts."""
    marks = (
        "",
        "M0 8L8 0M-2 2L2 -2M6 10L10 6",
        "M4 0V8",
        "M2 2h2v2h-2z",
        "M0 4H8",
        "M0 0L8 8M-2 6L2 10M6 -2L10 2",
        "M0 4H8M4 0V8",
        "M0 0L8 8M0 8L8 0",
    )
    patterns = []
    for n, mark in enumerate(marks):
        paths = tag("path", d="M0 0H8V8H0Z", class_=f"f{n}"), tag("path", d=mark or "M0 0", class_="weave")
        patterns.append(tag("pattern", *paths, id=f"t{n}", width=8, height=8, patternUnits="userSpaceOnUse"))
    return tag("svg", tag("defs", *patterns), width=0, height=0, class_="defs", aria_hidden="true")


def _ground(frame: Frame, stages: Sequence[Stage], write: Callable, x_name: str) -> list[Markup]:
    """Shaded stages, grid and axes."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for stage in stages:
        left, end = frame.x(max(stage.first - 0.5, frame.x0)), frame.x(min(stage.last + 0.5, frame.x1))
        if end <= left:
            continue
        kind = stage.role.replace("+", "-")
        parts.append(tag("rect", x=left, y=TOP, width=end - left, height=bottom - TOP, class_=f"stage {kind}"))
        parts.append(tag("rect", x=left, y=TOP - 8, width=end - left, height=5, class_=f"band {kind}"))
        name = STAGE_NAMES.get(stage.role, stage.role)
        name = name if end - left > 6.5 * len(name) else name[0].upper() if end - left > 9 else ""
        if name:
            parts.append(tag("text", name, x=(left + end) / 2, y=TOP - 12, class_="stage-name", text_anchor="middle"))
    for value in ticks(frame.y0, frame.y1, 4):
        y = frame.y(value)
        parts.append(tag("path", d=f"M{LEFT} {y:.1f}H{right}", class_="grid"))
        parts.append(tag("text", write(value), x=LEFT - 6, y=y + 4, text_anchor="end"))
    for value in ticks(frame.x0, frame.x1, 6, whole=True):
        parts.append(tag("text", f"{value:g}", x=frame.x(value), y=bottom + 15, text_anchor="middle"))
    parts.append(tag("text", x_name, x=right, y=HEIGHT - 3, text_anchor="end", class_="axis"))
    return parts


def _line(frame: Frame, series: Series) -> Markup:
    """A series: lines, interval bars, and markers if they fit.

    Lines have gaps where points are missing.
    """
    points = thin(series.points)
    at = [[(frame.x(x), frame.y(y)) for x, y in piece] for piece in (pieces(points) if series.gaps else [points])]
    d = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in piece) for piece in at if len(piece) > 1)
    parts = [tag("path", d=d, class_="line")] if d else []
    for x, low, high in series.intervals:
        parts.append(tag("path", d=f"M{frame.x(x):.1f} {frame.y(low):.1f}V{frame.y(high):.1f}", class_="interval"))
    few = len(points) <= MOST_MARKERS
    parts += [_marker(series.style, x, y) for piece in at for x, y in (piece if few or len(piece) == 1 else piece[-1:])]
    return tag("g", *parts, class_=f"s{series.style % STYLES}")


def _marker(style: int, x: float, y: float) -> Markup:
    """The marker of a style around (x, y).

    It is a circle, square, triangle or diamond.
    """
    shapes = ("m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z", "m-3 -3h6v6h-6z", "m0 -4l4 7h-8z", "m0 -4l4 4l-4 4l-4 -4z")
    return tag("path", d=f"M{x:.1f} {y:.1f}{shapes[style % 4]}", class_="mark")


def _swatch(style: int) -> Markup:
    line = tag("path", d="M1 7H29", class_="line")
    return tag(
        "svg",
        tag("g", line, _marker(style, 15, 7), class_=f"s{style % STYLES}"),
        viewBox="0 0 30 14",
        width=30,
        height=14,
        aria_hidden="true",
    )


def _patch(style: int) -> Markup:
    patch = tag("rect", x=1, y=1, width=20, height=12, fill=f"url(#t{style})", class_="share")
    return tag("svg", patch, viewBox="0 0 22 14", width=22, height=14, aria_hidden="true")


def _key(swatch: Markup, name: str, last: str) -> Markup:
    return tag("li", swatch, " ", name, " ", tag("b", last))


def _figure(title: str, unit: str, body: list, keys: list, label: str, table: Mapping[str, Any]) -> Markup:
    svg = tag(
        "svg",
        *body,
        tag("path", class_="cursor", d="M0 0"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=label,
    )
    return tag(
        "figure",
        tag("h3", title, " ", tag("small", unit)),
        svg,
        tag("figcaption", tag("ul", *keys, class_="keys")),
        class_="chart",
        data_chart=json.dumps(table, separators=(",", ":")),
    )


def _headroom(ys: Sequence[float]) -> float:
    """The top of a y axis that starts at 0 or below.

    It is the next tick above the largest value.
    """
    low, high = min(0.0, *ys), max(ys)
    if high <= low:
        return low + 1.0
    marks = ticks(low, high, 4)
    step = marks[1] - marks[0] if len(marks) > 1 else high - low
    return low + step * math.ceil((1.02 * high - low) / step) if low == 0 else marks[-1] + step


def _rest(shares: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(value for name, value in shares.items() if name not in names)


def _means(points: Sequence[Sequence[float]], size: int) -> list[tuple[float, ...]]:
    """Column means over runs of `size` points.

    X is the middle of the run.
    """
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        ((group[0][0] + group[-1][0]) / 2, *(sum(values) / len(group) for values in list(zip(*group))[1:]))
        for group in groups
    ]


def _bucket(rows: Sequence[Sequence[float]], most: int) -> Sequence[Sequence[float]]:
    size = -(-len(rows) // most)
    return _means(rows, size) if size > 1 else rows


def _column(points: Points, order: Mapping[float, int]) -> list[float | None]:
    column: list[float | None] = [None] * len(order)
    for x, y in points:
        column[order[x]] = _brief(y)
    return column


def _brief(value: float) -> float:
    return float(f"{value:.3g}")
