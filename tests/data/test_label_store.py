"""The label store, in SQLite and PostgreSQL alike: what comes back, what is refused, and that nothing is half done."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from etils import epath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from prohibit_jax.data.label_store import (
    ANSWERS,
    CHUNK,
    Counts,
    Dispute,
    Label,
    LabelStore,
    Resolved,
    Rule,
    Votes,
    check_label,
    open_label_store,
)
from prohibit_jax.types import InputError
from tests.data.postgres import Postgres, postgres

__all__ = ["postgres"]  # the fixture

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
SHARED = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sha256(photo: int) -> str:
    return hashlib.sha256(b"%d" % photo).hexdigest()


def label(photo: int = 0, answer: str = "yes", annotator: str = "ann", at: float = 0, **fields: Any) -> Label:
    """An answer `at` seconds after the start."""
    time = START + timedelta(seconds=at)
    known = {"path": f"photos/{photo}.jpg", "name": "weapon", "time": time, **fields}
    return Label(sha256=sha256(photo), answer=answer, annotator=annotator, **known)


FULL = label(
    path='a b/ü ß\U0001f600,\n"x"\'%s.jpg',
    annotator='Ænne O\'Neil, "both" %(x)s',
    time=datetime(2026, 1, 31, 13, 0, 0, 123457, timezone(timedelta(hours=1))),
    round=3,
    head="weapon@12",
    score=0.1 + 0.2,
    strategy="k_center",
    reason="=1+1; farthest from\tall\r\nthat is known",
)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that holds nothing."""
    if request.param == "sqlite":
        return str(tmp_path / "labels.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture
def store(address: str, tmp_path: Path) -> LabelStore:
    return open_label_store(address, tmp_path)


# What comes back


def test_a_label_comes_back_whole(store: LabelStore, address: str, tmp_path: Path) -> None:
    plain = label(1, "skip", at=-1e9)
    assert store.append([FULL, plain]) == 2
    assert store.labels("weapon") == [plain, replace(FULL, time=FULL.time.astimezone(UTC))]
    assert {found.time.tzinfo for found in store.labels("weapon")} == {UTC}
    assert open_label_store(address, tmp_path, create=False).labels("weapon") == store.labels("weapon")
    assert store.labels("cash") == []


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NAMES = (f"class{number}" for number in count())


@SHARED
@given(
    path=st.text(LETTERS, min_size=1, max_size=30),
    annotator=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30),
    reason=st.text(LETTERS, max_size=30),
    score=st.none() | st.floats(0, 1),
    time=st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC)),
    turn=st.none() | st.integers(0, 2**31 - 1),
)
def test_any_text_and_number_comes_back(
    store: LabelStore,
    path: str,
    annotator: str,
    reason: str,
    score: float | None,
    time: datetime,
    turn: int | None,
) -> None:
    given_ = label(path=path, annotator=annotator, reason=reason, score=score, time=time, round=turn, name=next(NAMES))
    assert store.append([given_]) == 1
    assert store.labels(given_.name) == [given_]


def test_many_labels_come_back_in_order(store: LabelStore) -> None:
    given_ = [label(i % 3000, annotator=f"a{i // 3000}", at=(i * 7919) % 9001) for i in range(2 * CHUNK + 1)]
    assert store.append(iter(given_)) == len(given_)
    found = store.labels("weapon")
    assert len(found) == len(given_)
    assert [one.time for one in found] == sorted(one.time for one in given_)
    assert set(found) == set(given_)


@pytest.mark.parametrize("time", [-(2**63), -62135596800000001, -1, 32503680000000000, 2**63 - 1])
def test_a_time_that_is_there_and_cannot_be_breaks_no_reading(store: LabelStore, time: int) -> None:
    store.append([label()])
    fields = "photo, name, annotator, strategy, reason, answer"
    with store.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO labels ({fields}, time) SELECT {fields}, {time} FROM labels"))
    first, last = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, 23, 59, 59, 999999, UTC)
    expected = [first, START] if time < 0 else [START, last]
    assert [one.time for one in store.labels("weapon")] == expected
    assert len(store.current("weapon")) == len(store.resolved("weapon")) == 1
    for one in store.labels("weapon"):
        check_label(one)


def test_at_one_time_the_order_of_giving_decides(store: LabelStore) -> None:
    store.append([label(0, "yes"), label(0, "skip")])
    store.append([label(0, "no"), label(1, "no"), label(1, "unsure")])
    assert [one.answer for one in store.labels("weapon")] == ["yes", "skip", "no", "no", "unsure"]
    assert [(one.path, one.answer) for one in store.current("weapon")] == [
        ("photos/0.jpg", "no"),
        ("photos/1.jpg", "unsure"),
    ]


def test_the_same_answer_is_not_given_twice_and_a_new_path_counts(store: LabelStore) -> None:
    first = [label(0, round=1), label(1)]
    assert store.append(first) == 2
    assert store.append([replace(one, path=f"moved/{i}.jpg", round=7) for i, one in enumerate(first)]) == 0
    assert [(one.path, one.round) for one in store.labels("weapon")] == [("moved/0.jpg", 1), ("moved/1.jpg", None)]
    others = [label(0, "no"), label(0, at=1), label(0, annotator="bob"), label(0, name="cash")]
    assert store.append([*others, *others]) == 4
    assert {one.path for one in store.labels("cash")} == {"photos/0.jpg"}  # where it was seen last


def test_current_is_the_latest_of_each_annotator_without_skips(store: LabelStore) -> None:
    store.append(
        [label(0, "yes", "ann", 5), label(0, "no", "bob", 1), label(0, "yes", "bob", 2), label(1, "yes", "ann", 3)]
    )
    store.append([label(0, "no", "ann", 4), label(1, "skip", "ann", 6)])
    assert [(one.annotator, one.answer) for one in store.current("weapon")] == [("bob", "yes"), ("ann", "yes")]
    assert store.current("cash") == []


# The rule


def reference(labels: Sequence[Label], rule: Rule) -> list[Resolved]:
    """`LabelStore.resolved`, one label after the other."""
    ordered = [one for _, _, one in sorted((one.time, i, one) for i, one in enumerate(labels))]
    first: dict[str, Label] = {}
    latest: dict[str, dict[str, Label]] = defaultdict(dict)
    for one in ordered:
        first.setdefault(one.sha256, one)
        latest[one.sha256].pop(one.annotator, None)
        latest[one.sha256][one.annotator] = one
    found = []
    for photo, asked in first.items():
        answers = {who: one.answer for who, one in latest[photo].items() if one.answer != "skip"}
        if not answers:
            continue
        votes = Votes(*(list(answers.values()).count(answer) for answer in Votes._fields))
        final = [answer for who, answer in answers.items() if who in rule.adjudicators]
        if final:
            answer = final[-1]
        elif votes.yes == votes.no and votes.yes:
            answer = "disputed"
        elif votes.yes + votes.no < rule.votes:
            answer = "unsure"
        else:
            answer = "yes" if votes.yes > votes.no else "no"
        found.append(Resolved(photo, asked.path, answer, votes, asked.strategy, asked.round))
    return found


@st.composite
def histories(draw: st.DrawFn, distinct: bool = False) -> list[Label]:
    """Few photos and annotators, so that they meet; `distinct` times, or many at once."""
    size = draw(st.integers(1, 14))
    times = (
        draw(st.permutations(range(size)))
        if distinct
        else draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    )
    labels = [
        label(
            draw(st.integers(0, 2)),
            draw(st.sampled_from(ANSWERS)),
            draw(st.sampled_from(["ann", "bob", "cy", "dan"])),
            at,
        )
        for at in times
    ]
    unlike = {(one.sha256, one.annotator, one.time, one.answer): one for one in labels}  # as the store keeps them
    strategies = st.sampled_from(["random", "uncertainty", "imported"])
    return [
        replace(one, strategy=draw(strategies), round=draw(st.none() | st.integers(0, 3))) for one in unlike.values()
    ]


RULES = st.sampled_from([Rule(who, votes) for who in ((), ("ann",), ("cy", "ann"), ("eve",)) for votes in (1, 2, 3)])


@SHARED
@given(labels=histories(), rule=RULES)
def test_the_rule_is_the_reference(store: LabelStore, labels: list[Label], rule: Rule) -> None:
    name = next(NAMES)
    store.append(replace(one, name=name) for one in labels)
    found = store.resolved(name, rule)
    assert found == reference(labels, rule)
    counts = store.counts(name, rule)
    answers = [one.answer for one in found]
    assert counts.labels == len(labels)
    assert counts.annotators == len({one.annotator for one in labels})
    assert (counts.yes, counts.no, counts.unsure, counts.disputed) == tuple(
        answers.count(answer) for answer in ("yes", "no", "unsure", "disputed")
    )
    assert [one.sha256 for one in store.disputes(name, rule)] == [
        one.sha256 for one in found if one.answer == "disputed"
    ]


@SHARED
@given(labels=histories(distinct=True), rule=RULES, data=st.data())
def test_the_order_of_insertion_does_not_matter_when_times_differ(
    store: LabelStore, labels: list[Label], rule: Rule, data: st.DataObject
) -> None:
    one, other = next(NAMES), next(NAMES)
    store.append(replace(label, name=one) for label in labels)
    for part in data.draw(st.permutations(labels)):
        store.append([replace(part, name=other)])
    assert store.resolved(one, rule) == store.resolved(other, rule)
    assert [replace(label, name=other) for label in store.current(one)] == store.current(other)


@SHARED
@given(labels=histories(), rule=RULES)
def test_a_skip_by_everybody_leaves_nothing(store: LabelStore, labels: list[Label], rule: Rule) -> None:
    name = next(NAMES)
    store.append(replace(one, name=name) for one in labels)
    store.append(replace(one, name=name, answer="skip", time=START + timedelta(hours=1)) for one in labels)
    assert store.resolved(name, rule) == store.current(name) == []
    assert store.counts(name, rule).labels > 0


@pytest.mark.parametrize(
    ("answers", "rule", "expected"),
    [
        ("ann:yes", Rule(), "yes"),
        ("ann:no", Rule(), "no"),
        ("ann:unsure", Rule(), "unsure"),
        ("ann:yes bob:no", Rule(), "disputed"),
        ("ann:yes bob:no cy:yes", Rule(), "yes"),
        ("ann:yes bob:unsure cy:unsure", Rule(), "yes"),
        ("ann:yes", Rule(votes=2), "unsure"),
        ("ann:yes bob:yes", Rule(votes=2), "yes"),
        ("ann:yes bob:no", Rule(votes=3), "disputed"),
        ("ann:yes bob:no", Rule(("bob",)), "no"),
        ("ann:yes bob:yes cy:unsure", Rule(("cy",)), "unsure"),
        ("ann:yes bob:no", Rule(("ann", "bob")), "no"),
        ("bob:no ann:yes", Rule(("ann", "bob")), "yes"),
        ("ann:yes cy:yes bob:no bob:skip", Rule(("bob",)), "yes"),
        ("bob:yes ann:no bob:no", Rule(("bob",)), "no"),
        ("ann:yes", Rule(("bob",), votes=3), "unsure"),
        ("bob:yes", Rule(("bob",), votes=3), "yes"),
    ],
)
def test_the_rule_by_example(tmp_path: Path, answers: str, rule: Rule, expected: str) -> None:
    store = open_label_store(None, tmp_path)
    store.append(label(0, *reversed(one.split(":")), at=i) for i, one in enumerate(answers.split()))
    assert [one.answer for one in store.resolved("weapon", rule)] == [expected]


def test_a_resolved_photo_carries_its_first_ask(store: LabelStore) -> None:
    store.append(
        [label(0, "skip", at=1, strategy="random", round=0), label(0, "yes", at=3, strategy="margin", round=2)]
    )
    store.append([label(0, "no", "bob", at=2, strategy="k_center", round=1, path="moved.jpg")])
    expected = Resolved(sha256(0), "moved.jpg", "disputed", Votes(1, 1, 0), "random", 0)
    assert store.resolved("weapon") == [expected]
    assert store.disputes("weapon") == [Dispute("weapon", sha256(0), "moved.jpg", ("ann",), ("bob",))]


def test_classes_are_counted(store: LabelStore) -> None:
    assert store.classes() == {}
    store.append([label(0), label(1, "no"), label(1, "yes", "bob"), label(2, "unsure"), label(3, "skip")])
    store.append([label(0, "no", name="cash")])
    assert store.classes() == {"cash": Counts(1, 1, 0, 1, 0, 0), "weapon": Counts(5, 2, 1, 0, 1, 1)}


# All or nothing


def test_nothing_is_added_where_labels_end_in_an_error(store: LabelStore) -> None:
    def broken() -> Iterator[Label]:
        yield from (label(i) for i in range(CHUNK + 10))
        raise InputError("line 7: no label")

    with pytest.raises(InputError, match="line 7"):
        store.append(broken())
    with pytest.raises(InputError, match="answer 'maybe'"):
        store.append([label(0), label(1, "maybe")])
    assert store.classes() == {}


WRITER = """
import os, signal, sys
from tests.data.test_label_store import CHUNK, label, open_label_store

def killed():
    yield from (label(i) for i in range(2 * CHUNK + 10))
    os.kill(os.getpid(), signal.SIGKILL)

store = open_label_store(sys.argv[1], ".")
store.append([label(0, "no", "bob")])
store.append(killed())
"""


def test_a_kill_in_the_middle_adds_nothing_and_blocks_nobody(address: str, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", WRITER, address], env={**os.environ, "PYTHONPATH": "."})
    assert ended.returncode == -signal.SIGKILL
    store = open_label_store(address, tmp_path, create=False)
    assert store.labels("weapon") == [label(0, "no", "bob")]
    assert store.append([label(i) for i in range(3)]) == 3


SEVERAL = """
import sys
from prohibit_jax.data import label_store
from tests.data.test_label_store import label, open_label_store
from tests.waiting import TIMEOUT

label_store.PATIENCE, who = TIMEOUT, sys.argv[2]
store = open_label_store(sys.argv[1], ".")  # all at once make it
pairs = ([label(i, annotator=who), label(i, annotator="all", path=f"{who}/{i}.jpg")] for i in range(20))
print(sum(map(store.append, pairs)), store.append(label(i, annotator=who, at=1) for i in range(300)))
"""


def test_several_processes_write_at_once(address: str, tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", SEVERAL, address, f"writer{i}"],
            env={**os.environ, "PYTHONPATH": "."},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    said = [writer.communicate()[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sum(int(added) for added, _ in said) == 3 * 20 + 20
    assert [int(added) for _, added in said] == [300] * 3
    counts = open_label_store(address, tmp_path).counts("weapon")
    assert (counts.labels, counts.annotators, counts.yes) == (3 * 320 + 20, 4, 300)


# Append-only


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE labels SET answer = 'no'",
        "DELETE FROM labels",
        "DELETE FROM photos",
        "UPDATE photos SET sha256 = 'x'",
        "UPDATE photos SET id = 77",
    ],
)
def test_the_database_refuses_changes(store: LabelStore, statement: str) -> None:
    store.append([FULL])
    before = store.labels("weapon")
    with pytest.raises(DBAPIError, match="append-only"), store.engine.begin() as connection:
        connection.execute(text(statement))
    assert store.labels("weapon") == before


def test_the_database_refuses_to_replace_or_empty(store: LabelStore) -> None:
    store.append([FULL])
    before = store.labels("weapon")
    fields = "photo, name, annotator, strategy, reason, answer, time"
    if store.engine.dialect.name == "sqlite":
        same_row = (
            f"REPLACE INTO labels (id, {fields}) SELECT id, photo, name, annotator, strategy, '', 'no', 0 FROM labels"
        )
        same_key = (
            f"REPLACE INTO labels ({fields}) SELECT photo, name, annotator, strategy, '', answer, time FROM labels"
        )
        with store.engine.begin() as connection:
            connection.execute(text(same_row))
            connection.execute(text(same_key))
    else:
        with pytest.raises(DBAPIError, match="append-only"), store.engine.begin() as connection:
            connection.execute(text("TRUNCATE labels, photos"))
    assert store.labels("weapon") == before


# What is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sha256": "ab"}, "sha256 'ab': 64 of 0-9 and a-f"),
        ({"sha256": "A" * 64}, "sha256 'AAAA"),
        ({"path": ""}, "path '': 1 to 4096 characters"),
        ({"path": "a\0b"}, "path 'a\\x00b'"),
        ({"path": "\udcff.jpg"}, "path '\\udcff.jpg'"),
        ({"name": "Weapon"}, "class 'Weapon'"),
        ({"name": "path"}, "class 'path': scores have a column of that name"),
        ({"answer": "Yes"}, "answer 'Yes': use yes, no, unsure, skip"),
        ({"annotator": ""}, "annotator ''"),
        ({"annotator": "a\nb"}, "annotator 'a\\nb'"),
        ({"annotator": "a" * 201}, "annotator 'aaa"),
        ({"time": datetime(2026, 1, 1)}, "time 2026-01-01T00:00:00: needs its zone"),
        ({"time": datetime(1, 1, 1, tzinfo=EAST)}, "time 0001-01-01T00:00:00+14:00: not from 1970 to 2999"),
        ({"time": datetime(9999, 12, 31, 23, tzinfo=WEST)}, "time 9999-12-31T23:00:00-12:00: not from"),
        ({"time": datetime(1970, 1, 1, tzinfo=EAST)}, "time 1970-01-01T00:00:00+14:00: not from"),
        ({"time": datetime(2999, 12, 31, 12, tzinfo=WEST)}, "time 2999-12-31T12:00:00-12:00: not from"),
        ({"round": -1}, "round -1"),
        ({"round": 2**31}, "round 2147483648"),
        ({"head": "weapon@0"}, "head 'weapon@0'"),
        ({"score": 1.01}, "score 1.01: a number from 0 to 1"),
        ({"score": float("nan")}, "score nan"),
        ({"strategy": ""}, "strategy ''"),
        ({"reason": "x" * 2001}, "reason 'xxx"),
    ],
)
def test_a_label_that_cannot_be_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    store, bad = open_label_store(None, tmp_path), replace(label(), **fields)
    for refuse in (check_label, lambda one: store.append([one])):
        with pytest.raises(InputError) as caught:
            refuse(bad)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def refused(address: str, tmp_path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_label_store(address, tmp_path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_store_of_a_newer_schema_is_refused(store: LabelStore, address: str, tmp_path: Path) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE label_store SET version = 2"))
    assert "a label store of schema 2, this prohibit_jax knows schema 1; update it" in refused(address, tmp_path)


def test_a_database_of_something_else_is_refused_and_left_alone(address: str, tmp_path: Path) -> None:
    engine = LabelStore(
        open_label_store(address + "x" if address.endswith(".db") else address, tmp_path).engine, ""
    ).engine
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("DROP TABLE label_store"))
    if engine.dialect.name == "sqlite":
        with sqlite3.connect(address) as other:
            other.execute("CREATE TABLE photos (id)")
        other.close()
    before = Path(address).read_bytes() if engine.dialect.name == "sqlite" else b""
    assert "holds other tables, not a label store" in refused(address, tmp_path)
    assert not before or Path(address).read_bytes() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.write_bytes(b"sha256,path\n" * 100), "not a label store"),
        (lambda file: file.write_bytes(b"x"), "not a label store"),
        (lambda file: file.write_bytes(b"SQLite format 3\0" + b"x" * 5000), "file is not a database"),
        (Path.mkdir, "not a file"),
        (os.mkfifo, "not a file"),
    ],
)
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "labels.db")
    assert refused("", tmp_path) == f"{tmp_path}/labels.db: {message}"


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    store = open_label_store(None, tmp_path)
    store.append(label(i) for i in range(2000))
    file = tmp_path / "labels.db"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] + b"\xff" * (len(whole) // 2))
    with pytest.raises(InputError, match=rf"^{file}: .*malformed"):
        store.labels("weapon")
    file.write_bytes(whole[:5000])
    with pytest.raises(InputError, match=rf"^{file}: "):
        open_label_store(None, tmp_path).labels("weapon")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "mysql://ann:hush@host/labels",
            "mysql://ann:***@host/labels: labels are kept in a file or at postgresql+psycopg",
        ),
        ("postgresql+asyncpg://ann:hush@host/x", "postgresql+asyncpg://ann:***@host/x: labels are kept in a file"),
        ("postgresql://ann:hush@host:port/x", "postgresql://ann:***@host:port/x: no address"),
        ("postgresql://ann:hu@sh@127.0.0.1:1/x", "postgresql://ann:***@127.0.0.1:1/x: an @ in a name or password"),
        ("postgresql://ann:hu/ sh@127.0.0.1:1/x", "postgresql://ann:***@127.0.0.1:1/x: connection"),
        ("postgresql+psycopg://127.0.0.1:1/x?password=hush&user=ann", "x?password=***&user=ann: "),
    ],
)
def test_an_address_that_leads_nowhere_is_named_without_its_password(
    tmp_path: Path, address: str, message: str
) -> None:
    said = refused(address, tmp_path)
    assert message in said
    assert "hush" not in said
    assert "sh@" not in said


def test_a_store_that_is_not_there_is_not_made_for_reading(tmp_path: Path) -> None:
    assert "no labels there yet" in refused("", tmp_path, create=False)
    assert not list(tmp_path.iterdir())


def test_an_empty_database_is_not_made_a_store_for_reading(address: str, tmp_path: Path) -> None:
    if address.endswith(".db"):
        Path(address).touch()
    assert "no labels there yet" in refused(address, tmp_path, create=False)


# Where it is


def test_it_is_where_the_address_the_environment_or_the_store_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROHIBIT_LABELS", raising=False)
    for store in (tmp_path, SimpleNamespace(root=epath.Path(tmp_path))):
        assert open_label_store(None, store).name == open_label_store("", store).name == f"{tmp_path}/labels.db"
    monkeypatch.setenv("PROHIBIT_LABELS", str(tmp_path / "team" / "ours.db"))
    assert open_label_store(None, tmp_path).name == f"{tmp_path}/team/ours.db"
    assert open_label_store(str(tmp_path / "mine.db"), tmp_path).name == f"{tmp_path}/mine.db"
    assert {path.name for path in tmp_path.rglob("*.db")} == {"labels.db", "ours.db", "mine.db"}


def test_any_file_name_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a?b=c#d %20é"
    open_label_store(str(file), tmp_path).append([label()])
    assert {path.name for path in tmp_path.iterdir()} == {file.name}
    assert open_label_store(str(file), tmp_path, create=False).labels("weapon") == [label()]


def test_sqlite_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    store = open_label_store(None, tmp_path)
    store.append([label()])
    seen: list[int] = []

    def slow() -> Iterator[Label]:
        yield label(1)
        seen.append(len(store.labels("weapon")))
        yield label(2)

    store.append(slow())
    assert seen == [1]
    assert len(store.labels("weapon")) == 3
