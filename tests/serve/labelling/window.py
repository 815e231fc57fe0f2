"""A browser window as an annotator has it: a network that fails, fingers, a phone's screen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.serve.browser import Browser

RIGHT, LEFT, DOWN, UP = "\ue014", "\ue012", "\ue015", "\ue013"
ENTER, BACKSPACE, ESCAPE, TAB = "\ue007", "\ue003", "\ue00c", "\ue004"

SHOWN = "document.querySelector('#stage img')?.naturalWidth > 0 && !document.getElementById('one').hidden"
GRID = "[...document.querySelectorAll('.tile:enabled')].every(t => t.querySelector('img')?.naturalWidth > 0)"
SAVED = "document.getElementById('link').textContent === 'saved'"
NETWORK = ("ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION_REFUSED", "ERR_NETWORK_CHANGED", "ERR_CONNECTION_RESET")


class Window(Browser):
    """One annotator's."""

    def begin(self, url: str, name: str) -> None:
        """Opens the page, gives a name, and waits for the first photo."""
        self.open(url.partition("#")[0])
        self.run("localStorage.clear()")  # of a test that had the same port
        self.open("about:blank")
        self.open(url)
        self.wait("!document.getElementById('who').hidden")
        self.type("#name", f"{name}\n")
        self.wait(SHOWN)

    def shown(self) -> str:
        """SHA-256 of the photo that is on the stage."""
        self.wait(SHOWN)
        return str(self.run("return document.getElementById('stage').dataset.photo"))

    def tiles(self) -> list[str]:
        """SHA-256 of the photos in the grid."""
        self.wait(GRID)
        return list(self.run("return [...document.querySelectorAll('.tile')].map(tile => tile.dataset.photo)"))

    def answer(self, *keys: str) -> None:
        """Presses keys, each on a photo that is there to be seen."""
        for key in keys:
            self.wait(SHOWN)
            self.press(key)

    def saved(self) -> None:
        """Waits until every answer is with the server."""
        self.wait(SAVED)

    def network(self, on: bool) -> None:
        """Switches the network of the page."""
        rates = {"latency": 0, "download_throughput": 2**30, "upload_throughput": 2**30}
        self._call("POST", "/chromium/network_conditions", network_conditions={"offline": not on, **rates})

    def touch(self, on: bool = True) -> None:
        """Makes the screen one for fingers."""
        self.command("Emulation.setTouchEmulationEnabled", enabled=on, maxTouchPoints=2)

    def swipe(self, selector: str, x: float, y: float) -> None:
        """Moves a finger from the middle of an element by so many pixels."""
        middle = self.run(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]",
            selector,
        )
        points = [[middle[0] + step * x / 4, middle[1] + step * y / 4] for step in range(5)]
        for number, (px, py) in enumerate(points):
            kind = "touchMove" if number else "touchStart"
            self.command("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": px, "y": py}])
            time.sleep(0.02)
        self.command("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def click(self, selector: str) -> None:
        """Clicks an element as a mouse does, if it is to be seen."""
        found = self._call("POST", "/element", using="css selector", value=selector)
        self._call("POST", f"/element/{next(iter(found.values()))}/click")

    def errors(self) -> list[str]:
        """What the console says, but for the network that a test took away."""
        return [line for line in self.console() if not any(name in line for name in NETWORK)]

    def reload(self) -> None:
        """As F5 does."""
        self._call("POST", "/refresh")

    def fresh(self) -> None:
        """As the window was when it was new: a desk's screen, a mouse, a network."""
        self._call("POST", "/url", url="about:blank")
        self.command("Emulation.clearDeviceMetricsOverride")
        self.touch(False)
        self.network(True)
        self.console()

    def command(self, command: str, **params: Any) -> Any:
        """One of the DevTools' protocol."""
        return self._call("POST", "/goog/cdp/execute", cmd=command, params=params)

    def save(self, file: Path) -> None:
        """A picture of what is to be seen."""
        file.write_bytes(self.screenshot())
