"""The app on a desktop, as tests drive it: the bridge by HTTP, events as they come."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from android_demo.desktop.launch import ASSETS, command

WAIT_SECONDS = 60.0
Json = dict[str, Any]
#: Every member of ``generate.start`` but the model and the tokens.
GREEDY: Json = {"max_new_tokens": 40, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0}


class Refused(Exception):
    """Error that the bridge answered with: one sentence."""


class DesktopApp:
    """A running server. It is killed on exit, as Android ends a process.

    Attributes:
        events: those that ``wait_for`` has passed or found.
    """

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.port = int(address.rsplit(":", 1)[1].strip("/\n"))
        self.events: list[Json] = []
        self._waiting: queue.Queue[Json] = queue.Queue()
        connected = threading.Event()
        threading.Thread(target=self._listen, args=(connected,), daemon=True).start()
        assert connected.wait(WAIT_SECONDS)

    def call(self, name: str, **arguments: Any) -> Json:
        """Call the core. Raises Refused with its sentence."""
        reply = json.loads(self.request("POST", "/bridge", json.dumps({"call": name, **arguments}))[1])
        if not reply["ok"]:
            raise Refused(reply["error"])
        return reply["result"]

    def request(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def wait_for(self, *names: str) -> Json:
        """The next event of one of these names."""
        while True:
            event = self._waiting.get(timeout=WAIT_SECONDS)
            self.events.append(event)
            if event["event"] in names:
                return event

    def models(self) -> list[Json]:
        return self.call("models.list")["models"]

    def add(self, folder: Path) -> str | None:
        """Add a program; returns the sentence of its refusal, None where it was added."""
        self.call("models.add", path=str(folder))
        refusal = None
        while (event := self.wait_for("error", "models.changed"))["event"] == "error":
            refusal = event["error"]
        return refusal

    def delete(self, model: str) -> None:
        self.call("models.delete", id=model)
        self.wait_for("models.changed")

    def generate(self, model: str, tokens: Sequence[int], **more: Any) -> tuple[list[int], Json]:
        """Generate to the end; returns the ids that events told, and the stats."""
        self.call("generate.start", model=model, tokens=list(tokens), **{**GREEDY, **more})
        ids: list[int] = []
        while (event := self.wait_for("token", "done", "failed"))["event"] == "token":
            ids += event["ids"]
        assert event["event"] == "done", event
        return ids, event["stats"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _listen(self, connected: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/events")
        stream = connection.getresponse()
        with contextlib.suppress(OSError, http.client.HTTPException):  # the server was killed
            for line in stream:
                connected.set()
                if line.startswith(b"data: "):
                    self._waiting.put(json.loads(line[6:]))


@contextlib.contextmanager
def running(
    classes: Path,
    library: Path,
    data: Path,
    models: Sequence[Path] = (),
    readings: Path | None = None,
    environment: Mapping[str, str] | None = None,
    most_file_bytes: int | None = None,
    assets: Sequence[Path] = (),
) -> Iterator[DesktopApp]:
    """Start the server on a data folder, which may be one of an earlier start.

    Args:
        models: exports that stand for the embedded programs.
        readings: see ``DesktopPlatform.java``.
        most_file_bytes: writing a larger file fails, as it does on a full disk.
        assets: folders with more of the page's files, such as its libraries.
    """
    words: list[object] = ["--data", data, "--assets", ASSETS, *assets, "--port", 0]
    words += ["--models", *models] if models else []
    words += ["--readings", readings] if readings else []
    limit = (
        None
        if most_file_bytes is None
        else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))
    )
    process = subprocess.Popen(
        command(classes, library, words),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        preexec_fn=limit,
    )
    assert process.stdout is not None
    address = process.stdout.readline()
    assert address.startswith("http://127.0.0.1:"), address
    app = DesktopApp(process, address)
    try:
        yield app
    finally:
        app.kill()


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return value
