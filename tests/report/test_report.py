"""The page of a run: whole, well formed, self-contained, deaf to what models write, and content with what is there."""

import html
import html.parser
import json
import os
import re
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree

import made_up
import pytest
import runs
from etils import epath

from mxjax.command_line import running
from mxjax.errors import UserError
from mxjax.lock import only_writer
from mxjax.report import read_run, summary, write_pictures, write_report
from mxjax.report.charts import empty
from mxjax.report.episodes import choose_pairs, node_name
from mxjax.report.evaluation_pages import write_pages
from mxjax.report.html import clean, shorten, tag
from mxjax.report.pictures import picture
from mxjax.report.style import STYLE
from mxjax.report.tables import headline, run_comparisons

PAYLOAD = "</pre></style></title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x00\x1b\ud800\u202e"
VOID = {"meta", "br"}


class Page(html.parser.HTMLParser):
    """Parses a page; fails on unbalanced tags; keeps elements with attributes, and the visible text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.around = []  # the classes of the elements around each element, by its place in `elements`
        self._classes = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, name, attributes):
        self.handle_startendtag(name, attributes)
        if name not in VOID:
            self.open.append(name)
            self._classes.append((dict(attributes).get("class") or "").split())

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self.around.append(set().union(*self._classes))

    def handle_endtag(self, name):
        assert self.open and self.open[-1] == name, f"</{name}> closes {self.open[-3:]}"
        self.open.pop()
        self._classes.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data

    def count(self, name):
        return sum(element == name for element, _ in self.elements)


def report(workdir):
    """The report of a workdir, parsed, once it is known to load nothing and to run only its own script."""
    path = write_report(str(workdir))
    text = path.read_bytes().decode()
    page = Page(text)
    assert page.count("script") == page.count("style") == 1
    assert not {name for name, _ in page.elements} & {"img", "link", "iframe", "object", "a", "base", "form", "image"}
    for name, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on") and key not in ("src", "href", "xlink:href", "srcset", "action"), name
            assert key == "content" or "url(" not in (value or "") or value.startswith("url(#")
    style, script = (text.split(f"<{n}>")[1].split(f"</{n}>")[0] for n in ("style", "script"))
    assert "http" not in style + script and "@import" not in style and "url(" not in style
    assert not any(ord(c) < 32 and c not in "\n\t" for c in text)
    assert len(text) < 700_000
    return page


@pytest.fixture
def run(tmp_path):
    return made_up.write_run(tmp_path / "run")


def test_a_finished_run_shows_everything(run):
    page = report(run)
    assert page.count("figure") == 18
    for name in ("Reward by role", "Held-out accuracy", "Valid designs", "Patterns", "Calls", "Tokens", "Clip fraction",
                 "Approximate KL", "Entropy", "Gradient norm", "Groups without spread", "Sampling speed",
                 "Time per step", "Loss"):  # fmt: skip
        assert name in page.text
    assert "Nothing to draw" not in page.text and "not there yet" not in page.text.lower()
    for fact in (
        "finished",
        "mxjax train",
        "1 x cpu",
        "jax 0.10.2",
        "2 min 00 s",
        "16 min 40 s",
        "20\u00a0% → 80\u00a0%",
    ):
        assert fact in page.text
    assert "+60.0 points" in page.text


def test_the_table_has_every_row_and_its_interval(run):
    page = report(run)
    body = page.text.split("failures")[1].split("Learning")[0]
    for cell in (
        "step 0single",
        "step 0designed",
        "step 20single",
        "step 20designed",
        "70\u00a0% to 90\u00a0%",
        "error 2",
    ):
        assert cell in body
    bars = [a for name, a in page.elements if name == "rect" and a.get("class") == "ci"]
    assert [(float(bar["x"]), round(float(bar["width"]), 1)) for bar in bars][-1] == (68.4, 18.4)
    assert len(bars) == 4


def test_episodes_are_those_whose_outcome_changed(run):
    page = report(run)
    episodes = page.text.split("Episodes before and after")[1]
    assert episodes.count("gold answer") == 2
    assert "40 - 4 + 4" in episodes and "6 - 9" in episodes
    assert "12 + 7 - 3" not in episodes  # right before and after
    assert "the text holds no script" in episodes
    assert "workflow/reflection/a.2#1" in episodes and "FINAL ANSWER: \\boxed{-3}" in episodes
    assert episodes.index("workflow/vote/a#1") < episodes.index("workflow/vote/b#1") < episodes.index("vote/c#1")


def test_pairs_share_their_question():
    tree = lambda id, correct: {"question": {"id": id}, "designs": [{"executions": [{"correct": correct}]}]}
    before = [tree("a", 0.0), tree("b", 0.0), tree("c", 1.0), tree("d", 0.0)]
    after = [tree("d", 1.0), tree("c", 1.0), tree("a", 0.0), tree("x", 1.0)]
    ids = [(old["question"]["id"], new["question"]["id"]) for old, new in choose_pairs(before, after)]
    assert ids == [("d", "d"), ("a", "a")]
    assert choose_pairs(before, ()) == [(before[0], None), (before[1], None)]
    assert choose_pairs((), ()) == []


def test_what_models_write_stays_text(tmp_path):
    run = made_up.write_run(tmp_path / "run")
    question = made_up.questions()[1]
    source = (
        "from workflow import Workflow, AgentNode\nw = Workflow()\n"
        f"w.add_node(AgentNode({PAYLOAD!r}, {PAYLOAD!r}))\nw.run(question)\n"
    )
    call = {"call_id": PAYLOAD, "prompt": PAYLOAD, "reply": PAYLOAD, "tokens": 3, "finish_reason": PAYLOAD}
    outcome = {"status": "ok", "reason": PAYLOAD, "correct": 1.0, "reward": 1.4, "answer": PAYLOAD, "calls": [call]}
    tree = made_up.tree(question, source, [outcome], call=call)
    tree["question"] |= {"text": PAYLOAD, "source": PAYLOAD, "gold": PAYLOAD}
    broken = made_up.tree(made_up.questions()[2], PAYLOAD, [{**outcome, "status": PAYLOAD, "answer": ""}], PAYLOAD)
    made_up.write_jsonl(run / "episodes" / "eval_20_designed.jsonl", [tree, broken])
    row = {**made_up.eval_row(20, PAYLOAD, 0.5), "benchmark": PAYLOAD, "when": PAYLOAD, "failures": {PAYLOAD: 1}}
    with (run / "metrics.jsonl").open("a") as file:
        bad = {**made_up.rl_row(20, PAYLOAD, 20), "patterns": {PAYLOAD: 1.0}}
        file.write(json.dumps(row) + "\n" + json.dumps(bad) + "\n")
    page = report(run)
    assert page.text.count("<script>alert(1)</script>") > 15


def test_invisible_characters_become_visible():
    assert clean("a\x00b\x1bc\x7f\r\nd\te") == "a␀b␛c␡\nd\te"
    assert clean("\ud800\u202e\u200b") == "\\ud800\\u202e\\u200b"
    assert tag("p", "<&>", class_='"') == '<p class="&#34;">&lt;&amp;&gt;</p>'


def test_long_texts_are_cut_so_that_the_page_stays_small(tmp_path):
    run = made_up.write_run(tmp_path / "run", steps=400, stage_length=30, cold=2400)
    for file in (run / "episodes").iterdir():
        trees = [json.loads(line) for line in file.read_text().splitlines()]
        for tree in trees:
            for outcome in tree["designs"][0]["executions"]:
                call = {"call_id": "a#1", "prompt": "p" * 40_000, "reply": "r" * 30_000, "tokens": 8192}
                outcome["calls"] = [call] * 60
        made_up.write_jsonl(file, trees)
    page = report(run)
    assert "36 more calls are not shown" in page.text and "characters left out" in page.text
    assert shorten("x" * 10, 10) == "x" * 10 and "91 characters left out" in shorten("x" * 100, 9)


def test_a_run_that_is_going(tmp_path):
    run = made_up.write_run(tmp_path / "run", steps=20, finished=False)
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(rows[:15]) + rows[15][:40])  # a writer was interrupted
    page = report(run)
    assert "not finished" in page.text and "13 of 20 RL steps, about 5 min 50 s left" in page.text
    assert "written when the run ends" in page.text
    assert "step 0single" in page.text  # rows of the table come from the metrics meanwhile
    assert page.text.count("Not there yet.") == 2


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["episodes"], "No evaluation of designs has saved its episodes yet."),
        (["cold_start"], "No cold start is known"),
        (["metrics.jsonl", "cold_start"], "No step of reinforcement learning has been logged yet."),
        (["metrics.jsonl", "results.json"], "No system has been evaluated yet."),
        (["results.json", "config.json", "episodes", "cold_start"], "No cold start is known"),
        (["config.json"], "finished"),
    ],
)
def test_missing_pieces_are_said(run, gone, said):
    for name in gone:
        path = run / name
        path.rename(path.with_name("gone_" + name))
    assert said in report(run).text


def test_a_cold_start_alone(run):
    (run / "config.json").rename(run / "cold_start" / "config.json")
    page = report(run / "cold_start")
    assert "300 of 300 cold start steps" in page.text and "Loss" in page.text


def test_broken_files_are_missing_files(run):
    (run / "results.json").write_text('{"schema": 1, "rows": [')
    (run / "config.json").write_text("[]")
    (run / "episodes" / "eval_20_designed.jsonl").write_bytes(b'{"question": \xff\n[1]\n')
    page = report(run)
    assert "not finished" in page.text


def test_what_is_no_workdir_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no workdir"):
        write_report(str(tmp_path))
    with pytest.raises(UserError, match="no workdir"):
        write_report(str(tmp_path / "absent"))


def test_rows_of_an_evaluation_are_added(run):
    (run / "evaluation").mkdir()
    later = {**made_up.eval_row(0, "vote", 0.6), "benchmark": "gsm8k"}
    del later["when"]
    (run / "evaluation" / "results.json").write_text(json.dumps({"rows": [later]}))
    rows = read_run(run).rows
    assert len(rows) == 5 and rows[-1]["when"] == "mxjax evaluate" and rows[-1]["benchmark"] == "gsm8k"


def test_the_head_does_not_mix_benchmarks(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    other = [{**row, "benchmark": "gsm8k", "accuracy": 0.9} for row in lines if row["phase"] == "eval"]
    held_out = [{**row, "benchmark": "held_out"} for row in lines if row["phase"] == "eval"]
    rest = [row for row in lines if row["phase"] != "eval"]
    made_up.write_jsonl(run / "metrics.jsonl", [*other, *held_out, *rest])
    tiles = str(headline(read_run(run)))
    assert "designed, held out" in tiles and "20\u00a0% → 80\u00a0%" in tiles and "90\u00a0%" not in tiles


def test_links_to_episodes_hold_any_name(tmp_path):
    row = {**made_up.eval_row(0, "vote", 0.6), "episodes": "episodes/vote_jsonl_50% of #1?"}
    facts = {"command": "mxjax evaluate", "seed": 0, "device": "cpu", "versions": {}, "sandbox_level": None}
    write_pages(epath.Path(tmp_path), {"rows": [row], **facts})
    page = Page((tmp_path / "results.html").read_text())
    (link,) = [attributes["href"] for name, attributes in page.elements if name == "a"]
    assert urllib.parse.unquote(urllib.parse.urlparse(link).path) == f"{row['episodes']}.html"


def test_nothing_makes_a_page_wider_than_a_phone(run):
    """What cannot be narrow lies in a box that scrolls by itself; all text may break anywhere, and columns shrink."""
    page = report(run)
    wide = [(name, around) for (name, attributes), around in zip(page.elements, page.around)
            if name == "table" or "min-width" in attributes.get("style", "")]  # fmt: skip
    assert {name for name, _ in wide} == {"table", "svg"}  # tables, and drawings of designs
    assert all("wide" in around for _, around in wide)
    rules = [(names.strip(), does) for names, does in re.findall(r"([^{}]+)\{([^{}]*)\}", STYLE)]
    of = lambda name: "".join(does for names, does in rules if name in map(str.strip, names.split(",")))
    assert "overflow-wrap: anywhere" in of("body") and "overflow-x: auto" in of(".wide")
    assert "white-space: pre-wrap" in of("pre") and "white-space: pre-wrap" in of("code")
    stays = re.compile(r"white-space: (nowrap|pre)\b(?!-)|overflow-wrap: normal")
    unbroken = {names for names, does in rules if stays.search(does)}
    assert unbroken == {"th, td", ".badge"}  # the cells of tables, and "✓ correct, reward 1"
    narrow = STYLE.split("@media (max-width: 760px)")[1]
    columns = re.findall(r"grid-template-columns: ([^;}]+)", narrow)
    assert len(columns) == 4 and all("minmax(0, 1fr)" in column for column in columns)


def test_the_command_line_is_shown_whole(run):
    (shown,) = re.findall(r"<code>(.*)</code>", (write_report(run)).read_text())
    assert html.unescape(re.sub("</?span>", "", shown)).rstrip(" ") == made_up.COMMAND
    assert summary(read_run(run)).splitlines()[0] == f"command: {made_up.COMMAND}"
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(results | {"command": "train"}))  # as older runs name it
    assert read_run(run).command == "mxjax train"
    (run / "results.json").unlink()
    assert read_run(run).command == ""
    with running(["train", "--config", "a b.py"]), only_writer(run):  # a run that is going
        assert read_run(run).command == "mxjax train --config 'a b.py'"
    for line in ("mxjax evaluate --output '*a*_b_'", "a `b` ``c"):
        facts = {"command": line, "seed": 0, "device": "cpu", "versions": {}, "sandbox_level": None}
        write_pages(epath.Path(run), {"rows": [], **facts})
        (found,) = re.findall(r"- command: (`+) ?(.*?) ?\1\n", (run / "results.md").read_text())
        assert found[1] == line


def test_controls_are_compared_question_by_question(run):
    for name, accuracy in (("continued", 0.5), ("unfinished", None)):
        folder = run / name / "evaluation"
        folder.mkdir(parents=True)
        row = made_up.eval_row(0, "designed", accuracy) if accuracy else {"system": "designed"}
        (folder / "results.json").write_text(json.dumps({"rows": [row]}))
    (run / "continued" / "results.json").write_text(json.dumps({"phases_s": {"cold_start": 61.0}}))
    read = read_run(run)
    assert list(read.controls) == ["continued"] and read.rows[-1]["when"] == "continued"
    last = read.evals[-1]["when"]
    found = dict(run_comparisons(read))
    assert found[f"designed, {last}, against designed, step 0 (validation)"].startswith("+60.0 points")
    assert found[f"designed, {last}, against single, {last} (validation)"].startswith("+40.0 points")
    assert found[f"designed, {last}, against designed, continued (validation)"].startswith("+30.0 points")
    assert len(found) == 3
    text = summary(read)
    assert "patterns, continued: single 100%" in text and "continued, cold start 1 min 01 s" in text
    assert "against designed, continued" in report(run).text


def test_pictures_are_whole_documents_that_load_nothing(run, tmp_path):
    paths = write_pictures(str(run), tmp_path / "pictures")
    assert [path.name for path in paths] == ["learning_curve.svg", "design.svg"]
    texts = []
    for path in paths:
        root = xml.etree.ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not root.findall(".//{http://www.w3.org/1999/xhtml}svg"), "drawings within are SVG, not HTML"
        assert not [value for e in root.iter() for value in e.attrib.values() if "http" in value]
        texts.append(" ".join(root.itertext()))
    assert "Held-out accuracy" in texts[0] and "designed" in texts[0]
    assert "question" in texts[1] and "answer" in texts[1]


def test_a_run_without_evaluated_designs_has_no_pictures(tmp_path):
    unfinished = made_up.write_run(tmp_path / "unfinished", finished=False)
    with pytest.raises(UserError, match="no evaluation of designs"):
        write_pictures(str(unfinished), tmp_path / "pictures")


def test_a_chart_with_nothing_in_it_has_no_picture():
    with pytest.raises(UserError, match="nothing to draw"):
        picture(empty("Held-out accuracy", "No evaluation yet."))


def test_a_run_whose_evaluations_are_lost_has_no_pictures(tmp_path):
    run = made_up.write_run(tmp_path / "cut")
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if json.loads(line)["phase"] != "eval"]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="nothing to draw"):
        write_pictures(str(run), tmp_path / "pictures")


def test_it_needs_no_device(run):
    """A report is made while the run holds the accelerator: a platform that does not exist must not matter."""
    code = f"from mxjax.report import write_report; print(write_report({str(run)!r}))"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "JAX_PLATFORMS": "none_such"}, text=True,
                          capture_output=True, cwd=runs.ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "report.html")


def test_a_real_run():
    folder = runs.tiny_run()
    page = report(folder)
    assert "finished" in page.text and "2 RL steps" in page.text
    assert page.count("article") == 2
    assert "step 2single" in page.text and "step 2designed" in page.text
    assert "Loss" in page.text  # of its cold start
    assert "cold start steps" in report(folder / "cold_start").text


def test_node_names():
    assert node_name("workflow/reflection/a.2#1") == "a" and node_name("design") == "design"
