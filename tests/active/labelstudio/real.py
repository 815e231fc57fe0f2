"""A real Label Studio, where there is one, in an environment of its own: it takes 1 GB and pins its libraries."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.active.labelstudio.studio import PEOPLE, Studio, checked
from tests.waiting import TIMEOUT, until

VARIABLE = "LABEL_STUDIO"
PASSWORD = "a-password-of-the-tests"
QUIET = {
    "COLLECT_ANALYTICS": "0",
    "LATEST_VERSION_CHECK": "0",
    "SSRF_PROTECTION_ENABLED": "false",
    "ML_BLOCK_LOCAL_IP": "false",
}


def program() -> Path | None:
    """The one that LABEL_STUDIO names, else the one in .venv/label-studio, if there is one."""
    named = os.environ.get(VARIABLE)
    found = Path(named) if named else Path(__file__).parents[3] / ".venv" / "label-studio" / "bin" / "label-studio"
    return found if found.exists() else None


@contextmanager
def real(label_studio: Path, folder: Path) -> Iterator[Studio]:
    """Starts a server with its data in `folder`, a lead with an access token, and annotators who sign up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    command = [label_studio, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port]
    user = ["--username", PEOPLE[0], "--password", PASSWORD, "--log-level", "ERROR"]
    environment = {**os.environ, **QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
    log = folder / "server.log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        server = subprocess.Popen(
            [*command, *user],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(_stop, server)
        until(lambda: _healthy(url, server, log), pause=0.5)  # its first start makes its database
        browsers = {who: stack.enter_context(_browser(url)) for who in PEOPLE}
        for who, browser in browsers.items():
            _enter(browser, "/user/login/" if who == PEOPLE[0] else "/user/signup/", who)
        key = str(checked(browsers[PEOPLE[0]].post("/api/token/"))["token"])
        yield Studio(url, key, browsers)


def _browser(url: str) -> httpx.Client:
    """A client that sends Django's token against forged requests back, as pages do."""

    def protect(request: httpx.Request) -> None:
        request.headers["Referer"] = url
        if token := client.cookies.get("csrftoken"):
            request.headers["X-CSRFToken"] = token

    client = httpx.Client(base_url=url, follow_redirects=True, timeout=TIMEOUT, event_hooks={"request": [protect]})
    return client


def _enter(browser: httpx.Client, page: str, who: str) -> None:
    browser.get(page).raise_for_status()
    form = {"email": who, "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    browser.post(page, data=form).raise_for_status()
    assert checked(browser.get("/api/current-user/whoami"))["email"] == who


def _healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, f"Label Studio does not start: {log.read_text(errors='replace')[-2000:]}"
    try:
        return httpx.get(f"{url}/health", timeout=TIMEOUT).is_success
    except httpx.HTTPError:
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)  # at once: nobody wants its data
    server.wait()
