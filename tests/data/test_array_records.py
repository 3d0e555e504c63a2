"""Questions in array_record files: nothing is lost, a sample reads only its own records, TensorFlow is never loaded."""

import json
import os
import subprocess
import sys

import pytest
from support import optional

from mxjax import cli
from mxjax.data import array_records, load_benchmark, load_questions, rows
from mxjax.rollout.records import Question

CALLS = [{"args": [[1], "a"], "expected": {"é": 2}, "public": True}]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """(spec, questions) of a packed set of mathematics and code."""
    optional("array_record")
    optional("grain")
    questions = [Question(f"q{i}", f"What about {i}?", gold=str(i)) for i in range(60)]
    questions.append(Question("c", "Write f ∈ F.", "code", "f", CALLS))
    return array_records.write(questions, tmp_path_factory.mktemp("packed") / "new"), questions


def test_nothing_is_lost(packed):
    spec, questions = packed
    found = load_questions(spec)
    assert [(q.id, q.text, q.task_type, q.gold, q.tests) for q in found] == [
        (q.id, q.text, q.task_type, q.gold, q.tests) for q in questions
    ]
    assert {q.source for q in found} == {spec} and load_benchmark(spec)[0].split == "test"


def test_a_sample_is_seeded_and_reads_only_its_own_records(packed, monkeypatch):
    spec, _ = packed
    read = []
    row = array_records._row
    monkeypatch.setattr(array_records, "_row", lambda record: read.append(1) or row(record))
    some = load_questions(spec, seed=3, size=7)
    assert len(read) == 7 == len({question.id for question in some})
    assert some == load_questions(spec, seed=3, size=7) != load_questions(spec, seed=4, size=7)
    read.clear()
    benchmark = load_benchmark(spec, limit=5, seed=2)
    assert len(read) == 5 and benchmark == rows.sample(load_benchmark(spec), 5, 2)
    texts = [question.text for question in some]
    assert not {q.text for q in load_questions(spec, seed=3, size=7, exclude_texts=texts)} & set(texts)


def test_tensorflow_is_never_loaded(packed, tmp_path):
    program = (
        "import sys\n"
        "from mxjax.data import array_records, load_questions\n"
        f"found = load_questions({packed[0]!r}, size=5)\n"
        f"spec = array_records.write(found, {str(tmp_path / 'new')!r})\n"
        "print(len(load_questions(spec)), 'tensorflow' in sys.modules)"
    )
    (tmp_path / "path" / "tensorflow").mkdir(parents=True)
    (tmp_path / "path" / "tensorflow" / "__init__.py").write_text("raise AssertionError('TensorFlow was imported')")
    path = os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert out.stdout.split() == ["5", "False"], out.stderr


def test_the_command(tmp_path, capsys):
    optional("array_record")
    source = tmp_path / "q.jsonl"
    source.write_text("".join(json.dumps({"question": f"{i} + 1", "answer": i + 1}) + "\n" for i in range(9)))
    arguments = ["data", "pack", f"jsonl:{source}", "--output", str(tmp_path / "packed")]
    assert cli.main(arguments) == 0
    spec = capsys.readouterr().out.strip().partition("data.train.source=")[2]
    assert [question.gold for question in load_questions(spec)] == [str(i + 1) for i in range(9)]
    assert cli.main(arguments) == 2 and "is not an empty folder: choose another one" in capsys.readouterr().err
    assert cli.main(["data", "pack", "arithmetic:sums"]) == 2
    assert "arithmetic:sums is a generator: a run names it as it is" in capsys.readouterr().err
    assert cli.main(arguments[:3]) == 2 and "pack needs --output DIR" in capsys.readouterr().err


def test_what_is_no_such_set_is_one_sentence(tmp_path):
    optional("grain")
    for spec in (f"tfds:{tmp_path}", f"tfds:{tmp_path / 'absent'}@test"):
        with pytest.raises(ValueError, match=r"Cannot read tfds:.* as a TFDS data set") as error:
            load_questions(spec)
        assert "\n" not in str(error.value)


def test_a_folder_may_have_an_at_sign(tmp_path):
    optional("array_record")
    spec = array_records.write([Question("q", "1 + 1", gold="2")], tmp_path / "me@home" / "new")
    assert [question.gold for question in load_questions(spec)] == ["2"]
    assert [question.gold for question in load_questions(spec.removesuffix("@train"))] == ["2"]


def test_an_absent_split_is_one_sentence(packed):
    with pytest.raises(ValueError, match=r"Cannot read tfds:.*@dev as a TFDS data set"):
        load_questions(packed[0].replace("@train", "@dev"))
