"""A PostgreSQL server of the tests' own, where one is installed: on a socket in a temporary folder, open to nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.waiting import until


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = count(1)

    def address(self, database: str) -> str:
        """Of a database; the server takes any password."""
        return f"postgresql+psycopg://postgres:hush@/{database}?host={self.folder}"

    def fresh(self) -> str:
        """The address of an empty database."""
        import psycopg

        name = f"labels{next(self.numbers)}"
        with psycopg.connect(f"host={self.folder} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.address(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Runs a server for the tests of one process."""
    programs = _programs()
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="prohibit-jax-postgres-"))  # a socket's name must be short
    try:
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        making = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(making, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)
        settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "autovacuum=off"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, *settings],
            stderr=subprocess.DEVNULL,
            user=user,
            cwd=folder,
        )
        try:
            until(lambda: _answers(server, folder), pause=0.1)
            yield Postgres(folder)
        finally:
            server.send_signal(3)  # at once
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(server: subprocess.Popen[bytes], folder: Path) -> bool:
    import psycopg

    assert server.poll() is None, "PostgreSQL ended"
    try:
        psycopg.connect(f"host={folder} user=postgres dbname=postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them off the path."""
    pytest.importorskip("psycopg", reason="a PostgreSQL store: psycopg is not installed")
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("a PostgreSQL store: PostgreSQL is not installed")
    if os.getuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("a PostgreSQL store: there is no user postgres to run it")
    return folders[-1]
