"""The page in real browsers; where a server dies or needs a key, on `launch label` in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from etils import epath

from prohibit_jax.files import read_photo
from tests.serve.browser import FOUND
from tests.serve.labelling.conftest import Open, Serve, Work, make_work
from tests.serve.labelling.window import (
    AWAY,
    BACKSPACE,
    DOWN,
    ENTER,
    GRID,
    LEFT,
    RIGHT,
    SHOWN,
    TAB,
    UP,
    VERDICT,
    Window,
)
from tests.waiting import until

KEY = "a-label-key-for-tests"
OVER = "!document.getElementById('end').hidden && document.getElementById('over').textContent === arguments[0]"
HINT = "document.getElementById('strip').classList.contains('told')"


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Window]]:
    if not FOUND:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    windows = [Window(tmp_path_factory.mktemp("browser") / "log") for _ in range(2)]
    yield windows
    for window in windows:
        window.close()


@pytest.fixture
def ann(browsers: list[Window]) -> Iterator[Window]:
    browsers[0].fresh()
    yield browsers[0]
    assert browsers[0].errors() == []


@pytest.fixture
def bob(browsers: list[Window]) -> Iterator[Window]:
    browsers[1].fresh()
    yield browsers[1]
    assert browsers[1].errors() == []


def shown(work: Work, window: Window) -> int:
    """The number of the photo on the stage."""
    return [ask.sha256 for ask in work.asks].index(window.shown())


def test_keys_answer(ann: Window, serve_page: Serve, work: Work) -> None:
    desk = serve_page(work)
    ann.begin(desk.url, "ann")
    ann.answer("y", "n", "u", RIGHT, LEFT, DOWN, "s")
    ann.saved()
    said = ["yes", "no", "unsure", "yes", "no", "unsure", "skip"]
    assert work.answers() == [("ann", number, answer) for number, answer in enumerate(said)]
    assert shown(work, ann) == 7
    assert ann.texts("#count") == ["6 of 8"]
    assert ann.run("return document.title") == "weapon 6/8"
    ann.answer("N")
    assert shown(work, ann) == 6, "the skipped one comes back once"
    ann.answer(UP)
    ann.wait(OVER, "Nothing for you now")
    assert "1 photo is for other annotators" in ann.texts("#why")[0]
    assert desk.end() == {"answered": 7, "yes": 2, "no": 3, "unsure": 2, "skipped": 1}


def test_what_the_model_thinks_is_hidden_until_one_has_answered(ann: Window, serve_page: Serve, work: Work) -> None:
    ann.begin(serve_page(work).url, "ann")
    page = ann.run("return [...document.querySelectorAll('body > :not(script)')].map(e => e.outerHTML).join()")
    assert not [word for word in ("0.9", "weapon@3", "scores", "uncertainty", "photo0") if word in page]
    ann.answer("n")
    ann.wait(HINT)
    assert ann.texts("#verdict") == ["You: no. weapon@3 gives 0.94: it disagrees. Asked because: scores 0.94."]
    ann.answer("y")
    assert ann.texts("#verdict") == ["You: yes. weapon@3 gives 0.91: it agrees. Asked because: scores 0.91."]
    ann.later(VERDICT)
    assert not ann.run(f"return {HINT}")
    ann.press(" ")
    ann.later(2 * VERDICT)
    assert ann.run(f"return {HINT}"), "until the next key"
    ann.press(" ")
    assert not ann.run(f"return {HINT}")


def test_the_next_photo_is_there_at_once(ann: Window, serve_page: Serve, work: Work) -> None:
    ann.begin(serve_page(work).url, "ann")
    ann.quiet()
    ann.network(False)
    for number in range(1, 8):
        ann.press("y")
        assert ann.run(f"return {SHOWN}"), "without a moment's wait"
        assert shown(work, ann) == number
    ann.network(True)
    ann.press("y")
    ann.in_time(OVER, "All done")
    assert ann.texts("#why") == ["Every photo of this queue is answered. Thank you, ann."]
    assert len(work.answers()) == 8


def test_undo_shows_the_photo_again(ann: Window, serve_page: Serve, work: Work) -> None:
    ann.begin(serve_page(work).url, "ann")
    assert ann.run("return document.getElementById('undo').disabled")
    ann.answer("y", "n")
    ann.saved()
    ann.press(BACKSPACE)
    assert shown(work, ann) == 1
    ann.press("z")
    assert shown(work, ann) == 0
    ann.answer("u")
    assert shown(work, ann) == 1
    ann.saved()
    assert work.current() == {("ann", 0): "unsure"}
    assert [answer for _, _, answer in work.answers()] == ["yes", "no", "skip", "skip", "unsure"]
    ann.reload()
    assert shown(work, ann) == 1
    ann.press("z")
    assert shown(work, ann) == 0, "a page that is loaded again remembers"


def test_a_grid_is_swept_and_taken_back(ann: Window, serve_page: Serve, tmp_path: Path) -> None:
    work = make_work(tmp_path / "many", 20)
    ann.begin(serve_page(work).url, "ann")
    ann.press("g")
    tiles = ann.tiles()
    assert tiles == [ask.sha256 for ask in work.asks[:12]]
    ann.click(f"[data-photo='{tiles[2]}']")
    for _ in range(2):
        ann.click(f"[data-photo='{tiles[5]}']")
    for _ in range(3):
        ann.click(f"[data-photo='{tiles[6]}']")
    assert ann.texts("#submit") == ["Submit: 10 no, 1 yes, 1 unsure"]
    ann.press(ENTER)
    ann.saved()
    answers = ["no"] * 12
    answers[2], answers[5] = "yes", "unsure"
    assert work.answers() == [("ann", number, answer) for number, answer in enumerate(answers)]
    assert "disagrees on 10 of 12" in ann.texts("#verdict")[0]
    assert ann.tiles() == [ask.sha256 for ask in work.asks[12:]]
    ann.press("z")
    assert ann.tiles() == tiles
    assert ann.texts("#submit") == ["Submit: 10 no, 1 yes, 1 unsure"], "with what was pressed"
    ann.saved()
    assert work.current() == {}
    ann.press(RIGHT)
    ann.press(RIGHT)
    ann.press("u")
    ann.press(ENTER)
    ann.saved()
    assert work.current()["ann", 1] == "unsure"
    ann.press("g")
    assert shown(work, ann) == 12
    ann.press("z")
    assert ann.tiles()[1] == tiles[1], "a page of the grid comes back as one"


def test_a_page_that_is_loaded_again_shows_the_same_photo(ann: Window, serve_page: Serve, work: Work) -> None:
    desk = serve_page(work)
    ann.begin(desk.url, "ann")
    ann.answer("y", "y")
    ann.reload()
    assert shown(work, ann) == 2
    ann.open("about:blank")
    ann.open(desk.url)
    assert shown(work, ann) == 2, "nor is the name asked again"
    assert work.answers() == [("ann", 0, "yes"), ("ann", 1, "yes")]


def test_nothing_is_lost_when_the_server_is_killed(ann: Window, bob: Window, open_desk: Open, tmp_path: Path) -> None:
    work = make_work(tmp_path / "many", 24)
    desk = open_desk(work)
    ann.begin(desk.url, "ann")
    bob.begin(desk.url, "bob")
    ann.answer("y")
    bob.answer("n")
    for window in (ann, bob):
        window.saved()
        window.quiet()
    desk.kill()
    ann.answer("y", "u")
    ann.quiet()  # else what is taken back is on its way
    ann.answer("z", "n")
    bob.answer("n")
    for window in (ann, bob):
        window.wait(AWAY)
    assert "2 answers kept in this browser" in ann.texts("#link")[0]
    before = ann.shown(), bob.shown()
    again = open_desk(work, port=urlsplit(desk.url).port)
    for window in (ann, bob):
        window.reconnect()
        window.saved()
    assert (ann.shown(), bob.shown()) == before
    assert work.current() == {
        ("ann", 0): "yes", ("ann", 1): "yes", ("ann", 2): "no", ("bob", 8): "no", ("bob", 9): "no"
    }  # fmt: skip
    assert len(work.answers()) == 5, "none is stored twice"
    for window in (ann, bob):
        window.quiet()  # else photos that are on their way are given up
    assert again.end()["answered"] == 3


def test_a_lost_network_costs_nothing(ann: Window, serve_page: Serve, work: Work) -> None:
    desk = serve_page(work)
    ann.begin(desk.url, "ann")
    ann.quiet()
    ann.network(False)
    ann.answer("y", "n", "u")
    ann.wait(AWAY)
    assert ann.texts("#link") == ["No connection: 3 answers kept in this browser"]
    assert work.answers() == []
    ann.open("about:blank")  # a closed tab
    ann.network(True)
    ann.open(desk.url)
    ann.saved()
    assert work.answers() == [("ann", 0, "yes"), ("ann", 1, "no"), ("ann", 2, "unsure")]
    assert shown(work, ann) == 3
    ann.network(False)
    ann.answer("y")
    ann.wait(AWAY)  # else it is on its way
    ann.press("z")
    assert shown(work, ann) == 3
    ann.reconnect()
    ann.answer("n")
    ann.saved()
    assert work.answers()[3:] == [("ann", 3, "no")], "what was taken back never left"


def test_another_name_leaves_no_answers_behind(ann: Window, serve_page: Serve, work: Work) -> None:
    desk = serve_page(work)
    ann.begin(desk.url, "a:out:b")
    ann.quiet()
    ann.network(False)
    ann.answer("y", "y", "n")
    ann.wait(AWAY)
    ann.press("?")
    ann.click("#rename")
    ann.wait("!document.getElementById('who').hidden")
    assert ann.texts("#link") == ["No connection: 3 answers kept in this browser"]
    ann.run("document.getElementById('name').value = ''")
    ann.type("#name", "cat\n")
    ann.wait(f"document.getElementById('who').hidden && {AWAY}")
    ann.reconnect()
    ann.answer("u")
    ann.saved()
    assert work.answers()[:3] == [("a:out:b", 0, "yes"), ("a:out:b", 1, "yes"), ("a:out:b", 2, "no")]
    assert [(name, answer) for name, _, answer in work.answers()[3:]] == [("cat", "unsure")]
    assert ann.run("return Object.keys(localStorage).filter(name => /:out:[^:]*$/.test(name))") == []


def test_who_leaves_leaves_nothing_unsent(ann: Window, serve_page: Serve, work: Work) -> None:
    ann.begin(serve_page(work).url, "ann")
    ann.network(False)
    ann.answer("y")
    ann.wait(AWAY)
    ann.press("?")
    ann.click("#rename")
    ann.reconnect()
    ann.in_time("document.getElementById('link').textContent === ''")
    assert work.answers() == [("ann", 0, "yes")], "though nobody has given another name"


def test_answers_to_one_queue_never_reach_another(ann: Window, serve_page: Serve, work: Work, tmp_path: Path) -> None:
    desk = serve_page(work)
    ann.begin(desk.url, "ann")
    ann.network(False)
    ann.answer("y")
    ann.wait(AWAY)
    desk.end()
    other = make_work(tmp_path / "other", 5)
    here = serve_page(other, port=urlsplit(desk.url).port)
    ann.reconnect()
    ann.wait("document.getElementById('count').textContent === '0 of 5'")
    assert shown(other, ann) == 0
    assert other.answers() == []
    assert ann.texts("#earlier") == ["1 answer to an earlier queue kept in this browser"]
    ann.answer("n")
    ann.saved()
    assert other.answers() == [("ann", 0, "no")]
    assert any(" 409 " in line for line in ann.console()), "which the browser notes"
    here.end()
    serve_page(work, port=urlsplit(desk.url).port)
    ann.reload()
    ann.wait("document.getElementById('count').textContent === '1 of 8'")
    assert work.answers() == [("ann", 0, "yes")]
    assert ann.texts("#earlier") == [""]


def test_two_annotators_are_never_asked_the_same(ann: Window, bob: Window, serve_page: Serve, tmp_path: Path) -> None:
    work = make_work(tmp_path / "many", 18)
    desk = serve_page(work)
    ann.begin(desk.url, "ann")
    bob.begin(desk.url, "bob")
    hands = ((ann, "y"), (bob, "n"))
    while asked := [(window, key) for window, key in hands if window.asked()]:  # who has none: the other holds the rest
        for window, key in asked:
            window.press(key)
            window.saved()
    assert sorted(number for _, number, _ in work.answers()) == list(range(18))
    yes, no = (sum(answer == word for _, _, answer in work.answers()) for word in ("yes", "no"))
    assert min(yes, no) >= 4, "half of what each held from the start is never taken from him"
    for window, _ in hands:
        window.reload()
        window.wait(OVER, "All done")
        assert window.texts("#end tbody tr") == [f"ann\t{yes}\t0\t0", f"bob\t0\t{no}\t0"]
    assert desk.end() == {"answered": 18, "yes": yes, "no": no, "unsure": 0, "skipped": 0}


def test_two_votes_and_a_tie(ann: Window, bob: Window, serve_page: Serve, tmp_path: Path) -> None:
    work = make_work(tmp_path / "few", 2)
    desk = serve_page(work, votes=2)
    ann.begin(desk.url, "ann")
    ann.answer("y", "y")
    ann.wait(OVER, "Nothing for you now")
    bob.begin(desk.url, "bob")
    bob.answer("y", "n")
    bob.wait(OVER, "Nothing for you now")
    assert "1 photo (1 of them is disputed) is for other annotators" in bob.texts("#why")[0]
    bob.press("?")
    bob.click("#rename")
    bob.run("document.getElementById('name').value = ''")
    bob.type("#name", "cat\n")
    assert shown(work, bob) == 1
    bob.answer("n")
    bob.wait(OVER, "All done")
    assert work.current()["cat", 1] == "no"


def test_it_works_with_fingers_on_a_phone(ann: Window, serve_page: Serve, work: Work) -> None:
    ann.resize(390, 844)
    ann.touch()
    ann.begin(serve_page(work).url, "ann")
    for way, answer in (((150, 10), "yes"), ((-150, 10), "no"), ((5, 150), "unsure"), ((5, -150), "skip")):
        before = ann.shown()
        ann.swipe("#stage", *way)
        ann.wait("document.getElementById('stage').dataset.photo !== arguments[0]", before)
        ann.saved()
        assert work.answers()[-1][2] == answer
    ann.swipe("#stage", 20, 5)
    assert shown(work, ann) == 4, "too short to be meant"
    ann.click("#answers [data-answer=yes]")
    ann.saved()
    assert work.answers()[-1] == ("ann", 4, "yes")
    for turn in ("#one", "#grid"):
        assert ann.run("return document.documentElement.scrollWidth <= innerWidth && scrollY === 0"), turn
        sizes = ann.run(
            """return [...document.querySelectorAll('#answers button, .tile')].filter(e => e.checkVisibility())
            .map(e => e.getBoundingClientRect()).map(box => Math.min(box.width, box.height))"""
        )
        assert sizes
        assert min(sizes) >= 44, "as large as a finger"
        bottom = ann.run("return document.getElementById('controls').getBoundingClientRect().bottom")
        assert bottom <= 844, "nothing is below the screen"
        ann.click("#mode")
        ann.wait(GRID)
    ann.resize(844, 390)
    ann.wait("document.getElementById('controls').getBoundingClientRect().bottom <= 390")
    ann.wait("document.getElementById('stage').getBoundingClientRect().height > 250")


def test_a_photo_that_cannot_be_shown_stops_nobody(ann: Window, serve_page: Serve, work: Work) -> None:
    Path(work.asks[0].path).unlink()
    Path(work.asks[2].path).write_bytes(b"GIF89a and nothing more")
    ann.open(serve_page(work).url)
    ann.type("#name", "ann\n")
    ann.wait("document.getElementById('note').textContent.includes('cannot be shown: cannot be read (No such file')")
    while ann.run("return document.getElementById('end').hidden"):
        ann.press("n")
        ann.saved()
    ann.wait(OVER, "All done")
    assert "2 photos could not be shown" in ann.texts("#why")[0]
    assert {number for _, number, _ in work.answers()} == {1, 3, 4, 5, 6, 7}
    assert [line for line in ann.console() if " 422 " not in line] == [], "the browser itself notes the 422"


def test_what_cannot_be_read_now_comes_back(
    ann: Window, serve_page: Serve, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, refused = True, 0

    def read(path: epath.Path, limit: int) -> bytes:
        nonlocal refused
        if away and path.name == "photo0.jpg":
            refused += 1
            raise OSError(116, "Stale file handle")
        return read_photo(path, limit)

    monkeypatch.setattr("serve.labelling.photos.read_photo", read)
    ann.open(serve_page(work).url)
    ann.type("#name", "ann\n")
    ann.in_time("document.getElementById('note').textContent.includes('cannot be read (Stale file handle)')")
    ann.press("n")
    assert shown(work, ann) == 1
    until(lambda: refused == 4)  # three times before it was passed, and once at the end of the line
    away = False
    ann.answer(*"nnnnnnn")
    ann.saved()
    ann.in_time(SHOWN)
    assert shown(work, ann) == 0
    ann.answer("y")
    ann.wait(OVER, "All done")
    assert work.current()["ann", 0] == "yes"
    assert [line for line in ann.console() if " 503 " not in line] == []


def test_broken_photos_of_a_grid_are_left_out(ann: Window, serve_page: Serve, work: Work) -> None:
    Path(work.asks[1].path).unlink()
    ann.begin(serve_page(work).url, "ann")
    ann.press("g")
    ann.wait("document.querySelectorAll('.tile:disabled').length === 1")
    assert len(ann.tiles()) == 8
    ann.click("#submit")
    ann.wait(OVER, "All done")
    assert [number for _, number, _ in work.answers()] == [0, 2, 3, 4, 5, 6, 7]
    assert [line for line in ann.console() if " 422 " not in line] == []


def test_the_key_is_in_the_address_or_asked_for(ann: Window, bob: Window, open_desk: Open, work: Work) -> None:
    desk = open_desk(work, "--host", "0.0.0.0", env={"PROHIBIT_LABEL_KEY": KEY})
    url = f"http://127.0.0.1:{urlsplit(desk.url).port}"
    ann.begin(f"{url}/#key={KEY}", "ann")
    assert ann.run("return location.hash") == "", "nobody reads it over a shoulder"
    ann.answer("y")
    ann.reload()
    assert shown(work, ann) == 1, "it is not asked for again"
    bob.open(url)
    bob.wait("!document.getElementById('door').hidden")
    bob.type("#key", "not-the-key-of-it\n")
    bob.wait("!document.getElementById('wrong').hidden")
    bob.type("#key", f"{KEY}\n")
    bob.wait("!document.getElementById('who').hidden")
    bob.type("#name", "bob\n")
    bob.answer("n")
    bob.saved()
    for window in (ann, bob):
        window.quiet()
    assert {name for name, _, _ in work.answers()} == {"ann", "bob"}
    assert [line for line in bob.console() if " 401 " not in line] == []


def test_a_photo_is_looked_at_closely_and_unblurred(ann: Window, serve_page: Serve, work: Work) -> None:
    ann.begin(serve_page(work).url, "ann")
    ann.click("#stage")
    ann.wait("document.getElementById('stage').classList.contains('close')")
    ann.wait("performance.getEntriesByType('resource').some(one => one.name.includes('/photos/3200/'))")
    ann.press("f")
    assert not ann.run("return document.getElementById('stage').classList.contains('close')")
    ann.press("f")
    ann.press("y")
    assert not ann.run("return document.getElementById('stage').classList.contains('close')"), "the next is seen whole"
    ann.press("b")
    blurred = "getComputedStyle(document.querySelector('#stage img')).filter.includes('blur')"
    ann.wait(f"{SHOWN} && {blurred}")
    ann.click("#stage")
    ann.wait(f"!{blurred}")
    ann.answer("y")
    ann.wait(f"{SHOWN} && {blurred}")
    ann.reload()
    ann.wait(f"{SHOWN} && {blurred}")


def test_it_is_for_everybody(ann: Window, serve_page: Serve, work: Work) -> None:
    ann.command(
        "Emulation.setEmulatedMedia",
        features=[
            {"name": "prefers-reduced-motion", "value": "reduce"},
            {"name": "prefers-color-scheme", "value": "dark"},
        ],
    )
    ann.begin(serve_page(work).url, "ann")
    assert ann.run("return getComputedStyle(document.querySelector('#stage img')).transitionDuration") == "0s"
    assert ann.run("return getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 25)"
    reached = []
    for _ in range(9):
        ann.press(TAB)
        reached.append(ann.run("const e = document.activeElement; return e.id || e.dataset.answer || e.tagName"))
    assert {"mode", "blur", "more", "stage", "no", "unsure", "yes", "skip"} <= set(reached), reached
    unnamed = ann.run(
        """return [...document.querySelectorAll('button, [role=button], input, progress')]
        .filter(e => e.checkVisibility() && !(e.getAttribute('aria-label') || e.innerText || e.labels?.length))
        .map(e => e.outerHTML)"""
    )
    assert unnamed == []
    ann.press(" ")
    assert work.answers() == []


def test_a_guide_and_hostile_names_are_text(ann: Window, serve_page: Serve, work: Work) -> None:
    guide = "Toys are <b>no</b> weapons.\n<script>alert(1)</script>"
    ann.begin(serve_page(work, guide=guide).url, "<img src=x onerror=alert(1)>")
    ann.answer("y")
    ann.saved()
    ann.press("?")
    assert ann.texts("#guide") == [guide]
    assert ann.texts("#me") == ["You are <img src=x onerror=alert(1)>."]
    assert json.dumps(ann.texts("#help tbody th")) == json.dumps(["<img src=x onerror=alert(1)>"])
