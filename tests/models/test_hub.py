"""`hf:OWNER/NAME` through the real client of the hub, against a server on this machine."""

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.parse

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mxjax.models import ModelConfig, Policy, Tokenizer, init_params, save_hf

CFG = ModelConfig(
    vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, qk_norm=True,
)  # fmt: skip
COMMIT = "c0ffee" * 6 + "c0ff"
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
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self):
            path = urllib.parse.urlsplit(self.path).path
            asked.append((self.command, path))
            if path in (f"/api/models/owner/name/revision/{name}" for name in ("main", "v2", COMMIT)):
                siblings = [{"rfilename": file.name} for file in files.iterdir()]
                info = {"id": "owner/name", "sha": COMMIT, "siblings": siblings}
                self.reply(200, json.dumps(info).encode(), Content_Type="application/json")
            elif path == f"/api/models/owner/name/tree/{COMMIT}":
                entries = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40}
                    for file in files.iterdir()
                ]
                self.reply(200, json.dumps(entries).encode(), Content_Type="application/json")
            elif path.startswith(f"/owner/name/resolve/{COMMIT}/"):
                body = (files / path.rsplit("/", 1)[1]).read_bytes()
                self.reply(200, body, ETag=f'"{hashlib.sha256(body).hexdigest()}"')
            else:
                self.reply(404, b"{}", X_Error_Code="RepoNotFound")

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked, policy
    server.shutdown()
    server.server_close()


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
    fetched = sorted(path.rsplit("/", 1)[1] for method, path in asked if method == "GET" and "/resolve/" in path)
    assert len(fetched) == len(set(fetched)) and "pytorch_model.bin" not in fetched
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(fetched)
    asked.clear()
    assert load(endpoint, tmp_path / "cache", "hf:owner/name@v2").stdout == out.stdout
    assert not [path for method, path in asked if method == "GET" and "/resolve/" in path]


def test_a_name_that_the_hub_lacks_is_one_sentence(hub, tmp_path):
    out = load(hub[0], tmp_path / "cache", "hf:owner/absent")
    assert out.returncode == 1
    assert "FileNotFoundError: hf:owner/absent cannot be fetched" in out.stderr.splitlines()[-1]
