"""A server on this machine that answers as the Hugging Face hub does, for tests of its real client."""

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse

COMMIT = "c0ffee" * 6 + "c0ff"


@contextlib.contextmanager
def serve(kind, repositories, revisions=("main",), gated=()):
    """(endpoint, requests so far) of a hub.

    Args:
        kind: "models" or "datasets".
        repositories: name → {path of a file: its bytes}, all at COMMIT.
        revisions: other names of COMMIT.
        gated: names of repositories that only some may read.
    """
    asked = []
    prefix = "" if kind == "models" else f"/{kind}"

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
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            asked.append((self.command, path))
            if any(name in path for name in gated):
                return self.reply(403, b"{}", X_Error_Code="GatedRepo", X_Error_Message="Access is restricted.")
            for name, files in repositories.items():
                if path in (f"/api/{kind}/{name}/revision/{revision}" for revision in (*revisions, COMMIT)):
                    info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
                    return self.reply(200, json.dumps(info).encode(), Content_Type="application/json")
                if path == f"/api/{kind}/{name}/tree/{COMMIT}":
                    entries = [
                        {"type": "file", "path": file, "size": len(body), "oid": "0" * 40}
                        for file, body in files.items()
                    ]
                    return self.reply(200, json.dumps(entries).encode(), Content_Type="application/json")
                file = path.removeprefix(f"{prefix}/{name}/resolve/{COMMIT}/")
                if file in files:
                    return self.reply(200, files[file], ETag=f'"{hashlib.sha256(files[file]).hexdigest()}"')
            return self.reply(404, b"{}", X_Error_Code="RepoNotFound")

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def fetched(asked):
    """The files that were downloaded, by path in their repository, sorted."""
    return sorted(path.partition(f"{COMMIT}/")[2] for method, path in asked if method == "GET" and "/resolve/" in path)
