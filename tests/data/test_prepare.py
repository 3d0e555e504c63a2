"""`mxjax data prepare`: from the hub through its real client, or from local files of every form; checked, recorded."""

import gzip
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest
from data_support import PUBLISHED, write_rows
from hub import COMMIT, fetched, serve
from huggingface_hub import errors

from mxjax import cli
from mxjax.data import load_benchmark, load_questions, prepared
from mxjax.data.catalogue import SETS
from mxjax.data.identity import text_key
from mxjax.data.prepared import prepare

AIME = [{"problem": f"What is ${i} + 1$?", "answer": str(i + 1), "id": i} for i in range(30)]


def mxjax(capsys, *arguments):
    """(exit status, printed, said of a mistake) of the command line."""
    status = cli.main(["data", *map(str, arguments)])
    return status, *capsys.readouterr()


def parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_a_local_file_is_prepared_and_found(tmp_path, data_directory, capsys):
    source = write_rows(tmp_path / "aime.jsonl", *AIME)
    status, out, _ = mxjax(capsys, "prepare", "aime24", "--from", source)
    assert status == 0 and "aime24/test: 30 questions, licence: Apache-2.0" in out and str(data_directory) in out
    questions = load_benchmark("aime24")
    assert [(q.text, q.gold, q.source) for q in questions[:1]] == [("What is $0 + 1$?", "1", "aime24")]
    record = json.loads((data_directory / "aime24" / "test.manifest.json").read_text())
    content = (data_directory / "aime24" / "test.jsonl").read_bytes()
    assert record["sha256"] == hashlib.sha256(content).hexdigest() and record["rows"] == record["read"] == 30
    assert record["licence"] == SETS["aime24"].licence and record["origin"] == str(source)
    assert set(record["texts"]) == {text_key(question.text) for question in questions}
    assert "id" not in json.loads(content.splitlines()[0])


@pytest.mark.parametrize("form", ["json", "jsonl.gz", "parquet", "folder"])
def test_every_form_of_file(tmp_path, form):
    path = tmp_path / f"rows.{form}"
    if form == "json":
        path.write_text(json.dumps(AIME))
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, AIME)).encode()))
    elif form == "parquet":
        parquet(path, AIME)
    else:
        for i, row in enumerate(AIME):
            write_rows(path / f"{i:03}.jsonl", row)
    (made,) = prepare("aime25", str(path))
    assert made.rows == 30 and [q.gold for q in load_benchmark("aime25")] == [row["answer"] for row in AIME]


def test_another_place(tmp_path, capsys):
    source = write_rows(tmp_path / "aime.jsonl", *AIME)
    assert mxjax(capsys, "prepare", "aime24", "--from", source, "--output", tmp_path / "sets")[0] == 0
    assert len(load_benchmark("aime24", data_dir=str(tmp_path / "sets"))) == 30
    with pytest.raises(ValueError, match="aime24 is not here"):
        load_benchmark("aime24")
    assert "aime24               math  30         yes" in mxjax(capsys, "list", "--output", tmp_path / "sets")[1]


def test_a_prepared_file_that_changed_is_refused(tmp_path, data_directory):
    list(prepare("aime24", str(write_rows(tmp_path / "aime.jsonl", *AIME))))
    with (data_directory / "aime24" / "test.jsonl").open("a") as file:
        file.write(json.dumps(AIME[0]) + "\n")
    with pytest.raises(ValueError, match="has changed since it was prepared: run mxjax data prepare again"):
        load_benchmark("aime24")


def test_mathematics_from_its_folder(tmp_path):
    for i in range(20):
        folder = tmp_path / "train" / ("algebra" if i % 2 else "geometry")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.json").write_text(json.dumps({"problem": f"Find {i}.", "solution": rf"It is $\boxed{{{i}}}$."}))
    with pytest.raises(ValueError, match="7,500 or 12,000 rows as published, and 20 were found"):
        list(prepare("math", str(tmp_path / "train")))
    (made,) = prepare("math", str(tmp_path / "train"), partial=True)
    assert (made.split, made.rows) == ("train", 20)
    questions = load_questions("math", size=10, seed=3)
    assert all(f"Find {question.gold}." == question.text for question in questions)


def test_rows_that_repeat_or_have_no_tests_are_left_out(tmp_path, capsys):
    prompt = lambda i: {"prompt": [{"content": f"What is {i}?"}], "reward_model": {"ground_truth": str(i)}}
    source = parquet(tmp_path / "dapo.parquet", [prompt(i % 5) for i in range(20)])
    out = mxjax(capsys, "prepare", "dapo", "--from", source, "--partial")[1]
    assert "dapo/train: 5 questions (15 rows left out, which have no tests or repeat another)" in out
    cases = {"inputs": ["1\n"], "outputs": ["1\n"]}
    rows = [{"question": "Copy.", "input_output": json.dumps(cases)}, {"question": "Draw.", "input_output": ""}]
    out = mxjax(capsys, "prepare", "apps/test", "--from", write_rows(tmp_path / "a.jsonl", *rows), "--partial")[1]
    assert "apps/test: 1 questions (1 rows left out" in out


def test_one_file_with_all_splits(tmp_path):
    row = {"code": "def add(a, b): return a + b", "test_setup_code": "", "test_list": ["assert add(1, 2) == 3"]}
    rows = [{**row, "task_id": i, "text": f"Add {i}."} for i in range(1, 975)]
    made = list(prepare("mbpp", str(write_rows(tmp_path / "mbpp.jsonl", *rows))))
    assert [(one.split, one.rows) for one in made] == [("train", 374), ("validation", 90), ("test", 500)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare"], "prepare needs a NAME"),
        (["pack"], "pack needs a NAME"),
        (["prepare", "gsm9k"], "Unknown data set 'gsm9k': one of aime24"),
        (["prepare", "gsm8k/dev"], "gsm8k has no split 'dev': one of train, test"),
        (["prepare", "math"], "math comes from a local file only: pass --from PATH, the folder train/ of the MATH"),
        (["prepare", "math500"], "math500 comes from a local file only: pass --from PATH, prm800k/math_splits"),
        (["prepare", "gsm8k", "--from", "{tmp}/rows.jsonl"], "say which one {tmp}/rows.jsonl holds, as in gsm8k/train"),
        (["prepare", "aime24", "--from", "{tmp}/absent.jsonl"], "There is no file {tmp}/absent.jsonl: check the path"),
        (
            ["prepare", "aime24", "--from", "{tmp}/rows.jsonl"],
            "aime24/test has 30 rows as published, and 29 were found",
        ),
        (
            ["prepare", "gsm8k/test", "--from", "{tmp}/none.jsonl"],
            "none.jsonl, line 1 (id 1): not a row of gsm8k (no column 'answer')",
        ),
        (["prepare", "aime24", "--from", "{tmp}/rows.csv"], "rows.csv is not a .jsonl, .json, .parquet"),
        (["prepare", "aime24", "--from", "{tmp}/bad.parquet"], "bad.parquet is no Parquet file that can be read"),
        (["prepare", "aime24", "--from", "{tmp}/bad.jsonl.gz"], "Cannot read the question file"),
        (["prepare", "aime24", "--from", "{tmp}/damaged.jsonl.gz"], "Cannot read the question file"),
        (["prepare", "aime24", "--from", "{tmp}/bad.json"], "bad.json: not valid JSON"),
        (["prepare", "aime24", "--from", "{tmp}/empty"], "empty holds no .jsonl, .json, .parquet"),
        (["prepare", "mbpp/train", "--from", "{tmp}/none.jsonl"], "Nothing of mbpp/train is in these files"),
        (["list", "--output"], "expected one argument"),
        (["fetch"], "invalid choice: 'fetch'"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, data_directory, capsys, arguments, message):
    write_rows(tmp_path / "rows.jsonl", *AIME[:29])
    write_rows(tmp_path / "none.jsonl", {"task_id": 1})
    (tmp_path / "empty").mkdir()
    for name in ("rows.csv", "bad.parquet", "bad.jsonl.gz", "bad.json"):
        (tmp_path / name).write_text("a, b")
    (tmp_path / "damaged.jsonl.gz").write_bytes(gzip.compress(b"")[:10] + b"\xff" * 20)  # no deflate stream
    status, _, said = mxjax(capsys, *(argument.format(tmp=tmp_path) for argument in arguments))
    assert status == 2 and message.format(tmp=tmp_path) in said and said.count("\n") == 1
    assert not list(data_directory.rglob("*.jsonl*"))


@pytest.fixture
def hub(tmp_path):
    """(endpoint, requests so far) of a server with the data set repositories of the catalogue, small files in them."""
    files = {
        "math-ai/aime25": {"test.jsonl": "\n".join(map(json.dumps, AIME)).encode(), "README.md": b"not fetched"},
        "openai/gsm8k": {},
        "HuggingFaceH4/aime_2024": {"data/other.parquet": b""},
    }
    for split, count in (("train", 7473), ("test", 1319)):
        rows = [{"question": f"What is {i} in {split}?", "answer": f"So {i}\n#### {i}"} for i in range(count)]
        halves = (rows[: count // 2], rows[count // 2 :])
        for number, half in enumerate(halves):
            name = f"main/{split}-0000{number}-of-00002.parquet"
            files["openai/gsm8k"][name] = parquet(tmp_path / "half.parquet", half).read_bytes()
    with serve("datasets", files) as served:
        yield served


def fetch(endpoint, cache, *arguments):
    """The command line as a user runs it, with the real client of the hub pointed at `endpoint`."""
    env = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "NO_PROXY": "127.0.0.1", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(pathlib.Path(__file__).parents[2]), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "mxjax", "data", "prepare", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_sets_are_fetched_from_their_home(hub, tmp_path, data_directory):
    endpoint, asked = hub
    out = fetch(endpoint, tmp_path / "hub", "gsm8k/test")
    assert out.returncode == 0, out.stderr
    assert f"from https://huggingface.co/datasets/openai/gsm8k at {COMMIT}" in out.stdout
    assert fetched(asked) == [f"main/test-0000{number}-of-00002.parquet" for number in (0, 1)]
    asked.clear()
    assert fetch(endpoint, tmp_path / "hub", "gsm8k").returncode == 0
    assert fetched(asked) == [f"main/train-0000{number}-of-00002.parquet" for number in (0, 1)]
    assert [q.gold for q in load_benchmark("gsm8k")] == [str(i) for i in range(1319)]
    assert len(load_questions("gsm8k")) == 7473
    assert "texts" not in prepared.read_manifest(prepared.split_path(prepared.data_root(), "gsm8k", "train"))


def test_the_file_that_is_there_is_taken(hub, tmp_path):
    endpoint, asked = hub
    out = fetch(endpoint, tmp_path / "hub", "aime25")
    assert out.returncode == 0, out.stderr
    assert fetched(asked) == ["test.jsonl"] and len(load_benchmark("aime25")) == 30


def test_homes_that_fail_are_one_sentence(hub, tmp_path):
    out = fetch(hub[0], tmp_path / "hub", "svamp")
    assert out.returncode == 2 and "svamp cannot be fetched from ChilleD/SVAMP" in out.stderr
    assert "pass --from PATH with a copy of data/*.parquet" in out.stderr and out.stderr.count("\n") == 1
    out = fetch(hub[0], tmp_path / "hub", "aime24")
    assert out.returncode == 2 and "has no file for the test split: pass --from PATH" in out.stderr
    out = fetch("http://127.0.0.1:1", tmp_path / "hub", "svamp")
    assert out.returncode == 2 and "check the connection" in out.stderr and out.stderr.count("\n") == 1


def test_errors_of_the_hubs_client_are_one_sentence(monkeypatch):
    (base,) = [kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"]

    def times_out(*args, **kwargs):
        raise type("ReadTimeout", (base,), {})("The read operation timed out")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", times_out)
    with pytest.raises(OSError, match=r"svamp cannot be fetched from ChilleD/SVAMP \(The read operation timed out"):
        list(prepare("svamp"))


@pytest.mark.parametrize("name", ["gsm8k/train", "gsm8k/test", "math500", "olympiadbench", "code_contests/test"])
def test_published_files_are_prepared_without_loss(name):
    set_name, _, split = name.partition("/")
    source = PUBLISHED / set_name / f"{split or 'test'}.jsonl"
    if not source.exists():
        pytest.skip(f"the published file of {name} is not beside the repository")
    (made,) = prepare(name, str(source))
    assert made.rows == made.read == SETS[set_name].splits[split or "test"].rows[-1]
