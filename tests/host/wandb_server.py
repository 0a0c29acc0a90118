"""A server of W&B as far as ``wandb sync`` asks it: it keeps the history that it is sent."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RUN = {
    "id": "UnVuOjE=", "name": "run", "displayName": "run", "sweepName": None, "config": "{}",
    "historyLineCount": 0, "project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}},
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """Answers requests; the lines of the history by their number are ``server.lines``."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/file_stream"):
            sent = json.loads(body).get("files", {}).get("wandb-history.jsonl")
            for i, line in enumerate(sent["content"] if sent else []):
                self.server.lines[sent["offset"] + i] = json.loads(line)
            return self._answer({})
        asked = json.loads(body)["variables"] if self.path == "/graphql" else {}
        names = asked.get("files") or []
        place = f"http://127.0.0.1:{self.server.server_port}/upload/"
        files = [{"name": name, "uploadUrl": place + name} for name in names]
        data = {
            "createRunFiles": {"runID": RUN["id"], "uploadHeaders": [], "files": files},
            "upsertBucket": {"bucket": RUN, "inserted": True},
            "viewer": {"id": "v", "entity": "e", "username": "e", "flags": "{}", "teams": None},
            "serverInfo": {"features": []},
            "model": self.known(),
        }
        return self._answer({"data": data})

    def known(self):
        """The run as ``wandb sync`` finds it before it sends more of it."""
        lines = self.server.lines
        if not lines:
            return None
        newest = json.dumps(lines[max(lines)])
        counts = {"historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0}
        tails = {"historyTail": json.dumps([newest]), "eventsTail": "[]", "summaryMetrics": newest}
        more = {"wandbConfig": '{"t": 1}', "tags": [], "notes": None}
        return {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"},
                "bucket": RUN | counts | tails | more}  # fmt: skip

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def do_GET(self):
        self._answer({})

    def _answer(self, content):
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    """A server on this machine, its address and the lines that it is sent, by their number."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.lines = {}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.lines
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
