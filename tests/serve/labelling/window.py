"""A browser window as an annotator has it: a network that fails, fingers, a phone's screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.serve.browser import Browser

RIGHT, LEFT, DOWN, UP = "\ue014", "\ue012", "\ue015", "\ue013"
ENTER, BACKSPACE, ESCAPE, TAB = "\ue007", "\ue003", "\ue00c", "\ue004"

SHOWN = "document.querySelector('#stage img')?.naturalWidth > 0 && !document.getElementById('one').hidden"
GRID = "[...document.querySelectorAll('.tile:enabled')].every(t => t.querySelector('img')?.naturalWidth > 0)"
ENDED = """!document.getElementById('end').hidden
    && ['Nothing for you now', 'All done'].includes(document.getElementById('over').textContent)"""
VERDICT = 4
"""Seconds for which a page shows what the model thinks."""
SAVED = "document.getElementById('link').textContent === 'saved'"
AWAY = "document.getElementById('link').dataset.state === 'away'"
NETWORK = ("ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION_REFUSED", "ERR_NETWORK_CHANGED", "ERR_CONNECTION_RESET")

CLOCK = """{
  const timers = new Map();
  let now = 0, last = 0;
  window.setTimeout = (work, wait = 0) => (timers.set(++last, [work, now + wait]), last);
  window.clearTimeout = (timer) => timers.delete(timer);
  window.later = (seconds) => {
    now += 1000 * seconds;
    for (const [timer, [work, due]] of timers) if (due <= now) { timers.delete(timer); work(); }
  };
  AbortSignal.timeout = () => new AbortController().signal;
  window.busy = 0;
  const counted = (of, name) => {
    const real = of[name];
    of[name] = function (...given) {
      busy++;
      return real.apply(this, given).finally(() => { busy--; });
    };
  };
  counted(window, "fetch");
  for (const name of ["blob", "json"]) counted(Response.prototype, name);
  counted(HTMLImageElement.prototype, "decode");
}"""
"""Runs before a page's own script: its timers wait for `later`, no answer is too late, and what is on its way, be it a
message or a photo, is counted until it is there to be seen."""


class Window(Browser):
    """One annotator's, on whose pages time passes when a test says so."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.command("Page.addScriptToEvaluateOnNewDocument", source=CLOCK)

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

    def quiet(self) -> None:
        """Waits until nothing is on its way, so that all photos that the page holds can be shown at once."""
        self.wait("busy === 0")

    def asked(self) -> bool:
        """Whether a photo is to be answered, once the page knows that."""
        self.wait(f"({SHOWN}) || ({ENDED})")
        return bool(self.run(f"return Boolean({SHOWN})"))

    def saved(self) -> None:
        """Waits until every answer is with the server."""
        self.wait(SAVED)

    def later(self, seconds: float) -> None:
        """Lets time pass on the page."""
        self.run("later(arguments[0])", seconds)

    def in_time(self, condition: str, *arguments: Any) -> None:
        """Lets time pass on the page until the expression is true."""
        self.wait(f"(later(1), {condition})", *arguments)

    def reconnect(self) -> None:
        """Gives the network back, and waits until the page has noticed."""
        self.network(True)
        self.run("dispatchEvent(new Event('online'))")
        self.in_time(f"!({AWAY})")

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
        self.command("Emulation.setEmulatedMedia", features=[])
        self.touch(False)
        self.network(True)
        self.console()

    def command(self, command: str, **params: Any) -> Any:
        """One of the DevTools' protocol."""
        return self._call("POST", "/goog/cdp/execute", cmd=command, params=params)

    def save(self, file: Path) -> None:
        """A picture of what is to be seen."""
        file.write_bytes(self.screenshot())
