from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prohibit_jax.data import sources
from prohibit_jax.data.sources import Item, open_source
from prohibit_jax.types import InputError


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refused(spec: str) -> str:
    with pytest.raises(InputError) as caught:
        open_source(spec)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("spec", ["", "photos", "folders:photos", "labels", "Folder:photos"])
def test_an_unknown_kind_names_the_known_ones(spec: str) -> None:
    assert "folder:PATH" in refused(spec)
    assert repr(spec) in refused(spec)


# folder:


def test_folder_takes_photos_at_any_depth_sorted_and_labelled_by_their_folder(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.jpeg", "a/deep/er/3.WebP", "top.png", "b/4.TIF", "b/5.gif", "b/6.bmp", "b/7.tiff"):
        write(tmp_path / name, name.encode())
    for name in ("b/notes.txt", "b/.hidden.jpg", ".thumbs/8.jpg", "b/jpg", "a/9.jpg.part"):
        write(tmp_path / name)
    (tmp_path / "c.jpg").mkdir()

    source = open_source(f"folder:{tmp_path}")

    assert [(item.path.removeprefix(f"{tmp_path}/"), item.label) for item in source.items] == [
        ("a/deep/er/3.WebP", "er"),
        ("b/1.jpeg", "b"),
        ("b/2.JPG", "b"),
        ("b/4.TIF", "b"),
        ("b/5.gif", "b"),
        ("b/6.bmp", "b"),
        ("b/7.tiff", "b"),
        ("top.png", tmp_path.name),
    ]
    assert source.read(2) == b"b/2.JPG"


def test_folder_paths_start_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "photos" / "gun" / "1.jpg")
    monkeypatch.chdir(tmp_path)
    assert open_source("folder:photos/").items == (Item("photos/gun/1.jpg", "gun"),)
    monkeypatch.chdir(tmp_path / "photos" / "gun")
    assert open_source("folder:.").items == (Item("1.jpg", "gun"),)


def test_a_linked_folder_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "photos" / "gun" / "1.jpg")
    write(tmp_path / "else" / "2.jpg")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "else")  # it may lead back here
    assert [Path(item.path).name for item in open_source(f"folder:{tmp_path / 'photos'}").items] == ["1.jpg"]


def test_folder_refuses_what_holds_no_photos(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    assert "no such folder" in refused(f"folder:{tmp_path / 'absent'}")
    assert "no such folder" in refused("folder:")
    assert "no such folder" in refused(f"folder:{tmp_path / 'a.txt'}")
    assert "no photos" in refused(f"folder:{tmp_path}")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name themselves")
def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb"):
        pass
    assert "not UTF-8" in refused(f"folder:{tmp_path}")


def test_a_pipe_or_a_dangling_link_is_no_photo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    photo = write(tmp_path / "real.jpg")
    (tmp_path / "linked.jpg").symlink_to(photo)
    assert [Path(item.path).name for item in open_source(f"folder:{tmp_path}").items] == ["linked.jpg", "real.jpg"]


def test_folder_on_real_photos(shared: Path) -> None:
    source = open_source(f"folder:{shared / 'data' / 'caltech101' / 'revolver'}")
    assert len(source.items) == 62
    assert {item.label for item in source.items} == {"revolver"}
    assert all(source.read(i).startswith(b"\xff\xd8") for i in range(3))


# manifest:


def manifest(tmp_path: Path, text: str) -> str:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    return f"manifest:{tmp_path / 'm.csv'}"


def test_manifest_csv(tmp_path: Path) -> None:
    text = '\ufeffpath,label,group,split,price\n"a, b.jpg",gun,seller 1,test,9\n/else/c.jpg,"cup\n",,,\n'
    source = open_source(manifest(tmp_path, text))
    assert source.items == (
        Item(f"{tmp_path}/a, b.jpg", "gun", "seller 1", "test"),
        Item("/else/c.jpg", "cup"),
    )
    write(tmp_path / "a, b.jpg", b"bytes")
    assert source.read(0) == b"bytes"
    with pytest.raises(FileNotFoundError):
        source.read(1)


def test_a_pipe_in_a_manifest_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="not a file"):
        open_source(manifest(tmp_path, "path\na.jpg\n")).read(0)


def test_a_huge_file_is_read_no_further_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST", 10)
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**40)
    assert len(open_source(f"folder:{tmp_path}").read(0)) == 11


def test_manifest_without_labels_is_unlabelled(tmp_path: Path) -> None:
    assert open_source(manifest(tmp_path, "path\na.jpg\n")).items == (Item(f"{tmp_path}/a.jpg", ""),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs the column 'path'"),
        ("a.jpg,gun\n", "needs the column 'path'"),
        ("path;label\na.jpg;gun\n", "needs the column 'path', and has only: path;label"),
        ("path,lable\na.jpg,gun\n", "'lable' in its header should be called 'label'"),
        ("Path,label\na.jpg,gun\n", "'Path' in its header should be called 'path'"),
        ("path,label,gruop\na.jpg,gun,1\n", "'gruop' in its header should be called 'group'"),
        ("path,label,label\na.jpg,gun,cup\n", "'label' is there twice"),
        ("path,label\n", "lists no photos"),
        ("path,label\na.jpg,gun\n,cup\n", "line 3: its path is empty"),
        ("path,label\na.jpg,gun\nb\0.jpg,cup\n", "line 3: its path 'b\\x00.jpg' holds a NUL"),
        ("path,label\na.jpg\n", "line 2: it needs 2 fields"),
        ("path,label\na.jpg,gun,test\n", "line 2: it needs 2 fields"),
        ("path,label,split\na.jpg,gun,test\nb.jpg,gun,val\n", "line 3: split 'val'; use train, validation, test"),
        ("path,label\na.jpg,gun\nb.jpg,cup\na.jpg,cup\n", "a.jpg' is listed on line 2 already"),
        ('path,label\n"a.jpg,gun\n', "not CSV"),
    ],
)
def test_manifest_errors_name_file_and_line(tmp_path: Path, text: str, says: str) -> None:
    message = refused(manifest(tmp_path, text))
    assert says in message
    assert f"'{tmp_path}/m.csv'" in message


def test_manifest_must_be_utf8_and_there(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", b"path,label\na.jpg,gun\nb.jpg,caf\xe9\n")
    assert "line 3: not UTF-8" in refused(f"manifest:{tmp_path / 'm.csv'}")
    assert "cannot be read" in refused(f"manifest:{tmp_path / 'none.csv'}")
    assert "cannot be read" in refused(f"manifest:{tmp_path}")


def test_manifest_parquet_whatever_its_name(tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
            "label": [7, None],
            "split": [None, "train"],
            "weapon": [0.5, 0.25],
        }
    )
    pq.write_table(table, tmp_path / "m.table")
    assert open_source(f"manifest:{tmp_path / 'm.table'}").items == (
        Item(f"{tmp_path}/a.jpg", "7"),
        Item(f"{tmp_path}/b.jpg", "", split="train"),
    )


def test_manifest_parquet_errors(tmp_path: Path) -> None:
    file = tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg", "a.jpg"]}), file)
    assert "row 3: " in refused(f"manifest:{file}")
    assert "listed on row 1" in refused(f"manifest:{file}")
    pq.write_table(pa.table({"path": [["a.jpg"]]}), file)
    assert "not a Parquet file of text columns" in refused(f"manifest:{file}")
    pq.write_table(pa.table({"photo": ["a.jpg"]}), file)
    assert "needs the column 'path'" in refused(f"manifest:{file}")
    file.write_bytes(file.read_bytes()[:100])
    assert "not a Parquet file" in refused(f"manifest:{file}")


# synthetic:


def test_synthetic() -> None:
    source = open_source("synthetic:12:3")
    assert len(source.items) == 12
    assert source.items == open_source("synthetic:12:3").items != open_source("synthetic:12:4").items
    assert len(open_source("synthetic:").items) == 2000
    for count in ("0", "00", "-1", "many", "1.5", "10000001", "9" * 5000, f"3:{'9' * 5000}"):
        message = refused(f"synthetic:{count}")
        assert "whole numbers, COUNT from 1 to 10,000,000" in message
        assert len(message) < 200


# tfds:


@pytest.fixture(scope="module")
def tfds_photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A dataset `tiny_photos` as array_record where TFDS looks; the bytes of its photos by file name."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    files = {}
    for name in ("gun_0.jpg", "cup_1.jpg", "cup_2.jpg"):
        Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8)).save(folder / name)
        files[name] = (folder / name).read_bytes()

    class TinyPhotos(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc, name-defined]
        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # looking for it needs importlib_resources, which TFDS does not declare

        def _info(self):  # type: ignore[no-untyped-def]
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["cup", "gun"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):  # type: ignore[no-untyped-def]
            names = {"train": ["gun_0", "cup_1"], "test": ["cup_2"]}
            return {split: self._generate_examples(some) for split, some in names.items()}  # type: ignore[no-untyped-call]

        def _generate_examples(self, names):  # type: ignore[no-untyped-def]
            for name in names:
                yield name, {"image": folder / f"{name}.jpg", "label": name.partition("_")[0]}

    data = tmp_path_factory.mktemp("tfds")
    TinyPhotos(data_dir=data, file_format="array_record").download_and_prepare()
    tfds.core.add_data_dir(data)
    return files


def test_tfds_gives_stored_bytes_and_label_names(tfds_photos: dict[str, bytes]) -> None:
    source = open_source("tfds:tiny_photos")
    assert sorted(item.label for item in source.items) == ["cup", "cup", "gun"]
    assert [item.path.rpartition("/")[0] for item in source.items] == ["tfds:tiny_photos/train"] * 2 + [
        "tfds:tiny_photos/test"
    ]
    copy = pickle.loads(pickle.dumps(source))
    for i, item in enumerate(source.items):
        (name,) = (name for name, data in tfds_photos.items() if data == source.read(i))
        assert name.startswith(item.label)
        assert copy.read(i) == source.read(i)
    assert source.items[2].label == "cup"


def test_tfds_refuses_an_unknown_dataset() -> None:
    pytest.importorskip("tensorflow_datasets")
    assert "tfds:no_such_photos" in refused("tfds:no_such_photos")


def test_tfds_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert "extra 'tfds'" in refused("tfds:caltech101")


@pytest.mark.parametrize("spec", ["folder:{}", "manifest:{}/m.csv", "synthetic:3"])
def test_sources_can_be_pickled(tmp_path: Path, spec: str) -> None:
    write(tmp_path / "gun" / "1.jpg", b"photo")
    manifest(tmp_path, "path,label\ngun/1.jpg,gun\n")
    source = open_source(spec.format(tmp_path))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.items == source.items
    assert copy.read(0) == source.read(0)
