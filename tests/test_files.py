"""A process killed at any step leaves the old state or the new one, never something in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath

from prohibit_jax.files import publish_file, publish_numbered, read_photo, replacing
from tests.waiting import TIMEOUT

# Kills itself, as `kill -9` would, at the n-th step that touches the disk, for every n: each in a child of its own.
KILLER = """
import io, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.network import Network
from tests.bundle.twin import TWIN, card, variables

arrays, task, folder = variables(Network(TWIN), 1), sys.argv[1], Path(sys.argv[2])

def run(store):
    if task == "head":
        store.publish_head(card(), arrays)
    else:
        make_bundle(store, "prod", ["weapon@2"])

def mortal(step, countdown):
    def call(*arguments, **options):
        countdown[0] -= 1
        if countdown[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **options)
    return call

def child(n):
    countdown = [n]
    for name in ("mkdir", "open", "fsync", "rename", "replace", "link", "unlink", "rmdir", "close"):
        setattr(os, name, mortal(getattr(os, name), countdown))
    io.open = mortal(io.open, countdown)
    run(Store(folder / str(n)))

warm = Store(folder / "warm")
warm.publish_head(card(), arrays)
warm.publish_head(card(), arrays)
make_bundle(warm, "prod", ["weapon@1"])
for n in range(1, 200):
    store = Store(folder / str(n))
    store.publish_head(card(), arrays)
    if task == "bundle":
        store.publish_head(card(), arrays)
        make_bundle(store, "prod", ["weapon@1"])
    pid = os.fork()
    if pid == 0:
        child(n)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    if task == "head":
        versions = store.versions("weapon")
        for version in versions:
            store.read_head(f"weapon@{{version}}")
        state = {{(1,): "old", (1, 2): "new"}}[versions]
    else:
        from prohibit_jax.bundle.lock import read_bundle
        state = {{1: "old", 2: "new"}}[read_bundle(store, "prod").pins[0].ref.version]
        history = [path.name for path in (store.bundles / "history" / "prod").glob("*.json")] if state == "new" else []
        assert state == "old" or history == ["1.json"], history
    print(state, flush=True)
    run(store)
    if not killed:
        break
"""


@pytest.mark.parametrize("task", ["head", "bundle"])
def test_killed_at_any_step_the_store_has_the_old_state_or_the_new(tmp_path: Path, task: str) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-W", "ignore", "-c", KILLER.format(root=root), task, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    states = done.stdout.split()
    assert len(states) > 10
    assert states == sorted(states, reverse=True)  # first always the old, from some step on always the new
    assert set(states) == {"old", "new"}


def test_a_block_that_raises_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = epath.Path(tmp_path / "a.json")
    publish_file(path, b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half of the n", "and no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_without_overwrite_what_is_there_stays(tmp_path: Path) -> None:
    path = epath.Path(tmp_path / "a.json")
    publish_file(path, b"old", overwrite=False)
    with pytest.raises(FileExistsError):
        publish_file(path, b"new", overwrite=False)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_number_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    content = {"n.json": lambda n: json.dumps(n).encode()}
    assert publish_numbered(epath.Path(tmp_path), 1, content) == 1
    assert publish_numbered(epath.Path(tmp_path), 1, content) == 2
    assert (tmp_path / "1" / "n.json").read_text() == "1"
    assert (tmp_path / "2" / "n.json").read_text() == "2"


def test_only_our_own_temporaries_are_swept(tmp_path: Path) -> None:
    ours = ".prohibit_jax-12-0123abcd"
    others = [".tmp-1-a", ".prohibit_jax-notes", ".prohibit_jax-12-0123abcd.bak", ".prohibit_jax-12-0123ABCD"]
    for name in (ours, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x")
        os.utime(tmp_path / name, times=(1, 1))
    publish_file(epath.Path(tmp_path / "a.json"), b"new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*others, "a.json"])


def test_a_photo_is_read_up_to_its_limit_through_links_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("photo")
    os.mkfifo(tmp_path / "pipe")
    assert read_photo(epath.Path(tmp_path / "link"), 5) == b"12345"
    assert read_photo(epath.Path(tmp_path / "photo"), 3) == b"1234"
    for name in ("pipe", "."):
        with pytest.raises(OSError, match="not a file"):
            read_photo(epath.Path(tmp_path / name), 5)
