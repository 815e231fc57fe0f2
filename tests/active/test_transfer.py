"""Labels in and out of files: the same to the byte, and one bad row keeps everything out."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from prohibit_jax.active import transfer
from prohibit_jax.active.transfer import SCHEMA, Transfer, import_file, import_source, read_labels, write_labels
from prohibit_jax.config import Config, parse_config
from prohibit_jax.data.label_store import Label, LabelStore, open_label_store
from prohibit_jax.types import InputError

START = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
PLAIN = Label("ab" * 32, "a.jpg", "weapon", "yes", "ann", START)
ODD = [
    PLAIN,
    Label("cd" * 32, 'x,"y"\n\r\n\rz\t\U0001f600é.jpg', "weapon", "no", 'O\'Neil, "Ænne"', START, 0, "weapon@3", 0.0),
    Label("ef" * 32, '=HYPERLINK("http://x")', "weapon", "skip", "+cmd|' /C calc'!A0", START, 7, None, 1.0, "random"),
    Label("ab" * 32, "a.jpg", "weapon", "no", "ann", START, 2**31 - 1, "cash@1", 0.1 + 0.2, "k_center", " \n-1, @x "),
    Label(
        "12" * 32, "ﬁn/../ .jpg ", "weapon", "unsure", " bob ", START + timedelta(microseconds=1), None, None, 5e-324
    ),
    Label("12" * 32, "ﬁn/../ .jpg ", "weapon", "unsure", "NULL", START.replace(year=1970), reason="nan"),
]


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return open_label_store(str(tmp_path / "labels.db"), tmp_path)


def test_the_columns_are_the_fields() -> None:
    assert [name if name != "class" else "name" for name in SCHEMA.names] == list(vars(PLAIN))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_out_in_and_out_again_is_the_same_to_the_byte(store: LabelStore, tmp_path: Path, kind: str) -> None:
    store.append(ODD)
    one, other = tmp_path / f"one.{kind}", tmp_path / f"other.{kind}"
    assert write_labels(kind, one, store.stream("weapon")) == len(ODD)
    empty = open_label_store(str(tmp_path / "empty.db"), tmp_path)
    assert import_file(empty, kind, one, "weapon") == Transfer(len(ODD), len(ODD))
    assert empty.labels("weapon") == store.labels("weapon")
    write_labels(kind, other, empty.stream("weapon"))
    assert other.read_bytes() == one.read_bytes()
    assert import_file(empty, kind, one, "weapon") == Transfer(len(ODD), 0)
    assert not list(tmp_path.glob(".prohibit*"))


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.text(LETTERS, min_size=1),
    reason=st.text(LETTERS),
    score=st.none() | st.floats(0, 1),
    time=st.datetimes(datetime(1970, 1, 1), datetime(2999, 12, 31)),
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_any_text_and_number_comes_back(
    tmp_path: Path, kind: str, path: str, reason: str, score: float | None, time: datetime
) -> None:
    label = replace(PLAIN, path=path, reason=reason, score=score, time=time.replace(tzinfo=UTC))
    write_labels(kind, tmp_path / "labels", [label, label])
    assert list(read_labels(kind, tmp_path / "labels", "weapon")) == [label, label]


def test_a_csv_reads_as_a_person_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    text = f"path,sha256,answer,time,annotator,score\na.jpg,{PLAIN.sha256},yes,2026-01-31T13:30+01:00,ann,\n"
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n"), text.rstrip()):
        file.write_text(content, newline="")
        assert list(read_labels("csv", file, "weapon")) == [PLAIN]


def test_parquet_of_other_types_is_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**vars(PLAIN), "score": 0.5}]).drop(["name", "head", "round"])
    time = pa.array([START.astimezone(timezone(timedelta(hours=2)))], pa.timestamp("ms", "+02:00"))
    table = table.set_column(table.schema.get_field_index("time"), "time", time)
    score = pa.array([0.5], pa.float32())
    table = table.set_column(table.schema.get_field_index("score"), "score", score)
    answer = pa.array(["yes"]).dictionary_encode()
    pq.write_table(table.set_column(table.schema.get_field_index("answer"), "answer", answer), tmp_path / "labels")
    assert list(read_labels("parquet", tmp_path / "labels", "weapon")) == [replace(PLAIN, score=0.5)]


GOOD: dict[str, Any] = dict(zip(SCHEMA.names, vars(PLAIN).values(), strict=True)) | {"time": START.isoformat()}


def write_rows(file: Path, *rows: dict[str, Any]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "ab"}, "line 5: sha256 'ab': 64 of 0-9 and a-f"),
        ({"class": "cash"}, "line 5: class 'cash', not 'weapon'"),
        ({"answer": ""}, "line 5: answer ''"),
        ({"annotator": ""}, "line 5: annotator ''"),
        ({"time": ""}, "line 5: time '': a time with its zone"),
        ({"time": "2026-01-31T12:00:00"}, "line 5: time 2026-01-31T12:00:00: needs its zone"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "line 5: time 0001-01-01T00:00:00+14:00: not from 1970 to 2999"),
        ({"round": "1.5"}, "line 5: round '1.5': a whole number"),
        ({"score": "high"}, "line 5: score 'high'"),
        ({"score": "nan"}, "line 5: score nan"),
        ({"head": "weapon@x"}, "line 5: head 'weapon@x'"),
        ({"strategy": ""}, "line 5: strategy ''"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_imported(
    store: LabelStore, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    file = tmp_path / "labels.csv"
    write_rows(file, GOOD, {**GOOD, "reason": "two\nlines"}, {**GOOD, **changes}, GOOD)
    refuse(store, "csv", file, f"{file} {message}")
    assert store.classes() == {}


def refuse(store: LabelStore, kind: str, file: Path, message: str) -> None:
    with pytest.raises(InputError) as caught:
        import_file(store, kind, file, "weapon")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column 'sha256' is missing"),
        (b"sha256,path,answer,time\n", "column 'annotator' is missing"),
        (b"sha256,path,answer,time,anotator\n", "column 'anotator' is unknown; did you mean 'annotator'?"),
        (b"sha256,path,answer,time,annotator,xyz\n", "column 'xyz' is unknown; there are sha256, path"),
        (b"sha256,path,path\n", "column 'path' is there twice"),
        (b"sha256,path,answer,time,annotator\na,b\n", "line 2: 2 fields, and its header has 5"),
        (b'sha256,path,answer,time,annotator\n"a"b\n', "line 2: not CSV"),
        (b"sha256,path,answer,time,annotator\n\xff\n", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_csv_of_labels_is_named(
    store: LabelStore, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    refuse(store, "csv", file, f"{file}")
    refuse(store, "csv", file, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(["time"]), "column 'time' is missing"),
        (lambda t: t.append_column("scroe", pa.array([0.5] * 3)), "did you mean 'score'?"),
        (lambda t: put(t, "time", pa.array([START.replace(tzinfo=None)] * 3)), "column time: timestamp[us], not"),
        (lambda t: put(t, "time", pa.array([START.isoformat()] * 3)), "column time: string, not"),
        (lambda t: put(t, "score", pa.array(["a"] * 3)), "column score: string, not double"),
        (lambda t: put(t, "round", pa.array([1.5] * 3)), "column round: double, not int32"),
        (lambda t: put(t, "sha256", pa.array(["ab" * 32, None, "ab" * 32])), "row 2: sha256 is empty"),
        (lambda t: put(t, "answer", pa.array(["yes", "no", "maybe"])), "row 3: answer 'maybe'"),
    ],
)
def test_a_parquet_file_that_cannot_be_is_named(
    store: LabelStore, tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    file = tmp_path / "labels.parquet"
    write_labels("parquet", file, [PLAIN, replace(PLAIN, answer="no"), replace(PLAIN, answer="skip")])
    pq.write_table(change(pq.read_table(file)), file)
    refuse(store, "parquet", file, message)
    assert store.classes() == {}


def put(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


@pytest.mark.parametrize("kind", ["csv", "parquet", "label-studio"])
def test_a_file_that_is_missing_or_something_else_is_named(store: LabelStore, tmp_path: Path, kind: str) -> None:
    refuse(store, kind, tmp_path / "none", f"{tmp_path}/none: ")
    (tmp_path / "other").write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    refuse(store, kind, tmp_path / "other", f"{tmp_path}/other")


def test_label_studio_comes_back(store: LabelStore, tmp_path: Path) -> None:
    plain = [replace(label, annotator=f"{i}@example.com", path=f"{i}.jpg") for i, label in enumerate(ODD)]
    store.append(plain)
    file = tmp_path / "labels.json"
    assert write_labels("label-studio", file, store.stream("weapon")) == len(plain)
    other = open_label_store(str(tmp_path / "other.db"), tmp_path)
    assert import_file(other, "label-studio", file, "weapon") == Transfer(len(plain), len(plain))
    assert other.labels("weapon") == store.labels("weapon")


@pytest.mark.parametrize("kind", ["csv", "parquet", "label-studio"])
def test_a_database_is_not_written_over(store: LabelStore, tmp_path: Path, kind: str) -> None:
    store.append([PLAIN])
    (tmp_path / "link.csv").symlink_to("labels.db")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    for name in ("labels.db", "link.csv", "other"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(InputError) as caught:
            write_labels(kind, tmp_path / name, store.stream("weapon"))
        said = str(caught.value)
        assert said == f"{tmp_path / name}: a database, which no file of labels replaces; name another file"
        assert (tmp_path / name).read_bytes() == before
    assert (tmp_path / "link.csv").is_symlink()
    for content in (b"", b"SQLite", b"x" * 100):
        (tmp_path / "file").write_bytes(content)
        assert write_labels(kind, tmp_path / "file", [PLAIN]) == 1


def test_files_are_read_and_written_a_few_labels_at_a_time(
    store: LabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CHUNK", 2)
    store.append(ODD)
    for kind in ("csv", "parquet"):
        write_labels(kind, tmp_path / kind, store.stream("weapon"))
        assert list(read_labels(kind, tmp_path / kind, "weapon")) == store.labels("weapon")
    assert pq.ParquetFile(tmp_path / "parquet").num_row_groups == 3


# A source's labels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(["gun", "gun", "cup", "hat", "hat"]):
        path = tmp_path / "photos" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def config(source: str) -> Config:
    asked = {"name": "weapon", "positive": ["gun"], "ignore": ["hat"]}
    return parse_config({"class": asked, "data": {"source": source, "workers": 0}}, "test")


def test_a_source_is_labelled_by_the_config(store: LabelStore, photos: Path, tmp_path: Path) -> None:
    asked = config(f"folder:{photos}")
    assert import_source(store, asked, tmp_path, "team") == Transfer(3, 3)
    found = {Path(label.path).name: (label.answer, label.annotator, label.strategy) for label in store.labels("weapon")}
    assert found == {
        name: (answer, "team", "imported") for name, answer in (("0.png", "yes"), ("1.png", "yes"), ("2.png", "no"))
    }
    assert import_source(store, asked, tmp_path, "team") == Transfer(3, 0)
    (photos / "gun" / "0.png").rename(photos / "cup" / "0.png")
    assert import_source(store, asked, tmp_path, "team") == Transfer(3, 1)
    answers = {Path(one.path): one.answer for one in store.resolved("weapon")}
    assert answers[photos / "cup" / "0.png"] == "no"


def test_what_cannot_be_imported_of_a_source_is_told(store: LabelStore, photos: Path, tmp_path: Path) -> None:
    (photos / "gun" / "broken.png").write_bytes(b"no photo")
    (photos / "cup" / "copy.png").write_bytes((photos / "gun" / "0.png").read_bytes())
    said: list[str] = []
    assert import_source(store, config(f"folder:{photos}"), tmp_path, "team", warn=said.append) == Transfer(2, 2)
    assert said[0].startswith(f"1 of 7 photos cannot be used; the first: {photos}/gun/broken.png: ")
    assert said[1] == f"1 photos are there as yes and as no, and left out; the first: {photos}/gun/0.png"


def test_labels_are_not_imported_as_a_source(store: LabelStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--from labels: would lose who answered"):
        import_source(store, config("labels:"), tmp_path, "team")
