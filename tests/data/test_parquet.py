"""Photos that Parquet files list or hold: paths, bytes and Hugging Face's structs, in files, folders and patterns."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prohibit_jax.data import parquet
from prohibit_jax.data.parquet import AT_ONCE, KEPT, Images, open_parquet
from prohibit_jax.data.sources import Item, Source, open_source
from prohibit_jax.types import InputError


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def refused(address: object) -> str:
    with pytest.raises(InputError) as caught:
        open_source(f"parquet:{address}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_paths_start_at_their_file_s_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.jpg").write_bytes(b"two")
    columns = {"path": ["2.jpg", "/else/3.jpg"], "label": [" gun", None], "group": ["g", ""], "split": ["test", None]}
    write(tmp_path / "b" / "x.parquet", columns | {"price": [1, 2]})
    write(tmp_path / "a.parquet", {"path": pa.array(["b/1.jpg"]).dictionary_encode(), "label": [7]})
    source = open_source(f"parquet:{tmp_path}")
    expected = (
        Item(f"{tmp_path}/b/1.jpg", "7"),
        Item(f"{tmp_path}/b/2.jpg", "gun", "g", "test"),
        Item("/else/3.jpg", ""),
    )
    assert tuple(source.items) == source.items[:] == expected
    assert [source.items[i] for i in range(3)] == list(expected)
    assert (len(source.items), source.items[-1]) == (3, expected[2])
    assert source.items[::2] == expected[::2]
    with pytest.raises(IndexError):
        source.items[3]
    assert source.read(1) == b"two"
    with pytest.raises(FileNotFoundError):
        source.read(0)
    assert isinstance(source, Source)


def test_files_are_named_by_file_folder_or_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.parquet", "a/b/2.parquet", "3.parquet", ".hidden.parquet"):
        write(tmp_path / name, {"path": ["x.jpg"]})
    (tmp_path / "a" / "notes.txt").write_bytes(b"")
    monkeypatch.chdir(tmp_path)

    def paths(address: str) -> list[str]:
        return [item.path for item in open_source(f"parquet:{address}").items]

    assert paths("3.parquet") == ["x.jpg"]
    assert paths("a") == ["a/1.parquet"[:2] + "x.jpg", "a/b/x.jpg"]
    assert paths("**/[12].parquet") == ["a/x.jpg", "a/b/x.jpg"]
    assert paths(".") == ["x.jpg", "a/x.jpg", "a/b/x.jpg"]


@pytest.mark.parametrize("name", ["br[1]/m.parquet", "m[1].parquet", "a?/*.parquet"])
def test_a_name_that_looks_like_a_pattern_is_a_name_where_it_is_there(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, {"path": ["/x.jpg"]})
    write(tmp_path / "br1" / "m.parquet", {"path": ["/y.jpg"]})
    write(tmp_path / "m1.parquet", {"path": ["/y.jpg"]})
    write(tmp_path / "ab" / "y.parquet", {"path": ["/y.jpg"]})
    assert [item.path for item in open_source(f"parquet:{tmp_path / name}").items] == ["/x.jpg"]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files that hold photos `0` to `99` and so on, in row groups of 100 but for a large one."""
    folder = tmp_path_factory.mktemp("held")
    for number, count in enumerate((250, 700, 50)):
        photos = [f"{number}-{row}".encode() for row in range(count)]
        write(folder / f"{number}.parquet", {"image": photos}, row_group_size=100 if number != 1 else 1000)
    return folder


def test_photos_without_a_name_are_called_by_file_and_row(held: Path) -> None:
    source = open_source(f"parquet:{held}")
    assert [source.items[i] for i in (0, 249, 250, 999)] == [
        Item(f"{held}/{file}.parquet#{row}", "") for file, row in ((0, 0), (0, 249), (1, 0), (2, 49))
    ]
    assert [item.path for item in source.items] == [source.items[i].path for i in range(1000)]


@settings(max_examples=20)
@given(rows=st.lists(st.integers(0, 999), max_size=12))
def test_photos_come_in_any_order(held: Path, rows: Sequence[int]) -> None:
    source = open_parquet(str(held))
    for i in rows:
        file = 0 if i < 250 else 1 if i < 950 else 2
        assert source.read(i) == f"{file}-{i - (0, 250, 950)[file]}".encode()


def test_photos_in_about_their_order_are_read_once(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    begin = parquet._row_group
    monkeypatch.setattr(parquet, "_row_group", lambda file, row: (opened.append(row), begin(file, row))[1])
    source = open_parquet(str(held / "1.parquet"))
    ahead = 100  # as scoring reads: never further than that before the first that is missing
    assert ahead < AT_ONCE * KEPT / 2
    with ThreadPoolExecutor(8) as pool:
        for start in range(0, 700, ahead):
            rows = range(start, start + ahead)
            assert list(pool.map(source.read, rows)) == [f"1-{row}".encode() for row in rows]
    assert len(opened) == 1


def test_hugging_face_structs(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"file")
    structs = [
        {"bytes": b"held", "path": "a.jpg"},
        {"bytes": None, "path": "b.jpg"},
        {"bytes": None, "path": None},
        None,
    ]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    write(tmp_path / "x.parquet", {"image": pa.array(structs, kind), "label": [0, 1, 1, 0]})
    source = open_source(f"parquet:{tmp_path}/x.parquet")
    assert [item.label for item in source.items] == ["0", "1", "1", "0"]
    assert (source.read(0), source.read(1)) == (b"held", b"file")
    for row in (2, 3):
        with pytest.raises(OSError, match="no photo in this row"):
            source.read(row)


def test_a_path_beside_an_image_is_its_name(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"image": [b"a", b"b"], "path": ["listing/1", None]})
    source = open_source(f"parquet:{tmp_path}")
    assert [item.path for item in source.items] == ["listing/1", f"{tmp_path}/x.parquet#1"]


def test_it_can_be_pickled(held: Path) -> None:
    source = open_source(f"parquet:{held}")
    source.read(3)
    copy = pickle.loads(pickle.dumps(source))
    assert (tuple(copy.items), copy.read(300)) == (tuple(source.items), b"1-50")


def test_a_file_that_changed_is_an_unreadable_photo(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", {"image": [b"a"] * 3})
    source = open_source(f"parquet:{file}")
    write(file, {"image": [b"a"]})
    with pytest.raises(OSError, match="damaged or changed"):
        source.read(2)
    file.write_bytes(b"PAR1")
    with pytest.raises(OSError, match="damaged or changed"):
        Images()(str(file), 0)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        Images()(str(file), 0)


def test_what_holds_no_photos_is_refused(tmp_path: Path) -> None:
    assert "no Parquet file there" in refused(tmp_path)
    assert "no Parquet file there" in refused(tmp_path / "*.parquet")
    assert "No such file" in refused(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_bytes(b"no")
    assert "cannot be read" in refused(tmp_path / "text.parquet")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"photo": ["a"]}, "needs a column path or image, and has only: photo"),
        ({"path": pa.array([], pa.string())}, "no photos in it"),
        ({"path": ["a", " "]}, "row 2: its path is empty"),
        ({"path": ["a", None]}, "row 2: its path is empty"),
        ({"path": ["a", "b\0"]}, "row 2: its path holds a NUL"),
        ({"path": ["a", "b", "a"]}, "'a' is listed twice"),
        ({"path": ["a"], "split": ["val"]}, "row 1: its split is none of train, validation, test"),
        ({"path": [["a"]]}, "not text"),
        ({"image": ["text"]}, "its column image must be"),
    ]
    for columns, message in cases:
        assert message in refused(write(tmp_path / "x.parquet", columns))
