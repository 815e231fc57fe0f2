"""A real browser without a window: Debian's chromium through chromedriver, which speaks WebDriver (W3C) over HTTP."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.waiting import TIMEOUT, until

FOUND = bool(shutil.which("chromium") and shutil.which("chromedriver"))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference
OPTIONS = {
    "goog:chromeOptions": {
        "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1000,900"]
    },
    "goog:loggingPrefs": {"browser": "ALL"},
    "timeouts": {"script": int(1e3 * TIMEOUT), "pageLoad": int(1e3 * TIMEOUT)},
}


class Browser:
    """One window; elements are named by CSS selectors."""

    def __init__(self, log: Path) -> None:
        with log.open("wb") as sink:
            command = ["chromedriver", "--port=0"]
            self._driver = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self._address = f"http://127.0.0.1:{self._port(log)}"
        session = self._call("POST", "/session", capabilities={"alwaysMatch": OPTIONS})
        self._address += f"/session/{session['sessionId']}"

    def close(self) -> None:
        """Ends the browser and its driver."""
        try:
            self._call("DELETE", "")
        finally:
            self._driver.kill()
            self._driver.wait()

    def open(self, url: str) -> None:
        """Goes to a page, and returns once it has loaded; what the former one logged is forgotten."""
        self._call("POST", "/url", url=url)
        self.console()

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns."""
        return self._call("POST", "/execute/sync", script=script, args=arguments)

    def texts(self, selector: str) -> list[str]:
        """What a person reads in each such element; nothing where it is hidden."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.checkVisibility() ? e.innerText : '')"
        found: list[str] = self.run(script, selector)
        return found

    def wait(self, condition: str, *arguments: Any) -> None:
        """Until the expression is true."""
        try:
            until(lambda: self.run(f"return Boolean({condition})", *arguments))
        except AssertionError as error:
            error.add_note(f"{condition}\n{self.run('return document.body.innerText')}\n{self.console()}")
            raise

    def type(self, selector: str, text: str) -> None:
        """Types into an element; into one for files, their paths, a line each."""
        found = self._call("POST", "/element", using="css selector", value=selector)
        self._call("POST", f"/element/{found[ELEMENT]}/value", text=text)

    def press(self, key: str) -> None:
        """Presses a key, where the focus is."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": keys}])

    def resize(self, width: int, height: int) -> None:
        """Makes the window so large, as the page sees it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self._call("POST", "/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=metrics)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self._call("POST", "/goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params=features)

    def console(self) -> list[str]:
        """Errors and warnings since the last time."""
        entries = self._call("POST", "/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        params = {"captureBeyondViewport": True}
        return base64.b64decode(
            self._call("POST", "/goog/cdp/execute", cmd="Page.captureScreenshot", params=params)["data"]
        )

    def _port(self, log: Path) -> str:
        """Any free one, of the driver's own choice: what it says when it has started."""
        started = re.compile(r"successfully on port (\d+)")
        until(lambda: started.search(log.read_text()) or self._driver.poll() is not None)
        found = started.search(log.read_text())
        assert found, log.read_text()
        return found[1]

    def _call(self, method: str, path: str, **content: Any) -> Any:
        data = json.dumps(content).encode() if method == "POST" else None
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.loads(error.read())["value"]["message"]) from None
