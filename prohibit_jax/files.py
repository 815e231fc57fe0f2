"""Files and folders that appear whole or not at all, and reading them back without trusting what lies there.

On a local disk everything is written beside, flushed, and renamed, so that a process killed at any moment leaves what
was there before or what was to be there after. An object store (`gs://`, `s3://`) has no rename of folders, but shows
no half-written object: there a folder's last file is written last, and a folder without it does not count.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from etils import epath

from prohibit_jax.types import InputError

PREFIX = ".prohibit_jax-"
TEMPORARY = re.compile(re.escape(PREFIX) + "[0-9]+-[0-9a-f]{8}")
ABANDONED = 24 * 3600.0  # seconds after which a temporary file or folder belongs to nobody


def is_local(path: epath.Path) -> bool:
    """Whether `path` lies on a disk of this machine rather than in an object store."""
    return "://" not in os.fspath(path)


def read_file(path: epath.Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises InputError in one line on anything else.

    A symbolic link is refused, and a pipe or a device never waited for.
    """
    try:
        with _open_regular(path) if is_local(path) else path.open("rb") as file:
            data: bytes = file.read(limit + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) > limit:
        raise InputError(f"{path}: over {limit} bytes, not a file of this store")
    return data


def read_photo(path: epath.Path, limit: int) -> bytes:
    """The file's bytes, of a larger file than `limit` only one too many, which the decoder then refuses by its size.

    Unlike in a store, a symbolic link is followed. Raises OSError where there is no regular file.
    """
    mode = path.stat().mode
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError("not a file")  # a pipe would be waited for
    with path.open("rb") as file:
        data: bytes = file.read(limit + 1)
    return data


def publish_file(path: epath.Path, data: bytes, *, overwrite: bool = True) -> None:
    """Makes `path` hold `data`. Raises FileExistsError if it is there already and `overwrite` is off."""
    with replacing(path, overwrite=overwrite) as file:
        file.write(data)


@contextmanager
def replacing(path: epath.Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Opens a file for writing that becomes `path` when the block ends, and vanishes if the block raises."""
    if not is_local(path):
        if not overwrite and path.exists():
            raise FileExistsError(path)
        with path.open("wb") as file:
            yield file
        return
    parent, temporary = _beside(path.parent)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # unlike a rename, fails where something is there
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(parent)


def publish_numbered(parent: epath.Path, first: int, files: Mapping[str, Callable[[int], bytes]]) -> int:
    """Creates the folder `parent/<n>` with `files` in it, n being the first free number from `first`; returns n.

    Args:
        files: name -> the content as a function of n. The last one is written last.
    """
    if not is_local(parent):
        for name, content in files.items():
            (parent / str(first) / name).write_bytes(content(first))
        return first
    folder, temporary = _beside(parent)
    try:
        n = first
        while True:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for name, content in files.items():
                with (temporary / name).open("xb") as file:
                    file.write(content(n))
                    file.flush()
                    os.fsync(file.fileno())
            _flush_folder(temporary)
            try:
                temporary.rename(folder / str(n))  # fails where a folder with anything in it is there
                break
            except OSError:
                if not (folder / str(n)).exists():
                    raise
                n += 1
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush_folder(folder)
    return n


def hold(handle: int, folder: Path, refusal: str) -> None:
    """Locks an open folder for as long as `handle` is open; raises InputError(refusal) where another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(folder)):
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise InputError(refusal)


@contextmanager
def held(folder: epath.Path, refusal: str) -> Iterator[None]:
    """Makes a folder and keeps it from every other process meanwhile; one that is left empty is removed.

    Raises InputError(refusal) while another process has it. An object store has no locks, so nobody is kept out there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not is_local(folder):
        yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        hold(handle, Path(folder), refusal)
        try:
            yield
        finally:
            with suppress(OSError):  # there is something in it
                Path(folder).rmdir()
    finally:
        os.close(handle)


def _beside(parent: epath.Path) -> tuple[Path, Path]:
    """(`parent`, made if need be and swept of what killed processes left; a fresh name in it)."""
    folder = Path(parent)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{PREFIX}*"):
        if not TEMPORARY.fullmatch(left.name):
            continue
        try:
            if time.time() - left.lstat().st_mtime > ABANDONED:
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        except OSError:
            continue  # another process sweeps too, or it is not ours to remove
    return folder, folder / f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _open_regular(path: epath.Path) -> BinaryIO:
    if Path(path).is_symlink():
        raise OSError(0, "a symbolic link, which a store never holds")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "not a regular file")
    return os.fdopen(handle, "rb")


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
