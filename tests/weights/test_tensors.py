"""Weight files: what PyTorch wrote comes back, and what a hostile or damaged file asks for is refused in one line."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from prohibit_jax.types import InputError
from prohibit_jax.weights.tensors import LEGACY_START, read_tensors
from tests.goldens import recipe

GOLDENS = Path(recipe.__file__).parent
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def plain(value: Any) -> bytes:
    """The instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(
    offset: Any = 0, shape: Any = (2, 3), strides: Any = (3, 1), length: Any = 6, storage: bytes = b"FloatStorage"
) -> bytes:
    """The instructions that push a tensor, as torch.save writes them."""
    pid = b"(" + plain("storage") + b"ctorch\n" + storage + b"\n" + plain("0") + plain("cpu") + plain(length) + b"tQ"
    arguments = plain(offset) + plain(shape) + plain(strides) + plain(False) + ORDERED_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + arguments + b"tR"


def pickled(value: bytes) -> bytes:
    """The pickle of {"w": value}."""
    return b"\x80\x02" + ORDERED_DICT + b"(" + plain("w") + value + b"u."


def zipped(value: bytes, data: bytes = np.arange(6, dtype="<f4").tobytes(), **extra: bytes) -> bytes:
    """A .pth file of {"w": value} with one storage."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {"data.pkl": pickled(value), "data/0": data, **extra}.items():
            archive.writestr(f"weights/{name}", content)
    return file.getvalue()


def read(folder: Path, data: bytes) -> dict[str, np.ndarray]:
    path = folder / "file.pth"
    path.write_bytes(data)
    return read_tensors(path)[0]


def refusal(folder: Path, data: bytes) -> str:
    with pytest.raises(InputError) as error:
        read(folder, data)
    message = str(error.value)
    assert "file.pth" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_reads_what_torch_saved(kind: str) -> None:
    found, metadata = read_tensors(GOLDENS / f"tensors_{kind}.pth")
    assert metadata == {}
    assert list(found) == list(recipe.tensors())
    for name, expected in recipe.tensors().items():
        assert found[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_reads_safetensors_whatever_the_suffix(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    kinds = (np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.int64, np.bool_)
    path = tmp_path / "weights.pth"
    path.write_bytes(save({np.dtype(kind).name: matrix.astype(kind) for kind in kinds}, {"architecture": "x"}))
    found, metadata = read_tensors(path)
    assert metadata == {"architecture": "x"}
    assert {name: array.dtype.name for name, array in found.items()} == {
        **{name: name for name in ("float32", "float64", "int64", "bool")},
        "float16": "float32",
        "bfloat16": "float32",
    }
    np.testing.assert_array_equal(found["bfloat16"], matrix)


def test_the_handmade_file_is_a_good_one(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, zipped(tensor()))["w"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"cposix\nsystem\n" + plain(("touch ran",)) + b"R", "posix.system"),
        (plain("builtins") + plain("eval") + b"\x93" + plain(("open('ran', 'w')",)) + b"R", "builtins.eval"),
        (b"ctorch._utils\n__dict__\n", "torch._utils.__dict__"),
        (b"(" + plain("touch ran") + b"iposix\nsystem\n", "INST"),
        (b"cfunctools\npartial\n", "functools.partial"),
        (b"ccollections\nOrderedDict\n)\x81", "NEWOBJ"),
        (b"ctorch\nFloatStorage\n)R", "Call"),
        (ORDERED_DICT + plain(("x",)) + b"R", "Call"),
    ],
)
def test_runs_nothing_that_a_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: bytes, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named in refusal(tmp_path, zipped(value))
    legacy = LEGACY_START + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + pickled(value)
    assert named in refusal(tmp_path, legacy)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": 1},
        {"offset": -1},
        {"strides": (4, 1)},
        {"strides": (-3, 1)},
        {"strides": (1,)},
        {"strides": [3, 1]},
        {"shape": (2, 3, 1)},
        {"shape": (2**62, 3)},
        {"shape": (10**9, 10**9), "strides": (0, 0)},
        {"shape": ("2", 3)},
        {"shape": (True, 3)},
        {"offset": 2**63},
        {"length": 7},
        {"length": "6"},
        {"storage": b"DoubleStorage"},
        {"storage": b"QInt8Storage"},
        {"storage": b"_rebuild"},
    ],
)
def test_no_tensor_reaches_beyond_its_storage(tmp_path: Path, fields: dict[str, Any]) -> None:
    refusal(tmp_path, zipped(tensor(**fields)))


def test_huge_numbers_cost_no_memory(tmp_path: Path) -> None:
    for bomb in (b"r\xff\xff\xff\x7f", b"\x8e" + struct.pack("<Q", 2**50), b"\x96" + struct.pack("<Q", 2**40)):
        refusal(tmp_path, zipped(tensor() + bomb + b"0"))


NESTED = b")" + b"q\x01h\x01\x86" * 60  # a tuple of itself twice, 60 times over: hashing or printing it never ends


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"}" + NESTED + b"K\x01s", "a dictionary by tuple"),
        (b"(" + NESTED + b"K\x01d", "a dictionary by tuple"),
        (b"}(" + NESTED + b"K\x01u", "a dictionary by tuple"),
        (b"ccollections\nOrderedDict\n" + NESTED + b"K\x01\x86\x85\x85R", "a dictionary by tuple"),
        (plain("torch") + NESTED + b"\x93", "a tuple where a str belongs"),
    ],
)
def test_tuples_of_tuples_are_never_hashed(tmp_path: Path, value: bytes, says: str) -> None:
    assert says in refusal(tmp_path, zipped(value))


def test_a_legacy_file_s_storage_keys_are_text(tmp_path: Path) -> None:
    start = LEGACY_START + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + pickled(tensor())
    assert "a tuple where a str belongs" in refusal(tmp_path, start + b"\x80\x02](" + NESTED + b"e.")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "neither"),
        (b"hello", "neither"),
        (b"PK\x03\x04 and no more", "damaged"),
        (b"\xff" * 8 + b"{}", "damaged"),
        (LEGACY_START, "damaged"),
        (zipped(plain(3)), "'w' is not a tensor"),
        (zipped(tensor(), byteorder=b"big"), "big-endian"),
        (zipped(tensor())[:-30], "damaged"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, data: bytes, says: str) -> None:
    assert says in refusal(tmp_path, data)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "torch.save" in refusal(tmp_path, file.getvalue())


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", pickled(tensor()))
    assert "compressed" in refusal(tmp_path, file.getvalue())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_tensors(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str) -> None:
    whole = save({"w": np.ones(9, np.float32)}, {"a": "b"}) if kind == "safetensors" else golden(kind)
    for length in range(0, len(whole) - 1, max(1, len(whole) // 50)):
        refusal(tmp_path, whole[:length])


def golden(kind: str) -> bytes:
    return (GOLDENS / f"tensors_{kind}.pth").read_bytes()


@settings(max_examples=100)
@given(
    kind=st.sampled_from(["zip", "legacy"]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=4),
)
def test_a_damaged_file_gives_tensors_or_one_line(
    kind: str, edits: list[tuple[float, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(golden(kind))
    for place, patch in edits:
        at = int(place * (len(data) - 1))
        data[at : at + len(patch)] = patch
    try:
        read(tmp_path_factory.getbasetemp(), bytes(data))
    except InputError as error:
        assert "\n" not in str(error)
