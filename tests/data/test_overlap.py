"""No question of a benchmark is trained on or chosen by: found by text in any wording, refused or left out."""

import json
import pathlib

import pytest
from data_support import write_rows

from mxjax.config import default_config
from mxjax.data import prepared, readers
from mxjax.data.benchmarks import benchmark_keys, check_apart, load_benchmark, text_keys
from mxjax.data.identity import statement_key, text_key
from mxjax.data.pools import question_pools
from mxjax.data.prepared import prepare
from mxjax.errors import UserError
from mxjax.files import read_json
from mxjax.rollout.records import Question

AIME = [{"problem": f"What is the smallest prime above ${i}$?", "answer": str(i)} for i in range(30)]


def config_of(tmp_path, texts, **data):
    """A config that trains on these texts and 40 questions of its own, and is validated on two others."""
    rows = [{"question": text, "answer": i} for i, text in enumerate(texts)]
    rows += [{"question": f"How many legs have {i} hens?", "answer": 2 * i} for i in range(40)]
    cows = [{"question": f"How many legs have {i} cows?", "answer": 4 * i} for i in range(2)]
    config = default_config()
    config.data.validation = {"source": f"jsonl:{write_rows(tmp_path / 'validation.jsonl', *cows)}"}
    config.data.train = {"source": f"jsonl:{write_rows(tmp_path / 'train.jsonl', *rows)}"}
    config.data.train_size, config.data.validation_size = 0, 2
    config.data.update(data)
    return config


def test_a_prepared_set_is_compared_without_reading_its_questions(tmp_path, data_directory):
    list(prepare("aime24", str(write_rows(tmp_path / "aime.jsonl", *AIME))))
    keys = text_keys("aime24")
    assert len(keys) == 30
    (data_directory / "aime24" / "test.jsonl").write_text("not read")
    assert text_keys("aime24") == keys


def test_identities_of_another_version_are_not_compared(tmp_path, data_directory):
    list(prepare("aime24", str(write_rows(tmp_path / "aime.jsonl", *AIME))))
    keys, manifest = text_keys("aime24"), data_directory / "aime24" / "test.manifest.json"
    for identity in (1, None):
        record = {**read_json(manifest), "identity": identity, "texts": ["0" * 16]}
        manifest.write_text(json.dumps(record))
        assert text_keys("aime24") == keys


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_a_raw_copy_of_a_code_set_is_known(tmp_path, name):
    path = pathlib.Path(prepared.__file__).parent / "samples" / f"{name}.jsonl"
    row = json.loads(path.read_text().splitlines()[3])
    text = row["prompt"] if name == "humaneval" else row["text"]
    with pytest.raises(UserError, match=f"1 of 41 training questions are also in the benchmark {name}"):
        question_pools(config_of(tmp_path, [text]))


@pytest.mark.parametrize("starter", ["", "class Solution:\n    def f(self):"])
def test_a_statement_is_known_under_any_wording(starter):
    raw = "Double it.\n\nInput\n\n1\n\nOutput\n\n2"
    cases = {"inputs": ["1"], "outputs": ["2"]}
    calls = {"fn_name": "f", "inputs": [[1]], "outputs": [2]}
    texts = [readers.apps({"question": raw, "input_output": json.dumps(cases), "starter_code": starter}).text]
    texts += [readers.apps({"question": raw, "input_output": json.dumps(calls), "starter_code": starter}).text]
    texts += [readers.stream_lists({"problem": raw, "tests": cases}).text]
    assert {statement_key(text) for text in texts} == {text_key(raw)} and raw not in texts


def test_keys_are_of_named_and_of_present_benchmarks(tmp_path):
    path = write_rows(tmp_path / "own.jsonl", {"question": "2 + 2", "answer": 4})
    assert set(benchmark_keys([f"jsonl:{path}"])) == {f"jsonl:{path}", "gsm8k", "humaneval", "mbpp", "svamp"}
    list(prepare("aime24", str(write_rows(tmp_path / "aime.jsonl", *AIME))))
    assert "aime24" in benchmark_keys([])


@pytest.mark.parametrize("named", [True, False])
def test_overlap_is_refused_whether_or_not_the_benchmark_is_evaluated(tmp_path, named):
    list(prepare("aime24", str(write_rows(tmp_path / "aime.jsonl", *AIME))))
    config = config_of(tmp_path, ["what is the SMALLEST  prime above $3$?", "What is the smallest prime above $4$?"])
    config.eval.benchmarks = ("held_out", "aime24") if named else ("held_out",)
    with pytest.raises(UserError, match=r"2 of 42 training questions are also in the benchmark aime24, such as 'what"):
        question_pools(config)
    config.data.overlap = "drop"
    assert len(question_pools(config).train) == 40
    config.data.overlap = "ignore"
    with pytest.raises(UserError, match=r"data\.overlap must be one of refuse, drop, got 'ignore'"):
        question_pools(config)


def test_a_shipped_sample_counts_as_its_benchmark(tmp_path):
    text = load_benchmark("gsm8k")[7].text
    with pytest.raises(UserError, match="1 of 41 training questions are also in the benchmark gsm8k"):
        question_pools(config_of(tmp_path, [text]))


def test_a_generator_meets_its_own_benchmark():
    config = default_config()
    config.data.train = {"source": "arithmetic:sums"}
    config.data.train_size, config.data.validation_size = 2_000, 16
    config.eval.benchmarks = ("arithmetic:sums",)
    with pytest.raises(UserError, match="training questions are also in the benchmark arithmetic:sums"):
        question_pools(config)
    config.data.overlap = "drop"
    pool = question_pools(config).train
    assert len(pool) == 2_000 and not text_keys("arithmetic:sums") & {text_key(question.text) for question in pool}


def test_what_is_left_after_dropping_must_be_enough(tmp_path):
    list(prepare("aime24", str(write_rows(tmp_path / "aime.jsonl", *AIME))))
    config = config_of(tmp_path, [row["problem"] for row in AIME], overlap="drop", validation_size=2)
    assert len(question_pools(config).train) == 40
    config.data.train_size = 41
    with pytest.raises(UserError, match="has only 40 questions to give, 41 were asked for"):
        question_pools(config)
    config.data.train_size, config.data.validation_size = 0, 3
    config.data.validation = {}
    with pytest.raises(UserError, match="37 distinct training questions are fewer than 20 for each of 3 held-out"):
        question_pools(config)


def test_validation_is_disjoint_from_benchmarks_too(tmp_path):
    list(prepare("aime24", str(write_rows(tmp_path / "aime.jsonl", *AIME))))
    own = [{"question": row["problem"], "answer": row["answer"]} for row in AIME[:2]]
    config = config_of(tmp_path, [], validation={"source": f"jsonl:{write_rows(tmp_path / 'own.jsonl', *own)}"})
    with pytest.raises(UserError, match="2 of 2 validation questions are also in the benchmark aime24"):
        question_pools(config)
    config.data.overlap = "drop"
    with pytest.raises(UserError, match=r"own\.jsonl has no questions left that are not excluded"):
        question_pools(config)
    config.eval.choose_on_test = True
    assert len(question_pools(config).held_out) == 2


def test_a_test_split_is_no_training_set(tmp_path, data_directory):
    rows = [{"question": f"How many eggs have {i} nests?", "answer": f"#### {i}"} for i in range(60)]
    list(prepare("gsm8k/test", str(write_rows(tmp_path / "rows.jsonl", *rows)), partial=True))
    config = config_of(tmp_path, [])
    config.data.train = {"source": "gsm8k/test"}
    with pytest.raises(UserError, match="60 of 60 training questions are also in the benchmark gsm8k"):
        question_pools(config)


def test_what_is_disjoint_is_left_as_it_is():
    questions = [Question(str(i), f"{i}?") for i in range(9)]
    check_apart(questions, {"a": frozenset(), "b": frozenset({"0" * 16})}, "training")
