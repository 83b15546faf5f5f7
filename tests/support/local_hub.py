"""A stand-in of the Hugging Face hub: repositories in memory, at the paths that its client asks.

Every file is taken as a small one, so that a commit carries it; the real hub has large files
put elsewhere first, by the same client.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub.constants
import pytest

Files = dict[str, bytes]


class Hub:
    """repositories: their files by name. refused: what is answered to whoever would write."""

    def __init__(self) -> None:
        self.repositories: dict[str, Files] = {}
        self.refused: int | None = None

    def commit(self, repo: str) -> str:
        """A name for what is in a repository."""
        content = sorted(self.repositories[repo].items())
        return hashlib.sha1(repr(content).encode(), usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.hub.refused is not None:
            return self._json({"error": "no"}, self.hub.refused)
        if self.path == "/api/repos/create":
            given = json.loads(body)
            repo = "/".join(filter(None, (given.get("organization"), given["name"])))
            self.hub.repositories.setdefault(repo, {})
            return self._json({"url": f"http://{self.headers['Host']}/{repo}"})
        repo, rest = self._repo()
        if rest.startswith("preupload/"):
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            return self._json({"files": modes})
        if not rest.startswith("commit/"):
            return self._json({"error": "no such path"}, 400)
        for line in body.splitlines():
            self._apply(self.hub.repositories[repo], json.loads(line))
        commit = self.hub.commit(repo)
        url = f"http://{self.headers['Host']}/{repo}/commit/{commit}"
        return self._json({"commitUrl": url, "commitOid": commit, "success": True})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        repo, rest = self._repo()
        files = self.hub.repositories.get(repo)
        if files is None:
            return self._json({"error": "not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if rest.startswith("tree/"):
            return self._json([{"type": "file", "path": n, "size": len(c), "oid": "0" * 40}
                               for n, c in files.items()])  # fmt: skip
        if rest.startswith("resolve/"):
            name = rest.split("/", 2)[2]
            if name not in files:
                return self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})
            etag = hashlib.sha1(files[name], usedforsecurity=False).hexdigest()
            return self._send(files[name], 200, {"ETag": f'"{etag}"'})
        assert not rest or rest.startswith("revision/"), self.path
        names = [{"rfilename": name} for name in files]
        return self._json({"id": repo, "sha": self.hub.commit(repo), "siblings": names})

    def _repo(self) -> tuple[str, str]:
        """The repository that a path names, and what comes behind."""
        path = self.path.partition("?")[0].removeprefix("/api/models").lstrip("/")
        owner, name, *rest = path.split("/", 2)
        return f"{owner}/{name}", "".join(rest)

    @staticmethod
    def _apply(files: Files, line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "deletedFile":
            del files[value["path"]]

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, headers or {})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        repo, _ = self._repo() if self.path.count("/") > 2 else ("", "")
        if repo in self.hub.repositories:
            self.send_header("X-Repo-Commit", self.hub.commit(repo))
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def local_hub(patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The client's hub is this one while the block runs."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    constants = huggingface_hub.constants
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
