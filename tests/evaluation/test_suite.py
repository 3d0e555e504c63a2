"""Evaluations as a user starts them: every system in one table, pages with whole episodes, a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import runs

from mxjax import cli
from mxjax.mas import check

COMMON = ("--benchmark", "held_out", "--limit", "4", "--quiet")  # as many as the tiny run holds out


def rows_of(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def timeless(rows):
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


@pytest.fixture(scope="module")
def workdir():
    return str(runs.tiny_run())


def evaluate(workdir, output, *flags):
    assert cli.main(["evaluate", "--checkpoint", workdir, "--output", str(output), *COMMON, *flags]) == 0


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(workdir, tmp_path):
    flags = ("--system", "vote,single", "--samples", "4", "--slots", "2")
    command = [sys.executable, "-m", "mxjax", "evaluate", "--checkpoint", workdir, *COMMON, *flags]
    killed = subprocess.Popen(
        [*command, "--output", str(tmp_path / "killed")], cwd=runs.ROOT, env={**os.environ, "XLA_FLAGS": ""}
    )
    journal = tmp_path / "killed" / "episodes" / "vote_held_out.jsonl"
    deadline = time.monotonic() + 300
    while not journal.exists() or journal.read_text().count("\n") < 1:
        assert killed.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = journal.read_bytes().splitlines(keepends=True)
    before = [line for line in before if line.endswith(b"\n")]
    assert 1 <= len(before) < 4 and not (tmp_path / "killed" / "results.json").exists()
    with journal.open("a") as file:
        file.write('{"question": {"id"')  # as a kill in the middle of a line leaves it
    runs.mxjax(*command[3:], "--output", tmp_path / "killed", "--resume")
    runs.mxjax(*command[3:], "--output", tmp_path / "whole")
    assert timeless(rows_of(tmp_path / "killed")) == timeless(rows_of(tmp_path / "whole"))
    after = journal.read_bytes().splitlines(keepends=True)
    assert after[: len(before)] == before and len(after) == 4
    replies = lambda folder: {
        line["question"]["id"]: line["designs"]
        for line in map(json.loads, (folder / "episodes" / "vote_held_out.jsonl").read_text().splitlines())
    }
    assert replies(tmp_path / "killed") == replies(tmp_path / "whole")


def test_all_systems_come_into_one_table_with_whole_episodes(workdir, tmp_path, capsys):
    evaluate(workdir, tmp_path, "--system", "all", "--executor", workdir, "--validation_limit", "3", "--samples", "2")
    rows = rows_of(tmp_path)
    assert [row["system"].partition("@")[0] for row in rows] == [
        "single", "vote", "reflection", "debate", "random_design", "best_fixed", "designed", "frozen_executor",
        "self_consistency",
    ]  # fmt: skip
    assert all(row["n"] == 4 and row["samples"] == 2 and "2" in row["pass_at"] for row in rows)
    chosen = next(row["chosen"] for row in rows if row["system"] == "best_fixed")
    assert check(chosen["script"]) and len(chosen["candidates"]) >= 4 and chosen["validation"] == "train"
    by_name = {candidate["name"]: candidate for candidate in chosen["candidates"]}
    assert by_name[chosen["name"]]["accuracy"] == max(each["accuracy"] for each in by_name.values())
    printed = capsys.readouterr().out
    assert "designed against random_design (held_out)" in printed
    text = (tmp_path / "results.md").read_text()
    assert all(f"| {row['system']} |" in text for row in rows) and "pass@2" in text and "--system all" in text
    page = (tmp_path / "results.html").read_text()
    for row in rows:
        assert f'href="{row["episodes"]}.html"' in page
        episodes = (tmp_path / f"{row['episodes']}.html").read_text()
        lines = (tmp_path / f"{row['episodes']}.jsonl").read_text().splitlines()
        assert episodes.count('<details class="episode"') == len(lines) == 4


def test_rows_and_questions_of_other_settings_are_not_kept(workdir, tmp_path):
    evaluate(workdir, tmp_path, "--system", "single")
    first = (tmp_path / "episodes" / "single_held_out.jsonl").read_text()
    evaluate(workdir, tmp_path, "--system", "single", "--temperature", "0.5", "--resume")
    second = (tmp_path / "episodes" / "single_held_out.jsonl").read_text()
    settings = lambda text: {json.loads(line)["settings"] for line in text.splitlines()}
    assert not settings(first) & settings(second) and len(rows_of(tmp_path)) == 1
    (tmp_path / "results.json").unlink()
    evaluate(workdir, tmp_path, "--system", "single", "--temperature", "0.5", "--resume")
    assert (tmp_path / "episodes" / "single_held_out.jsonl").read_text() == second


def test_mistakes_are_one_sentence(workdir, tmp_path, capsys):
    def fails(*flags):
        command = ["evaluate", "--checkpoint", workdir, "--benchmark", "held_out", "--output", str(tmp_path), *flags]
        assert cli.main(command) == 2
        return capsys.readouterr().err

    assert "--executor" in fails("--system", "frozen_executor")
    assert "--slots" in fails("--slots", "0")
    assert "temperature" in fails("--temperature", "-1")
    assert "--validation_limit" in fails("--validation_limit", "0")
    assert "gsm8k" in fails("--benchmark", "gsm8k", "--system", "best_fixed", "--validation", "gsm8k")
    assert "single and designed" in fails("--system", "vote@matched", "--limit", "2")
