"""Tensors out of published weight files: safetensors and both formats of PyTorch's `.pth`.

A `.pth` file holds a pickle, and unpickling runs whatever the file says. So nothing is unpickled here: a small
machine follows the few pickle instructions that a dictionary of tensors needs, calls nothing that the file names, and
refuses everything else. PyTorch is not needed.
"""

from __future__ import annotations

import io
import json
import math
import pickletools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from etils import epath

from prohibit_jax.types import InputError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = (np.dtype(np.float16), BFLOAT16)

SAFETENSORS_TYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
STORAGES = {
    "torch BoolStorage": np.dtype(bool),
    "torch ByteStorage": np.dtype("u1"),
    "torch CharStorage": np.dtype("i1"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch IntStorage": np.dtype("<i4"),
    "torch LongStorage": np.dtype("<i8"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": BFLOAT16,
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER, pickled at the start of the legacy format
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") + b"."
WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts put the weights in a checkpoint


def read_tensors(path: epath.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a weight file, recognised by its content: (tensors by name, the metadata of a safetensors header).

    Half-precision tensors come back as float32, all others as they are stored; they may be read-only. A checkpoint
    that holds the weights under `state_dict`, `model_state_dict` or `model` is opened.

    Raises:
        InputError: the file is missing, damaged, of another kind, or asks for anything but tensors.
    """
    path = epath.Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None
    metadata: dict[str, str] = {}
    try:
        if data.startswith(b"PK\x03\x04"):
            tensors = _read_zip(data)
        elif data.startswith(LEGACY_START):
            tensors = _read_legacy(io.BytesIO(data))
        elif data[8:9] == b"{":
            tensors, metadata = _read_safetensors(data)
        else:
            raise InputError("neither a safetensors nor a PyTorch .pth file")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file can fail anywhere in the parsers, in any way
        raise InputError(f"{path}: damaged weight file ({_one_line(error)})") from None
    return {name: a.astype(np.float32) if a.dtype in HALVES else a for name, a in tensors.items()}, metadata


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _read_safetensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    tensors = {}
    for name, entry in safetensors.deserialize(data):  # type: ignore[no-untyped-call]
        if entry["dtype"] not in SAFETENSORS_TYPES:
            raise InputError(f"{name} is of type {entry['dtype']}, which is not supported")
        tensors[name] = np.frombuffer(entry["data"], SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__", {})


@dataclass(frozen=True)
class Storage:
    """A one-dimensional array that lies elsewhere in the file."""

    dtype: np.dtype[Any]
    key: str
    length: int


@dataclass(frozen=True)
class View:
    """A tensor before its storage is read: `shape` and `strides` in elements, from element `offset` on."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _read_zip(data: bytes) -> dict[str, np.ndarray]:
    """PyTorch 1.6 and later: a zip of `NAME/data.pkl` and a file `NAME/data/KEY` for each storage, uncompressed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise InputError("a zip file, but not one that torch.save wrote (no data.pkl)")
        folder = pickles[0].removesuffix("data.pkl")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError("has compressed entries, which torch.save never writes")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise InputError("written on a big-endian machine, which is not supported")
        views = list(_views(unpickle(io.BytesIO(archive.read(pickles[0])))))
        storages = {key: archive.read(f"{folder}data/{key}") for key in {view.storage.key for _, view in views}}
    return {name: _array(name, view, storages[view.storage.key]) for name, view in views}


def _read_legacy(stream: io.BytesIO) -> dict[str, np.ndarray]:
    """PyTorch before 1.6: pickles of magic, version, machine, tree and storage keys, then the storages one by one."""
    _magic, _version, machine, tree, keys = (unpickle(stream) for _ in range(5))
    if machine["little_endian"] is not True:
        raise InputError("written on a big-endian machine, which is not supported")
    views = list(_views(tree))
    sizes = {view.storage.key: view.storage.dtype.itemsize for _, view in views}
    storages = {}
    for key in keys:
        if _expect(key, str) not in sizes:
            raise InputError(f"holds a storage {key!r} of no tensor among the weights")
        storages[key] = stream.read(int.from_bytes(stream.read(8), "little") * sizes[key])
    return {name: _array(name, view, storages[view.storage.key]) for name, view in views}


def _views(tree: Any) -> Iterator[tuple[str, View]]:
    for wrapper in WRAPPERS:
        if isinstance(tree, dict) and isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    if not isinstance(tree, dict) or not tree:
        raise InputError("holds no dictionary of tensors; save the model's state_dict()")
    for name, view in tree.items():
        if not isinstance(name, str) or not isinstance(view, View):
            raise InputError(f"{name!r} is not a tensor; save the model's state_dict()")
        yield name, view


def _array(name: str, view: View, data: bytes) -> np.ndarray:
    """The tensor as a read-only view of its storage's bytes; every bound is checked before memory is touched."""
    flat = np.frombuffer(data, view.storage.dtype)
    numbers = (view.offset, *view.shape, *view.strides)
    if not all(type(n) is int and 0 <= n < 2**40 for n in numbers) or len(view.shape) != len(view.strides):
        raise InputError(f"{name} has an impossible shape, stride or offset")
    count = math.prod(view.shape)
    if len(flat) != view.storage.length or count > len(flat):
        raise InputError(f"{name} needs {count} elements, its storage holds {len(flat)}")
    last = view.offset + sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=True))
    if count and last >= len(flat):
        raise InputError(f"{name} reaches beyond its storage")
    strides = [stride * flat.itemsize for stride in view.strides]
    start = flat[view.offset :] if count else flat[:0]
    return np.lib.stride_tricks.as_strided(start, view.shape, strides, writeable=False)


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> View:
    if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise InputError("describes a tensor wrongly")
    return View(storage, offset, shape, strides)


def _dictionary(pairs: Iterable[tuple[Any, Any]] = ()) -> dict[str | int, Any]:
    """A dictionary by text or number: tuples of tuples could be shared so that hashing them takes for ever."""
    found: dict[str | int, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str | int):
            raise InputError(f"has a dictionary by {type(key).__name__}, which weights do not need; refused")
        found[key] = value
    return found


@dataclass(frozen=True)
class Call:
    """A global that the machine may call; what runs is ours, never the file's."""

    run: Callable[..., Any]


GLOBALS: Mapping[str, Any] = {
    "collections OrderedDict": Call(_dictionary),
    "torch Size": Call(tuple),
    "torch._utils _rebuild_tensor_v2": Call(_rebuild_tensor),
    "torch._utils _rebuild_parameter": Call(lambda tensor, *_: tensor),
    **STORAGES,
}

NUMBERS = ("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT")
TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES")
CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def unpickle(stream: io.BytesIO) -> Any:
    """Follows one pickle of plain values and tensors, leaving the stream behind it; tensors come back as `View`s.

    Raises InputError that names the first global or instruction beyond the allow-lists. Other damage raises
    whatever the step that met it does.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in NUMBERS or name in TEXTS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in TUPLES:
            items = stack[-TUPLES[name] :]
            del stack[-TUPLES[name] :]
            stack.append(tuple(items))
        elif name == "TUPLE":
            stack.append(tuple(to_mark()))
        elif name in ("EMPTY_LIST", "LIST"):
            stack.append([] if name == "EMPTY_LIST" else to_mark())
        elif name in ("EMPTY_DICT", "DICT"):
            items = [] if name == "EMPTY_DICT" else to_mark()
            stack.append(_dictionary(zip(items[::2], items[1::2], strict=True)))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else to_mark()
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else to_mark()
            _expect(stack[-1], dict).update(_dictionary(zip(items[::2], items[1::2], strict=True)))
        elif name == "GLOBAL":
            stack.append(_global(argument))
        elif name == "STACK_GLOBAL":
            stack.append(_global(f"{_expect(stack.pop(-2), str)} {_expect(stack.pop(), str)}"))
        elif name == "REDUCE":
            arguments = _expect(stack.pop(), tuple)
            stack.append(_expect(stack.pop(), Call).run(*arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of an OrderedDict: the versions of modules, of no use here
        elif name == "BINPERSID":
            stack.append(_storage(*stack.pop()))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise InputError(f"its pickle holds the instruction {name}, which weights do not need; refused")
    raise InputError("its pickle has no end")


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _global(name: str) -> Any:
    if name not in GLOBALS:
        raise InputError(f"asks for {name.replace(' ', '.')}, which weights do not need; refused")
    return GLOBALS[name]


def _storage(tag: str, dtype: np.dtype[Any], key: str, _device: str, length: int, view: None = None) -> Storage:
    if tag != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str) or view is not None:
        raise InputError("describes a storage wrongly")
    return Storage(dtype, key, length)
