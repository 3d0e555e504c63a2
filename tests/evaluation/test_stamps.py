"""Digests of what an answer was made with: equal for equal settings, other for every setting that matters."""

import dataclasses
import types

from mxjax.config import default_config
from mxjax.evaluation.suite import digest, questions_digest, settings_of, weights_stamp
from mxjax.rollout import Question, Role
from mxjax.sampling import SamplingParams

CODE = Question("a", "Write f.", "code", tests=[{"check": "f(1)"}])


def settings(tmp_path, change=lambda config: None, prompt="", **sampling):
    """The digest of a made-up evaluation."""
    (tmp_path / "prompts.toml").write_text(prompt)
    config = default_config()
    change(config)
    role = Role(types.SimpleNamespace(), SamplingParams(**sampling), str(tmp_path / "prompts.toml"))
    return digest(settings_of([("random:tiny", None, config)], {"executor": role}, seed=0))


def test_every_setting_of_an_answer_counts(tmp_path):
    def changed(name, value):
        return lambda config: config.update_from_flattened_dict({name: value})

    text = lambda value: f'designer_code = "{value}"'
    found = [
        settings(tmp_path, prompt=text("one")),
        settings(tmp_path, prompt=text("two")),
        settings(tmp_path, prompt=text("one"), temperature=0.5),
        settings(tmp_path, changed("reward.answer_from", "any"), text("one")),
        settings(tmp_path, changed("rollout.tools", ("python_execute",)), text("one")),
        settings(tmp_path, changed("engine.max_len", 99), text("one")),
        settings(tmp_path, changed("eval.agent_text", "Solve."), text("one")),
    ]
    assert len(set(found)) == len(found) and settings(tmp_path, prompt=text("one")) == found[0]
    assert settings(tmp_path, changed("rl.steps", 99), text("one")) == found[0]


def test_questions_count_with_their_hidden_tests():
    other = dataclasses.replace(CODE, tests=[{"check": "f(2)"}])
    assert questions_digest([CODE]) == questions_digest([dataclasses.replace(CODE)])
    assert len({questions_digest([CODE]), questions_digest([other]), questions_digest([CODE], "validation")}) == 3


def test_weights_that_were_exchanged_are_noticed(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"1234")
    before = weights_stamp(str(tmp_path), None)
    assert before == weights_stamp(str(tmp_path), None) and before[0][:2] == ("model.safetensors", 4)
    file.write_bytes(b"12345")
    assert weights_stamp(str(tmp_path), None) != before
    assert weights_stamp("random:tiny", None) == []
