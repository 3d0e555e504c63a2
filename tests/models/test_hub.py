"""`hf:OWNER/NAME` through the real client of the hub, against a server on this machine."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub import fetched, serve

from mxjax.models import ModelConfig, Policy, Tokenizer, init_params, save_hf

CFG = ModelConfig(
    vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, qk_norm=True,
)  # fmt: skip
LOAD = """
import sys
import numpy as np
from mxjax.models import load
policy = load(sys.argv[1])
print(policy.config.family, policy.tokenizer.stop_ids[0], float(np.abs(policy.params["embed"]).sum()))
"""


@pytest.fixture
def hub(tmp_path):
    """(endpoint, requests so far, policy) of a server that holds the policy as owner/name, at revisions main and v2."""
    policy = Policy(init_params(jax.random.key(0), CFG), CFG, Tokenizer.byte_level(300))
    files = tmp_path / "files"
    save_hf(policy, files)
    (files / "pytorch_model.bin").write_bytes(b"never fetched")
    contents = {file.name: file.read_bytes() for file in files.iterdir()}
    with serve("models", {"owner/name": contents}, ("main", "v2")) as (endpoint, asked):
        yield endpoint, asked, policy


def load(endpoint, cache, source):
    root = pathlib.Path(__file__).parents[2]
    env = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "PYTHONPATH": str(root), "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    return subprocess.run([sys.executable, "-c", LOAD, source], env=env, capture_output=True, text=True)


def test_a_model_is_fetched_once_from_the_hub(hub, tmp_path):
    endpoint, asked, policy = hub
    out = load(endpoint, tmp_path / "cache", "hf:owner/name@v2")
    assert out.returncode == 0, out.stderr
    family, stop, total = out.stdout.split()
    assert (family, int(stop)) == ("qwen3", policy.tokenizer.stop_ids[0])
    np.testing.assert_allclose(float(total), float(jnp.abs(policy.params["embed"]).sum()), rtol=1e-5)
    names = fetched(asked)
    assert len(names) == len(set(names)) and "pytorch_model.bin" not in names
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    asked.clear()
    assert load(endpoint, tmp_path / "cache", "hf:owner/name@v2").stdout == out.stdout
    assert not fetched(asked)


def fails(source, endpoint, cache):
    """The last line of what is said, which is all that a command prints."""
    out = load(endpoint, cache, source)
    assert out.returncode == 1
    return out.stderr.splitlines()[-1]


def test_what_cannot_be_fetched_is_one_sentence(tmp_path):
    with serve("models", {}, gated=("owner/gated",)) as (endpoint, _):
        absent = fails("hf:owner/absent", endpoint, tmp_path)
        gated = fails("hf:owner/gated", endpoint, tmp_path)
        wrong = fails("hf:not a name", endpoint, tmp_path)
    nobody = fails("hf:owner/name", endpoint, tmp_path)  # the server has gone
    for source, said in (
        ("owner/absent", absent),
        ("owner/gated", gated),
        ("not a name", wrong),
        ("owner/name", nobody),
    ):
        assert said.startswith(f"mxjax.errors.MissingFile: hf:{source} cannot be fetched (")
        assert said.endswith("); check the name and the connection, or give a local directory")
    assert "404" in absent and "403" in gated
