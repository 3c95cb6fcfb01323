"""A server that speaks the Hugging Face hub's API, as far as `huggingface_hub` asks it for data sets.

It stands in for the hub, which the machines that test this project cannot reach: revisions, listings in pages, `resolve`
that sends on to a storage at another address, ranges, and the hub's errors.
"""

import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

_API = re.compile(r"/api/datasets/([^/]+/[^/]+)/(revision|tree)/([^/]+)$")
_RESOLVE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
_PAGE = 2


class LocalHub:
    """Data sets by name: their commits, each with its files, and what tags and branches point at."""

    def __init__(self, port):
        self.endpoint = f"http://127.0.0.1:{port}"
        self.storage = f"http://localhost:{port}"
        self.commits = {}
        self.branches = {}
        self.gated = set()
        self.ranges = []  # (path, first byte, last byte) of each answer of the storage
        self.requests = []  # (host, path, token or None)
        self.n_to_drop = 0  # answers of the storage that break off in the middle
        self.n_to_expire = 0  # answers of the storage that refuse an address of some age
        self.broken = 0  # a status that the storage answers with
        self.whole = False  # the storage knows no ranges

    def commit(self, dataset, files, digit, branch="main"):
        """Add a commit of which `files` are the files; return its name of 40 digits."""
        commit = digit * 40
        self.commits.setdefault(dataset, {})[commit] = files
        self.branches.setdefault(dataset, {})[branch] = commit
        return commit

    def n_bytes(self, path):
        return sum(last - first + 1 for asked, first, last in self.ranges if asked == path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub, url = self.server.hub, urlsplit(self.path)
        hub.requests.append((self.headers["Host"].split(":")[0], url.path, self.headers.get("Authorization")))
        if url.path.startswith("/storage/"):
            return self._storage(hub, *url.path.removeprefix("/storage/").split("/", 3))
        for pattern in (_API, _RESOLVE):
            if found := pattern.match(url.path):
                break
        else:
            return self._answer(404, b"")
        dataset, *rest = found.groups()
        if dataset not in hub.commits:
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        revision = unquote(rest[1] if pattern is _API else rest[0])
        commit = hub.branches[dataset].get(revision, revision)
        if commit not in hub.commits[dataset]:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = hub.commits[dataset][commit]
        if pattern is _RESOLVE:
            if dataset in hub.gated and not self.headers.get("Authorization"):
                return self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
            return self._answer(302, b"", {"Location": f"{hub.storage}/storage/{dataset}/{commit}/{rest[1]}"})
        if rest[0] == "revision":
            return self._json({"id": dataset, "sha": commit, "siblings": [], "tags": [], "private": False})
        return self._tree(url, files)

    def _tree(self, url, files):
        start = int(parse_qs(url.query).get("cursor", ["0"])[0])
        listed = [
            {"type": "file", "path": path, "size": len(content), "oid": "0" * 40} for path, content in files.items()
        ]
        listed.append({"type": "directory", "path": "data", "oid": "0" * 40})
        more = start + _PAGE < len(listed)
        link = f'<{self.server.hub.endpoint}{url.path}?recursive=True&cursor={start + _PAGE}>; rel="next"'
        return self._json(listed[start : start + _PAGE], {"Link": link} if more else {})

    def _storage(self, hub, owner, name, commit, path):
        if hub.n_to_expire:
            hub.n_to_expire -= 1
            return self._answer(403, b"expired")
        if hub.broken:
            return self._answer(hub.broken, b"")
        content = hub.commits[f"{owner}/{name}"][commit][unquote(path)]
        if hub.whole:
            return self._answer(200, content)
        first, last = map(int, re.match(r"bytes=(\d+)-(\d+)$", self.headers["Range"]).groups())
        hub.ranges.append((unquote(path), first, last))
        part = content[first : last + 1]
        if hub.n_to_drop and len(part) > 1:
            hub.n_to_drop -= 1
            self._answer(206, part[: len(part) // 2], {"Content-Length": str(len(part))})
            self.close_connection = True
            return None
        return self._answer(206, part)

    def _json(self, content, headers=()):
        return self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json", **dict(headers)})

    def _answer(self, status, content, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving():
    """Yield a hub that listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = LocalHub(server.server_port)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
