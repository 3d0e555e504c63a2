"""Charts draw the data they are given: points inside the plot and in order, stages where they were, gaps kept."""

import json
import re

import pytest

from mxjax.report import charts
from mxjax.report.charts import Frame, Series, Stage, line_chart, pieces, share_chart, thin
from mxjax.report.curves import stage_table, stages_of
from mxjax.report.number_format import duration, number, percent, ticks

PLOT_LEFT, PLOT_RIGHT = charts.LEFT, charts.WIDTH - charts.RIGHT
PLOT_TOP, PLOT_BOTTOM = charts.TOP, charts.HEIGHT - charts.BOTTOM


def lines(figure):
    """The polylines of a figure: one list of (x, y) for each piece of each line."""
    paths = re.findall(r'<path d="([^"]*)" class="line"', str(figure).split("<figcaption>")[0])
    return [[tuple(map(float, p.split())) for p in piece.split("L")] for d in paths for piece in d.split("M")[1:]]


def table(figure):
    """The values that the page's script shows."""
    return json.loads(re.search(r'data-chart="([^"]*)"', figure)[1].replace("&#34;", '"'))


def test_points_lie_where_the_axes_say():
    (piece,) = lines(line_chart("t", "u", [Series("a", [(0, 0.0), (1, 5.0), (2, 10.0)], 0)], top=10.0))
    xs, ys = zip(*piece)
    assert ys == (PLOT_BOTTOM, (PLOT_BOTTOM + PLOT_TOP) / 2, PLOT_TOP)
    width = PLOT_RIGHT - PLOT_LEFT  # three steps of a third each; a point stands in the middle of its step
    assert xs == pytest.approx([PLOT_LEFT + width * k / 6 for k in (1, 3, 5)], abs=0.06)


@pytest.mark.parametrize("values", [[0, 0, 0], [1e-13, 3e-13], [5.0], [-2.0, 3.0], [29.97, 29.99], [1e9, 1.0]])
def test_every_point_is_inside_the_plot(values):
    figure = line_chart("t", "u", [Series("a", list(enumerate(values)), 0)])
    marks = re.findall(r'<path d="M([\d.]+) ([\d.]+)m', str(figure).split("<figcaption>")[0])
    assert len(marks) == len(values)
    for x, y in marks:
        assert PLOT_LEFT <= float(x) <= PLOT_RIGHT and PLOT_TOP <= float(y) <= PLOT_BOTTOM
    assert "nan" not in figure


def test_a_line_stops_where_the_other_role_was_trained_and_where_numbers_are_missing():
    points = [(0, 1.0), (1, 2.0), (2, 3.0), (6, 1.0), (7, 2.0)]
    assert [[x for x, _ in piece] for piece in pieces(points)] == [[0, 1, 2], [6, 7]]
    assert [len(piece) for piece in lines(line_chart("t", "u", [Series("a", points, 0)]))] == [3, 2]
    assert len(lines(line_chart("t", "u", [Series("a", points, 0, gaps=False)]))) == 1
    holes = [(0, 1.0), (1, None), (2, float("nan")), (3, 4.0), (4, 5.0)]
    assert table(line_chart("t", "u", [Series("a", holes, 0)]))["series"] == [["a", [1.0, 4.0, 5.0]]]


def test_stages_are_shaded_over_exactly_their_steps():
    stages = [Stage(0, 4, "executor"), Stage(5, 9, "designer")]
    figure = str(line_chart("t", "u", [Series("a", [(x, 1.0) for x in range(10)], 0)], stages))
    shades = re.findall(r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)" height="\d+" class="stage (\w+)"', figure)
    middle = (PLOT_LEFT + PLOT_RIGHT) / 2
    assert [(float(x), float(width), role) for x, width, role in shades] == [
        (PLOT_LEFT, middle - PLOT_LEFT, "executor"), (middle, PLOT_RIGHT - middle, "designer")]  # fmt: skip
    assert ">executor</text>" in figure and ">designer</text>" in figure


def test_stages_are_read_from_the_rows():
    row = lambda step, stage: {"step": step, "stage": stage, "designer_zero_spread": step / 10, "step_s": 2.0}
    rows = [row(0, "executor"), row(1, "executor"), row(2, "designer"), row(3, "executor"), row(4, "")]
    assert stages_of(rows) == [Stage(0, 1, "executor"), Stage(2, 2, "designer"), Stage(3, 3, "executor")]
    cells = re.findall(r'data-label="no spread, designer">([^<]*)<', stage_table(rows))
    assert cells == ["5\u00a0%", "20\u00a0%", "30\u00a0%"]
    assert not stage_table([])


def test_a_chart_names_its_unit_legend_and_last_values():
    figure = line_chart("Reward", "points", [Series("a", [(0, 1.0), (1, 2.5)], 0), Series("b", [(0, 3.0)], 1)])
    assert "<h3>Reward <small>points</small></h3>" in figure
    assert 'aria-label="Reward, points. Last values: a 2.5, b 3"' in figure
    assert "a <b>2.5</b>" in figure and "b <b>3</b>" in figure
    assert "RL step" in figure and table(figure)["at"] == ["RL step 0", "RL step 1"]
    named = line_chart("t", "u", [Series("a", [(-0.5, 1.0)], 0)], name_x=lambda x: f"after {x + 0.5:g} steps")
    assert table(named)["at"] == ["after 0 steps"]


def test_series_differ_without_colour():
    from mxjax.report.style import STYLE

    dashes = re.findall(r"\.s\d \.line \{ stroke-dasharray: ([^;]*);", STYLE)
    assert len(dashes) == len(set(dashes)) == 5  # styles 0, 2 and 4 are solid: circle, triangle, circle
    marks = {str(charts._marker(style, 0, 0)) for style in range(charts.STYLES)}
    assert len(marks) == 4


def test_shares_fill_the_plot_and_rare_names_are_pooled():
    rows = [(0, {"a": 0.75, "b": 0.25}), (1, {"a": 0.5, "c": 0.5})]
    figure = str(share_chart("t", rows)).split("<figcaption>")[0]
    bars = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)V", figure)
    area = sum((float(right) - float(left)) * (float(low) - float(high)) for left, low, high, right in bars)
    assert area == pytest.approx((PLOT_RIGHT - PLOT_LEFT) * (PLOT_BOTTOM - PLOT_TOP), rel=0.01)
    many = share_chart("t", [(0, {f"name{n}": 0.1 for n in range(10)})])
    assert [name for name, _ in table(many)["series"]][-1] == "other"
    assert dict(table(many)["series"])["other"] == [0.3]


def test_long_runs_are_thinned_without_moving_the_mean():
    points = [(step, step % 7) for step in range(2400)]
    short = thin(points)
    assert len(short) <= charts.MOST_POINTS
    assert sum(y for _, y in short) / len(short) == pytest.approx(sum(y for _, y in points) / 2400)
    assert thin(points[:50]) == points[:50]


def test_nothing_to_draw_is_said():
    assert "Nothing to draw yet" in line_chart("t", "u", [Series("a", [(0, None)], 0)])
    assert "Nothing to draw yet" in share_chart("t", [(0, {})])


def test_ticks_are_round_and_inside():
    assert ticks(0, 1, 4) == [0, 0.5, 1]
    assert ticks(-0.5, 19.5, 6, whole=True) == [0, 5, 10, 15]
    assert ticks(-0.5, 1.5, 6, whole=True) == [0, 1]
    assert ticks(3, 3) == [3]


def test_numbers_are_written_short():
    assert [number(v) for v in (0, 0.01234, 12.34, 1234.5, 2.1e-13, 100, None)] == [
        "0", "0.0123", "12.3", "1,234", "2.1e-13", "100", "–"]  # fmt: skip
    assert [percent(v) for v in (1.0, 0.4883, 0.0005, None)] == ["100\u00a0%", "48.8\u00a0%", "0.05\u00a0%", "–"]
    assert [duration(v) for v in (0.44, 12, 185, 7620)] == ["0.4 s", "12 s", "3 min 05 s", "2 h 07 min"]


def test_a_frame_maps_its_corners():
    frame = Frame(0, 10, 0, 1)
    assert (frame.x(0), frame.x(10), frame.y(0), frame.y(1)) == (PLOT_LEFT, PLOT_RIGHT, PLOT_BOTTOM, PLOT_TOP)
