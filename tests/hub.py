"""A stand-in for the Hugging Face hub: the part of its HTTP API that pushing and fetching a model folder uses."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_secretsecretsecret"  # noqa: S105 (nobody's)
COMMIT = "a" * 40


class Hub:
    """What the server holds.

    Attributes:
        repositories: The files of each repository, by path.
        stored: Large files by their SHA-256.
        requests: Method and path of each request.
        messages: Commit messages.
        private: The repositories that were made private.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.private: set[str] = set()
        self.address = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (the base class calls them by these names)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if self.command == "PUT":
            self.hub.stored[parts[-1]] = body
            self._send({})
        elif self.command == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send({"error": "Invalid credentials"}, status=401)
        elif path == "/api/validate-yaml":
            self._send({"warnings": [], "errors": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif parts[:2] == ["api", "models"]:
            self._of_repository("/".join(parts[2:4]), parts[4:], body)
        elif path.endswith("/info/lfs/objects/batch"):
            self._large_files(json.loads(body))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self._send({"error": "not found"}, status=404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else f"me/{wanted['name']}"
        if wanted.get("private") or wanted.get("visibility") == "private":
            self.hub.private.add(name)
        self.hub.repositories.setdefault(name, {})
        self._send({"url": f"{self.hub.address}/{name}", "name": name})

    def _of_repository(self, name: str, rest: list[str], body: bytes) -> None:
        files = self.hub.repositories.get(name)
        if files is None:
            self._send({"error": "Repository not found"}, status=404, code="RepoNotFound")
        elif rest[:1] == ["preupload"]:
            asked = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular"}
                for f in asked
            ]
            self._send({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif rest[:1] == ["commit"]:
            self._commit(name, files, body)
        elif rest[:1] == ["tree"]:
            self._send(
                [{"type": "file", "path": path, "size": len(files[path]), "oid": _oid(files[path])} for path in files]
            )
        else:
            siblings = [{"rfilename": path} for path in files]
            self._send({"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0})

    def _commit(self, name: str, files: dict[str, bytes], body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        url = f"{self.hub.address}/{name}/commit/{COMMIT}"
        self._send({"commitUrl": url, "commitOid": COMMIT, "success": True, "hookOutput": ""})

    def _large_files(self, asked: dict[str, Any]) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.address}/store/{each['oid']}"}}}
            for each in asked["objects"]
        ]
        self._send({"transfer": "basic", "objects": objects})

    def _file(self, name: str, path: str) -> None:
        content = self.hub.repositories.get(name, {}).get(path)
        if content is None:
            self._send({"error": "Entry not found"}, status=404, code="EntryNotFound")
            return
        self._send_bytes(content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT})

    def _send(self, value: Any, status: int = 200, code: str | None = None) -> None:
        headers = {"Content-Type": "application/json", **({"X-Error-Code": code} if code else {})}
        self._send_bytes(json.dumps(value).encode(), headers, status)

    def _send_bytes(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def open_hub() -> Iterator[Hub]:
    """Serve an empty hub on this machine until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
