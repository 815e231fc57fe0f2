from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import event

from prohibit_jax.active.queue import write_queue
from prohibit_jax.data.label_store import LabelStore, Rule, open_label_store
from prohibit_jax.types import InputError
from serve.labelling.app import create_app
from serve.labelling.photos import reader
from serve.labelling.server import serve_labelling
from serve.labelling.session import Session, open_queue
from tests.serve import asgi
from tests.serve.labelling.conftest import InLine, Work

HOST = {"Host": "127.0.0.1:8080"}
JSON = {"Content-Type": "application/json"}
KEY = "a-label-key-for-tests"


class Page:
    """What a browser would ask, of an application in this process."""

    def __init__(self, work: Work, votes: int = 1, keys: tuple[str, ...] = ()) -> None:
        self.store: LabelStore = open_label_store(None, str(work.store))
        self.work = work
        self.session = Session("weapon", open_queue(work.queue, "weapon"), self.store, Rule(votes=votes), "no toys")
        self.app = create_app(self.session, reader(None, ()), InLine(), keys)  # type: ignore[arg-type]
        self.sent = 0

    def get(self, path: str, **headers: str) -> asgi.Response:
        return asyncio.run(asgi.request(self.app, "GET", path, {**HOST, **headers}))

    def post(self, content: object, **headers: str) -> asgi.Response:
        body = json.dumps(content).encode()
        return asyncio.run(asgi.request(self.app, "POST", "/api/turn", {**HOST, **JSON, **headers}, body))

    def turn(self, annotator: str, /, *answers: tuple[int, str], want: int = 2, **changes: Any) -> asgi.Response:
        return self.post(self.message(annotator, *answers, want=want, **changes))

    def message(self, annotator: str, /, *answers: tuple[int, str], want: int = 2, **changes: Any) -> dict[str, Any]:
        given = [
            {"id": f"{self.sent + i}", "sha256": self.work.asks[number].sha256, "answer": answer}
            for i, (number, answer) in enumerate(answers)
        ]
        self.sent += len(given)
        content = {"queue": self.session.queue, "annotator": annotator, "answers": given, "want": want}
        return {**content, **changes}

    def asked(self, answer: asgi.Response) -> list[int]:
        assert answer.status == 200, answer.body
        numbers = {ask.sha256: number for number, ask in enumerate(self.work.asks)}
        return [numbers[ask["sha256"]] for ask in answer.json()["asks"]]


@pytest.fixture
def page(work: Work) -> Page:
    return Page(work)


def test_answers_are_stored_with_what_the_queue_says(page: Page) -> None:
    assert page.asked(page.turn("ann")) == [0, 1]
    assert page.asked(page.turn("ann", (0, "yes"), (1, "unsure"))) == [2, 3]
    assert page.work.answers() == [("ann", 0, "yes"), ("ann", 1, "unsure")]
    label, ask = page.work.labels()[0], page.work.asks[0]
    asked = (ask.sha256, ask.path, ask.name, ask.round, ask.head, ask.score, ask.strategy, ask.reason)
    assert asked == (
        label.sha256, label.path, label.name, label.round, label.head, label.score, label.strategy, label.reason
    )  # fmt: skip


def test_what_a_page_gets_of_an_ask_names_no_folder(page: Page) -> None:
    ask = page.turn("ann").json()["asks"][0]
    assert ask == {
        "sha256": page.work.asks[0].sha256,
        "score": 0.9375,
        "head": "weapon@3",
        "strategy": "uncertainty",
        "reason": "scores 0.94",
        "file": "photo0.jpg",
    }


def test_an_answer_that_arrives_twice_is_stored_once(page: Page) -> None:
    message = page.message("ann", (0, "yes"), (0, "undo"), (0, "no"))
    for _ in range(3):
        assert page.post(message).status == 200
    assert page.work.answers() == [("ann", 0, "yes"), ("ann", 0, "skip"), ("ann", 0, "no")]
    page.turn("ann", (0, "no"))
    assert len(page.work.answers()) == 3, "another id, from a second tab: it says nothing new"


def test_a_new_server_knows_an_answer_that_arrives_again(page: Page) -> None:
    message = page.message("ann", (0, "yes"), (1, "skip"))
    page.post(message)
    again = Page(page.work)
    assert page.asked(again.post(message)) == [2, 3]
    assert page.work.answers() == [("ann", 0, "yes"), ("ann", 1, "skip")]


def test_answers_of_one_message_have_a_time_each(page: Page) -> None:
    page.turn("ann", *((number, "no") for number in range(8)))
    times = [label.time for label in page.work.labels()]
    assert times == sorted(set(times))


def test_undo_appends_a_skip_and_shows_the_photo_again(page: Page) -> None:
    page.turn("ann", (0, "yes"))
    assert page.asked(page.turn("ann", (0, "undo"))) == [0, 1]
    assert page.work.answers() == [("ann", 0, "yes"), ("ann", 0, "skip")]
    assert page.work.current() == {}
    page.turn("bob", (5, "undo"))
    assert len(page.work.answers()) == 2, "he had said nothing"


def test_progress_and_what_this_run_was_told(page: Page) -> None:
    page.turn("ann", (0, "yes"), (1, "no"), (2, "skip"))
    said = page.turn("bob", (3, "unsure"), (4, "no"), (4, "undo")).json()
    assert said["progress"] == {"total": 8, "done": 3, "open": 5, "disputed": 0, "broken": 0}
    none = {"yes": 0, "no": 0, "unsure": 0}
    assert said["annotators"] == {"ann": {**none, "yes": 1, "no": 1}, "bob": {**none, "unsure": 1}}
    assert page.session.summary() == {"answered": 3, "yes": 1, "no": 1, "unsure": 1, "skipped": 1}
    assert Page(page.work).session.summary()["answered"] == 0
    about = page.get("/api/queue").json()
    assert about["class"] == "weapon"
    assert about["guide"] == "no toys"
    assert about["annotators"] == ["ann", "bob"]


def test_where_the_store_fails_nothing_counts_and_all_can_be_sent_again(page: Page) -> None:
    message = page.message("ann", (0, "yes"))

    def broken(*_: Any) -> None:
        raise OSError("disk full")

    event.listen(page.store.engine, "begin", broken)
    failed = page.post(message)
    event.remove(page.store.engine, "begin", broken)
    assert failed.status == 503
    assert "answers cannot be stored" in failed.json()["error"]
    assert failed.headers["retry-after"] == "5"
    assert page.asked(page.turn("bob", want=8)) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert page.post(message).status == 200
    assert page.work.answers() == [("ann", 0, "yes")]


def test_an_answer_counts_though_the_clock_was_set_back(page: Page) -> None:
    page.turn("ann", (0, "yes"))
    label = page.work.labels()[0]
    later = replace(label, answer="no", time=datetime.now(UTC) + timedelta(days=1))
    page.store.append([later, replace(later, annotator="bob", answer="yes")])
    again = Page(page.work)
    again.turn("ann", (0, "undo"), (0, "yes"), (0, "unsure"), (1, "yes"))
    assert page.work.current() == {("ann", 0): "unsure", ("bob", 0): "yes", ("ann", 1): "yes"}
    times = [label.time for label in page.work.labels() if label.sha256 == page.work.asks[0].sha256]
    assert times == sorted(times)
    assert len(set(times[1:])) == 4
    other = next(label for label in page.work.labels() if label.sha256 == page.work.asks[1].sha256)
    assert other.time < later.time, "a wrong clock is no other photo's time"


def test_what_others_store_meanwhile_is_asked_no_more(page: Page) -> None:
    other = Page(page.work)
    page.turn("ann", (0, "yes"), (1, "yes"), (1, "undo"))
    old = replace(page.work.labels()[0], sha256=page.work.asks[2].sha256, time=datetime(2020, 1, 1, tzinfo=UTC))
    page.store.append([old])  # from Label Studio, with the time that it was answered there
    assert page.asked(other.turn("bob", want=8)) == [1, 3, 4, 5, 6, 7]
    other.turn("ann", (0, "no"))
    said = page.turn("ann").json()
    assert said["annotators"]["ann"] == {"yes": 1, "no": 1, "unsure": 0}
    assert said["progress"]["done"] == 2
    assert page.work.current()["ann", 0] == "no"
    assert len(page.work.answers()) == 5


def test_a_page_that_only_looks_waits_for_no_writer(page: Page) -> None:
    with page.store.engine.connect() as writer:
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        assert page.asked(page.turn("ann")) == [0, 1]
        writer.exec_driver_sql("ROLLBACK")


def test_requests_at_one_time_take_their_turns(page: Page) -> None:
    async def all_at_once() -> list[asgi.Response]:
        bodies = [json.dumps(page.message(name, (0, "yes"))).encode() for name in ("ann", "bob", "ann")]
        sent = [asgi.request(page.app, "POST", "/api/turn", {**HOST, **JSON}, body) for body in bodies]
        return list(await asyncio.gather(*sent))

    assert [answer.status for answer in asyncio.run(all_at_once())] == [200, 200, 200]
    assert sorted(page.work.answers()) == [("ann", 0, "yes"), ("bob", 0, "yes")]


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"queue": "another"}, 409, "load the page again"),
        ({"annotator": ""}, 400, "annotator"),
        ({"annotator": "a\x07b"}, 400, "annotator"),
        ({"annotator": "a" * 65}, 400, "annotator"),
        ({"want": 1000}, 400, "want"),
        ({"want": "2"}, 400, "want"),
        ({"holds": ["../../etc/passwd"]}, 400, "holds.0"),
        ({"answers": [{"id": "1", "sha256": "0" * 64, "answer": "maybe"}]}, 400, "answers.0.answer"),
        ({"more": 1}, 400, "more"),
    ],
)
def test_a_message_that_cannot_be_is_refused(page: Page, changes: dict[str, Any], status: int, text: str) -> None:
    answer = page.turn("ann", **changes)
    assert answer.status == status
    assert text in answer.json()["error"]
    assert page.work.answers() == []


def test_a_photo_of_no_queue_is_passed_over(page: Page) -> None:
    answer = page.post({**page.message("ann"), "answers": [{"id": "1", "sha256": "0" * 64, "answer": "yes"}]})
    assert answer.status == 200
    assert page.work.labels() == []


def test_names_are_trimmed(page: Page) -> None:
    page.turn("  ann   lee ", (0, "yes"))
    assert page.work.answers() == [("ann lee", 0, "yes")]


def test_too_large_a_body_and_another_type(page: Page) -> None:
    assert page.post({"queue": "x" * 2**18}).status == 413
    assert page.post({}, **{"Content-Type": "text/plain"}).status == 415


def test_a_photo_is_a_jpeg_of_that_size(page: Page) -> None:
    answer = page.get(f"/photos/480/{page.work.asks[0].sha256}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert Image.open(io.BytesIO(answer.body)).size == (96, 96)


@pytest.mark.parametrize("path", ["/photos/480/" + "0" * 64, "/photos/481/{}", "/photos/480/..%2f..%2fetc%2fpasswd"])
def test_no_other_photo_can_be_had(page: Page, path: str) -> None:
    assert page.get(path.format(page.work.asks[0].sha256)).status == 404


def test_a_photo_that_cannot_be_shown_stops_nobody(page: Page) -> None:
    gone, changed = Path(page.work.asks[0].path), Path(page.work.asks[1].path)
    gone.unlink()
    changed.write_bytes(b"another")
    page.turn("ann")
    for number, reason in ((0, "No such file"), (1, "changed")):
        answer = page.get(f"/photos/1600/{page.work.asks[number].sha256}")
        assert answer.status == 422
        assert reason in answer.json()["error"]
        assert str(page.work.root) not in answer.json()["error"]
    after = page.turn("ann")
    assert page.asked(after) == [2, 3]
    assert after.json()["progress"] == {"total": 8, "done": 0, "open": 6, "disputed": 0, "broken": 2}


def test_a_photo_that_cannot_be_read_now_stays(page: Page) -> None:
    errors = [OSError(5, "Input/output error"), FileNotFoundError(2, "No such file")]

    def read(path: str) -> bytes:
        if errors:
            raise errors.pop(0)
        return Path(path).read_bytes()

    page.app.state.read = read
    photo = f"/photos/480/{page.work.asks[0].sha256}"
    failed = page.get(photo)
    assert failed.status == 503
    assert failed.json()["error"] == "cannot be read (Input/output error)"
    assert page.asked(page.turn("ann")) == [0, 1]
    assert page.get(photo).status == 422
    assert page.asked(page.turn("ann")) == [1, 2]
    assert page.get(photo).status == 200, "it is there again"
    assert page.asked(page.turn("bob")) == [0, 3]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "127.0.0.1"])
def test_this_machine_is_served_without_a_key(page: Page, host: str) -> None:
    assert page.get("/api/queue", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example:8080", "", "10.0.0.1", "localhost.evil.example", "[::1"])
def test_a_name_that_somebody_pointed_here_is_refused(page: Page, host: str) -> None:
    for path in ("/", "/api/queue", f"/photos/480/{page.work.asks[0].sha256}"):
        assert page.get(path, Host=host).status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_changes_and_sees_nothing(page: Page, headers: dict[str, str]) -> None:
    assert page.turn("ann", (0, "yes")).status == 200
    assert page.post(page.message("ann", (1, "yes")), **headers).status == 403
    assert page.get("/api/queue", **headers).status == 403
    assert len(page.work.answers()) == 1


def test_with_a_key_only_those_who_have_it(work: Work) -> None:
    page = Page(work, keys=(KEY,))
    there = {"Host": "label.example"}
    assert page.get("/", **there).status == 200, "the page itself asks for the key"
    for path in ("/api/queue", f"/photos/480/{work.asks[0].sha256}", "/nowhere"):
        assert page.get(path, **there).status == 401
        assert page.get(path, **there, Authorization="Bearer another-key-of-tests").status == 401
    assert page.get("/api/queue", **there, Authorization=f"Bearer {KEY}").status == 200
    message = page.message("ann", (0, "yes"))
    assert page.post(message, **there).status == 401
    assert page.post(message, **there, Authorization=f"Bearer {KEY}").status == 200


def test_the_page_runs_nothing_but_its_own(page: Page) -> None:
    answer = page.get("/")
    policy, text = answer.headers["content-security-policy"], answer.body.decode()
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "@label" not in text
    assert "//" not in text.replace("// ", ""), "no address of another host"
    assert " style=" not in text
    assert "innerHTML" not in text


def test_a_wrong_way_is_no_secret(page: Page) -> None:
    assert page.get("/api/turn").status == 405
    assert page.get("/nowhere").status == 404


def test_what_goes_wrong_inside_stays_inside(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret.py")

    monkeypatch.setattr(page.session.desk, "deal", broken)
    answer = page.turn("ann")
    assert answer.status == 500
    assert b"secret" not in answer.body


@pytest.fixture
def bad_queues(work: Work) -> Iterator[tuple[Path, str]]:
    missing = work.root / "missing.parquet"
    text = work.root / "text.parquet"
    text.write_text("no Parquet")
    empty, digest = work.root / "empty.parquet", work.root / "digest.parquet"
    write_queue(empty, [])
    write_queue(digest, [type(work.asks[0])("a.jpg", "0", "weapon", None, None, "random", "", 0)])
    return iter([(missing, "missing"), (text, "not a"), (empty, "no photo"), (digest, "row 1: sha256")])


def test_a_bad_queue_is_one_line(work: Work, bad_queues: Iterator[tuple[Path, str]]) -> None:
    for file, text in [*bad_queues, (work.queue, "asks about weapon, not about cash")]:
        with pytest.raises(InputError, match=text) as caught:
            open_queue(file, "weapon" if file != work.queue else "cash")
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_others_are_let_in_only_with_a_key(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROHIBIT_LABEL_KEY", raising=False)
    for host in ("0.0.0.0", "::", "192.168.0.7", "label.example"):
        with pytest.raises(InputError, match="PROHIBIT_LABEL_KEY"):
            serve_labelling(page.session, reader(None, ()), host, 0, lambda *_: None)
    monkeypatch.setenv("PROHIBIT_LABEL_KEY", "short")
    with pytest.raises(InputError, match="fewer than 16"):
        serve_labelling(page.session, reader(None, ()), "0.0.0.0", 0, lambda *_: None)
