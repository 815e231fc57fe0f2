"""The pages, in a real browser, on a real service."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.browser import FOUND, Browser
from tests.serve.conftest import Server, Start, jpeg
from tests.waiting import TIMEOUT

KEY = "a-data-key-for-tests"
BROKEN = jpeg(1)[:300]
TAB = "\ue004"
BANDS = {"pass", "review", "block"}
SCORED = "document.querySelectorAll('.photo[data-band]').length === arguments[0]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not FOUND:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    window = Browser(tmp_path_factory.mktemp("browser") / "log")
    yield window
    window.close()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """A good one, and one that ends too early."""
    files = [tmp_path / "good.jpg", tmp_path / "broken.jpg"]
    for file, data in zip(files, (jpeg(0), BROKEN), strict=True):
        file.write_bytes(data)
    return files


def get(url: str) -> tuple[Any, bytes]:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        return answer.headers, answer.read()


def test_a_chosen_photo_shows_its_bands(browser: Browser, server: Server, photos: list[Path]) -> None:
    serving = json.loads(get(f"{server.url}/v1/classes")[1])
    browser.open(server.url)
    browser.type("#photos", str(photos[0]))
    browser.wait(SCORED, 1)
    assert browser.texts(".photo h2") == ["good.jpg"]
    assert set(browser.texts(".photo .name")) == set(serving["classes"])
    assert set(browser.texts(".class .band")) <= BANDS
    assert browser.texts(".top .band")[0] in browser.texts(".class .band"), "the photo's is one of its classes'"
    assert browser.run("return document.querySelectorAll('[role=meter][aria-valuenow][aria-label]').length") == len(
        serving["classes"]
    )
    assert all("review" in text and "block" in text for text in browser.texts(".thresholds"))
    assert "scoring" in browser.texts(".timing")[0]
    assert f"edition {serving['edition']}" in browser.texts("#bundle")[0]
    assert browser.texts("#status")[0].startswith("1 photo: 1 ")
    browser.wait("document.querySelector('.photo img').naturalWidth > 0")  # the policy lets it be shown
    assert browser.console() == []


def test_a_bar_is_as_long_as_its_probability(browser: Browser, server: Server, photos: list[Path]) -> None:
    browser.open(server.url)
    browser.type("#photos", str(photos[0]))
    browser.wait(SCORED, 1)
    browser.wait("document.getAnimations().every(one => one.playState === 'finished')")
    bars = browser.run(
        """return [...document.querySelectorAll('.track')].map(track => [Number(track.getAttribute('aria-valuenow')),
        track.firstElementChild.getBoundingClientRect().width / track.getBoundingClientRect().width])"""
    )
    assert all(abs(value - length) < 0.02 for value, length in bars), bars


def test_a_broken_photo_fails_no_other(browser: Browser, server: Server, photos: list[Path]) -> None:
    browser.open(server.url)
    drop(browser, photos)
    browser.wait(SCORED, 2)
    found = dict(zip(browser.texts(".photo h2"), browser.texts(".top .band"), strict=True))
    assert found["broken.jpg"] == "error"
    assert found["good.jpg"] in BANDS
    assert "JPEG" in "".join(browser.texts(".problem"))
    assert "1 error" in browser.texts("#status")[0]
    assert [line for line in browser.console() if " 422 " not in line] == [], "the browser itself notes the 422"


def test_a_key_is_asked_for(browser: Browser, start: Start, tiny: Path, photos: list[Path]) -> None:
    budget = f"service.budget_ms={1e3 * TIMEOUT}"
    server = start(tiny, "--set", budget, "--set", "service.batch_sizes=[1]", env={"PROHIBIT_KEYS": KEY})
    browser.open(server.url)
    browser.wait("!document.getElementById('ask').hidden")
    browser.type("#photos", str(photos[0]))
    browser.wait("document.querySelector('.problem')?.innerText.includes('needed')")
    browser.type("#key", "not-the-key-of-it\n")
    browser.wait("document.querySelector('.problem')?.innerText.includes('opens nothing')")
    browser.run("document.getElementById('key').value = ''")
    browser.type("#key", f"{KEY}\n")
    browser.wait("document.querySelector('.photo').dataset.band !== 'error' && document.querySelector('.class')")
    assert browser.texts("#ask") == [""], "it is not shown any more"
    assert browser.texts(".problem") == [""]
    assert browser.texts(".top .band")[0] in BANDS


def test_a_busy_service_is_asked_again(browser: Browser, server: Server, photos: list[Path]) -> None:
    browser.open(server.url)
    browser.run(
        """const real = window.fetch;
        window.fetch = (...request) => {
          window.fetch = real;
          return Promise.resolve(new Response('{}', { status: 503, headers: { 'Retry-After': '0.1' } }));
        };"""
    )
    browser.type("#photos", str(photos[0]))
    browser.wait(SCORED, 1)
    assert browser.texts(".top .band")[0] in BANDS


def test_it_works_without_a_mouse_and_on_a_phone(browser: Browser, server: Server, photos: list[Path]) -> None:
    browser.open(server.url)
    browser.resize(360, 740)
    reached = []
    for _ in range(3):
        browser.press(TAB)
        reached.append(browser.run("return document.activeElement.id || document.activeElement.pathname"))
    assert reached[:2] == ["/docs", "photos"]
    browser.type("#photos", "\n".join(map(str, photos)))
    browser.wait(SCORED, 2)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"


def test_the_reference_has_every_route(browser: Browser, server: Server) -> None:
    document = json.loads(get(f"{server.url}/openapi.json")[1])
    browser.open(f"{server.url}/docs")
    browser.wait("!document.getElementById('groups').hasAttribute('aria-busy')")
    routes = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item.keys() & {"get", "post"}
    }
    assert set(browser.texts("section h3")) == routes
    assert len(browser.texts("#contents a")) == len(routes)
    text = browser.run("return document.querySelector('main').textContent")
    assert browser.texts("h1") == [document["info"]["title"]]
    assert "curl -X POST" in text
    assert "undefined" not in text
    assert "[object" not in text
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.console() == []


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_runs_nothing_but_its_own(server: Server, path: str) -> None:
    headers, body = get(server.url + path)
    assert headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    text = body.decode()
    assert "//" not in text.replace("// ", ""), "no address of another host"
    assert "@base.css@" not in text
    assert " style=" not in text
    assert "innerHTML" not in text


def drop(browser: Browser, files: list[Path]) -> None:
    """Lets go of files over the page, as a person who dragged them there."""
    browser.run(
        """const files = arguments[0].map(([name, data]) =>
          new File([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], name, { type: 'image/jpeg' }));
        const dataTransfer = new DataTransfer();
        files.forEach((file) => dataTransfer.items.add(file));
        for (const type of ['dragover', 'drop'])
          document.getElementById('drop').dispatchEvent(
            new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));""",
        [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files],
    )
