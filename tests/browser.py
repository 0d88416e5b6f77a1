"""A headless Chromium with its network off, driven over a pipe: no port, no package, no download."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)

SCROLLED = """(async () => {
  for (const place of document.querySelectorAll("[data-view]")) {
    place.scrollIntoView();
    for (let tries = 0; tries < 100 && !place.querySelector("canvas"); tries += 1) {
      await new Promise((done) => setTimeout(done, 30));
    }
  }
})()"""
"""Brings every view of attention into sight, where it is drawn."""


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


class Page:
    """One page: commands go out, and what the page logs, throws and asks the network for is kept."""

    def __init__(self, reader: int, writer: int) -> None:
        self._in, self._out, self._rest, self._id, self._session = reader, writer, b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.events: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        self._id += 1
        message: dict[str, Any] = {"id": self._id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._in, 1 << 16)
            if not chunk:
                raise RuntimeError("the browser closed its pipe")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, found: dict[str, Any]) -> None:
        self.events.append(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(found["exceptionDetails"])[:600])
        if method == "Runtime.consoleAPICalled" and found["type"] in {"error", "warning", "assert"}:
            self.errors.append(json.dumps(found["args"])[:600])
        if method == "Log.entryAdded" and found["entry"]["level"] in {"error", "warning"}:
            self.errors.append(json.dumps(found["entry"])[:600])
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"][:200])

    def open(self, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open a file at a window size and in a colour scheme, and wait until it says that it is drawn."""
        mobile = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self.events:
            self._read()

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:800])
        return found["result"].get("value")

    def hover(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window."""
        for place in (x - 1, x):
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=place, y=y)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Save a screenshot of the whole page as PNG."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def page(profile: Path) -> Iterator[Page]:
    """A page of a fresh browser, which is stopped at the end."""
    to_browser, writer = os.pipe()
    reader, from_browser = os.pipe()
    binary = chromium()
    if binary is None:
        raise RuntimeError("no Chromium on PATH")
    shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
    command = ["bash", "-c", shell, binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    quiet = subprocess.DEVNULL
    browser = subprocess.Popen(command, pass_fds=(to_browser, from_browser), stdout=quiet, stderr=quiet)
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Page(reader, writer)
    finally:
        os.close(writer)
        try:
            browser.wait(timeout=10)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
        os.close(reader)
