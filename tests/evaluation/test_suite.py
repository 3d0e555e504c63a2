"""Evaluations as a user starts them: every system in one table, pages with whole episodes, a kill in the middle."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import runs
from models.test_io import LLAMA, make_policy, write_gguf
from rollout.scripted import TOKENIZER, ScriptedEngine

from mxjax import checkpoint, cli
from mxjax.data.identity import statement_key
from mxjax.data.pools import question_pools
from mxjax.errors import UserError
from mxjax.evaluation import fixed_script
from mxjax.evaluation.suite import Suite
from mxjax.evaluation.systems import SOLVER_TEXT
from mxjax.files import read_rows
from mxjax.mas import check
from mxjax.models import save_hf
from mxjax.rewards import grader_versions, make_reward
from mxjax.rollout import Question, Reward, Role
from mxjax.serving import checkpoint_config
from mxjax.workdir import Workdir

COMMON = ("--benchmark", "held_out", "--limit", "4", "--quiet")  # as many as the tiny run holds out


def rows_of(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def timeless(rows):
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


@pytest.fixture(scope="module")
def workdir():
    return str(runs.tiny_run())


def evaluate(workdir, output, *flags):
    assert cli.main(["evaluate", "--checkpoint", str(workdir), "--output", str(output), *COMMON, *flags]) == 0


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


def test_rows_and_questions_of_other_settings_are_not_kept(workdir, tmp_path, capsys):
    evaluate(workdir, tmp_path, "--system", "single")
    first = (tmp_path / "episodes" / "single_held_out.jsonl").read_text()
    evaluate(workdir, tmp_path, "--system", "single", "--temperature", "0.5", "--resume")
    second = (tmp_path / "episodes" / "single_held_out.jsonl").read_text()
    settings = lambda text: {json.loads(line)["settings"] for line in text.splitlines()}
    assert not settings(first) & settings(second) and len(rows_of(tmp_path)) == 1
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["grading"]["graders"] == grader_versions() and results["grading"]["sandbox_level"] is None
    (tmp_path / "results.json").unlink()
    evaluate(workdir, tmp_path, "--system", "single", "--temperature", "0.5", "--resume")
    assert (tmp_path / "episodes" / "single_held_out.jsonl").read_text() == second
    results["grading"]["graders"]["sympy"] = "0.1"
    (tmp_path / "results.json").write_text(json.dumps(results))
    again = ["evaluate", "--checkpoint", workdir, "--output", str(tmp_path), *COMMON, "--system", "single"]
    assert cli.main([*again, "--temperature", "0.5", "--resume"]) == 2
    assert "results.json was graded in another way: sympy was 0.1 and is now" in capsys.readouterr().err


QUESTIONS = [Question(f"q{i}", f"{i} + 1", gold=str(i + 1)) for i in range(4)]
CODE = Question("f", "Write f.", "code", gold="f", tests=[{"args": [1], "expected": 2}])


def scripted(folder, reply=lambda prompt, request: "FINAL ANSWER: 2", reward=None, resume=False, level=None, **roles):
    """A suite whose engine replies what a test writes, and that engine."""
    engine = ScriptedEngine(reply)
    grading = SimpleNamespace(reward=reward or make_reward(), tools={}, record={"sandbox_level": level})
    roles = {"designer": Role(engine), "executor": Role(engine), **roles}
    return Suite(Workdir(folder), roles, grading, {}, None, SOLVER_TEXT, 0, resume), engine


def test_questions_that_the_machine_lost_are_asked_again(tmp_path):
    lost = lambda question, result, segments: Reward(0.0, 0.0, question.id != "q2", how="infrastructure: gone")
    first, engine = scripted(tmp_path, reward=lost)
    assert first.run("single", "sums", QUESTIONS).row["failures"] == {"infrastructure": 1}
    again, engine = scripted(tmp_path, resume=True)
    row = again.run("single", "sums", QUESTIONS).row
    assert len(engine.requests) == 1 and row["failures"] == {} and row["n"] == 4
    assert len(read_rows(tmp_path / "episodes" / "single_sums.jsonl")) == 4


def test_questions_that_were_graded_in_another_way_are_refused(tmp_path):
    scripted(tmp_path, level="A")[0].run("single", "sums", QUESTIONS)
    other, engine = scripted(tmp_path, resume=True, level=None)
    says = r"single_sums\.jsonl was graded in another way: the sandbox level was A and is now none; bring that back, or"
    with pytest.raises(UserError, match=says):
        other.run("single", "sums", QUESTIONS)
    assert not engine.requests and len(read_rows(tmp_path / "episodes" / "single_sums.jsonl")) == 4
    scripted(tmp_path, level=None)[0].run("single", "sums", QUESTIONS)  # a new evaluation


def test_questions_with_other_tests_are_asked_again(tmp_path):
    reward = make_reward(verify=lambda question, answer: True)
    for tests, asked in ((CODE.tests, 1), (CODE.tests, 0), ([{"args": [1], "expected": 3}], 1)):
        suite, engine = scripted(tmp_path, reward=reward, resume=True)
        suite.run("single", "code", [Question("f", "Write f.", "code", gold="f", tests=tests)])
        assert len(engine.requests) == asked
    assert "expected" not in (tmp_path / "episodes" / "single_code.jsonl").read_text()


class Loud:
    """A tokenizer with the ids of another one and texts of its own."""

    def __getattr__(self, name):
        return getattr(TOKENIZER, name)

    def decode(self, ids, **options):
        return TOKENIZER.decode(ids, **options).upper()


def test_episodes_of_another_executor_read_as_its_own_tokenizer_says(tmp_path):
    other = ScriptedEngine(lambda prompt, request: "the answer is \\boxed{2}", tokenizer=Loud())
    reply = lambda prompt, request: f"<code>{fixed_script('single')}</code>"
    suite, _ = scripted(tmp_path, reply, frozen_executor=Role(other))
    suite.run("frozen_executor", "sums", QUESTIONS[:1])
    ((design,),) = [line["designs"] for line in read_rows(tmp_path / "episodes" / "frozen_executor_sums.jsonl")]
    assert "from workflow import" in design["call"]["reply"]
    assert "THE ANSWER IS" in design["executions"][0]["calls"][0]["reply"]


def test_a_benchmark_with_a_long_name_has_files(tmp_path):
    suite, _ = scripted(tmp_path)
    suite.run("single", f"validation_jsonl:/{'deep/' * 60}own.jsonl", QUESTIONS[:1], script="")
    assert len(list((tmp_path / "episodes").glob("single_*own.jsonl.jsonl"))) == 1


def test_other_questions_are_other_rows(workdir, tmp_path):
    """A file that has changed since, and another limit of the validation."""
    file = tmp_path / "own.jsonl"
    line = lambda *numbers: "".join(f'{{"question": "{n} + 1", "answer": {n + 1}}}\n' for n in numbers)
    asked = ("--benchmark", f"jsonl:{file}", "--system", "single", "--resume")
    kept = []
    for text in (line(1001, 1002), line(1001, 1002), line(1001, 1003)):  # larger than what was trained on
        file.write_text(text)
        evaluate(workdir, tmp_path / "out", *asked)
        (row,) = rows_of(tmp_path / "out")
        kept.append((row["questions"], row["seconds"]))
    assert kept[0] == kept[1] and kept[1][0] != kept[2][0]


def test_the_best_design_is_chosen_once_on_held_out_questions(workdir, tmp_path, monkeypatch):
    files, asked, choose = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], [], Suite.choose_fixed
    for file in files:
        file.write_text('{"question": "What is 2000 + 2?", "answer": 2002, "id": "a"}\n' * 2)
    monkeypatch.setattr(Suite, "choose_fixed", lambda self, *given: asked.append(given[0]) or choose(self, *given))
    flags = ("--benchmark", ",".join(f"jsonl:{file}" for file in files), "--system", "best_fixed")
    evaluate(workdir, tmp_path / "out", *flags, "--validation", "held_out", "--validation_limit", "1")
    rows = rows_of(tmp_path / "out")
    assert asked == ["held_out"] and [row["chosen"]["validation"] for row in rows] == ["held_out"] * 2
    assert all(row["n"] == 1 and row["step"] == 2 for row in rows)


def test_questions_that_were_trained_on_are_refused_or_marked(workdir, tmp_path, capsys):
    """Also those of the cold start, and those of the other executor."""
    first = lambda source: json.loads((pathlib.Path(source) / "trained_on.json").read_text())["texts"]
    own, cold_start = question_pools(checkpoint_config(workdir)), f"{workdir}/cold_start"
    assert set(first(workdir)) == {statement_key(question.text) for question in own.train} > set(first(cold_start))
    assert 0 < len(first(cold_start)) <= checkpoint_config(cold_start).sft.questions
    file = tmp_path / "own.jsonl"
    rows = [(own.train[7].text.upper(), own.train[7].gold), (own.held_out[0].text, own.held_out[0].gold)]
    file.write_text("".join(json.dumps({"question": text, "answer": gold}) + "\n" for text, gold in rows))
    for source, others in ((workdir, ()), ("random:tiny", ("--executor", workdir))):
        asked = ["evaluate", "--checkpoint", source, "--output", str(tmp_path), "--benchmark", f"jsonl:{file}"]
        asked += ["--system", "single", "--max_tokens", "4", "--quiet", *others]
        assert cli.main(asked) == 2
        assert f"1 of 2 questions of jsonl:{file} are among those that {workdir} was" in capsys.readouterr().err
        assert cli.main([*asked, "--allow_overlap"]) == 0
        (row,) = rows_of(tmp_path)
        assert row["when"] == "1 of 2 trained on" and "1 of 2 trained on" in capsys.readouterr().out


def test_the_newest_sound_step_is_evaluated_and_verified_once(workdir, tmp_path, monkeypatch, capsys):
    digests, verified = checkpoint._digests, []
    monkeypatch.setattr(checkpoint, "_digests", lambda path, items: verified.append(path.name) or digests(path, items))
    copy = shutil.copytree(workdir, tmp_path / "run")
    for step in (None, "1"):
        evaluate(copy, tmp_path / "out", "--system", "single", "--max_tokens", "4", *(("--step", step) if step else ()))
        assert rows_of(tmp_path / "out")[0]["step"] == int(step or 2)
    assert verified == ["2", "1"]
    largest = max((file for file in (copy / "checkpoints" / "2").rglob("*") if file.is_file()), key=os.path.getsize)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    evaluate(copy, tmp_path / "out", "--system", "single", "--max_tokens", "4")
    assert rows_of(tmp_path / "out")[0]["step"] == 1 and verified[2:] == ["2", "1"]
    asked = ["evaluate", "--checkpoint", str(copy), "--output", str(tmp_path), *COMMON, "--step", "2"]
    assert cli.main(asked) == 2 and "has no step 2; finished steps: 1" in capsys.readouterr().err


def test_every_form_of_checkpoint_gives_the_same_answers(tmp_path):
    """One policy as a Hugging Face directory, as a GGUF file and as a workdir."""
    policy = make_policy(LLAMA)
    save_hf(policy, tmp_path / "hf")
    write_gguf(tmp_path / "model.gguf", policy)
    assert cli.main(["convert", str(tmp_path / "hf"), str(tmp_path / "orbax")]) == 0
    flags = ["--benchmark", "svamp", "--limit", "2", "--system", "single,designed", "--greedy", "--quiet"]
    flags += ["--prompt", "short", "--max_tokens", "6", "--max_len", "1024", "--slots", "4"]
    answers = []
    for source in ("hf", "model.gguf", "orbax"):
        output = tmp_path / f"{source}_out"
        assert cli.main(["evaluate", "--checkpoint", str(tmp_path / source), "--output", str(output), *flags]) == 0
        rows = rows_of(output)
        assert [(row["system"], row["n"], row["benchmark"]) for row in rows] == [
            ("single", 2, "svamp:sample"), ("designed", 2, "svamp:sample"),
        ]  # fmt: skip
        lines = [line for row in rows for line in read_rows(output / f"{row['episodes']}.jsonl")]
        calls = [design["call"] or design["executions"][0]["calls"][0] for line in lines for design in line["designs"]]
        answers.append([call["token_ids"] for call in calls])
    assert answers[0] == answers[1] == answers[2] and all(answers[0])


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
    assert "single and designed" in fails("--system", "single,vote@matched,designed", "--limit", "2")
    assert "--benchmark held_out is for the workdir of a run" in fails("--checkpoint", "random:tiny")
    twice = tmp_path / "twice.jsonl"
    twice.write_text('{"question": "1 + 1", "answer": 2, "id": 7}\n{"question": "1 + 2", "answer": 3, "id": 7}\n')
    assert "the id '7'" in fails("--benchmark", f"jsonl:{twice}")
