"""A stand-in for the job API of the head node's agent: it counts, and answers as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes]


@dataclass
class StubAgent:
    """`calls` are (path, body, headers). `accept` is told of a body before it is answered; `answer` may be replaced."""

    port: int = 0
    calls: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)
    accept: Callable[[Any], object] = lambda body: None
    answer: Callable[[str], Answer | None] = lambda path: (
        200,
        b'{"stopped": true}' if path.endswith("/stop") else b'{"submission_id": "x"}',
    )
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def submitted(self) -> list[Any]:
        return [body for path, body, _ in self.calls if path == "/api/job_agent/jobs/"]


@contextmanager
def stub_agent() -> Iterator[StubAgent]:
    """Listens on loopback until the block ends. An answer of None breaks the connection off."""
    agent = StubAgent()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            agent.calls.append((self.path, body, dict(self.headers)))
            agent.accept(body)
            answer = agent.answer(self.path)
            if answer is None:
                return
            status, content = answer
            self.send_response(status)
            for name, value in agent.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    agent.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield agent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
