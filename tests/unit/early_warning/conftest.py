"""A fixture with a local web server that receives webhook messages."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Receiver:
    """The state of a local web server that receives webhook messages.

    `answers`: the status codes of the next answers, in this order. The last code is used for all further requests. For
    None, the server closes the connection without an answer. `got`: the messages that were answered with 200, each as
    (idempotency key, body).
    """

    address: str = ""
    answers: list[int | None] = field(default_factory=lambda: [200])
    got: list[tuple[str, dict]] = field(default_factory=list)


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            if answer is None:
                self.close_connection = True
                return
            if answer == 200:
                found.got.append((self.headers["Idempotency-Key"], json.loads(body)))
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_port}/hook?token=secret"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()
