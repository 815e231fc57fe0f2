"""The tables of a label store, the same in SQLite and PostgreSQL, and the triggers that keep labels as they were given.

A label is a row that nothing changes or removes. A photo is its content; where it was last seen is the one thing of it
that may change. Times are whole microseconds since 1970 in UTC, so that both databases keep and compare them alike.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
)

from prohibit_jax.types import InputError

SCHEMA = 1
"""Raise it when a table changes: an older prohibit_jax then refuses the store instead of misreading it."""

ANSWERS = ("yes", "no", "unsure", "skip")

NUMBER = BigInteger().with_variant(Integer, "sqlite")  # of rows; SQLite counts up only what it calls INTEGER

tables = MetaData()

version = Table("label_store", tables, Column("version", Integer, nullable=False))

photos = Table(
    "photos",
    tables,
    Column("id", NUMBER, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("path", Text, nullable=False),
)

labels = Table(
    "labels",
    tables,
    Column("id", NUMBER, primary_key=True),
    Column("photo", NUMBER, ForeignKey("photos.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("answer", Text, CheckConstraint(f"answer IN {ANSWERS}"), nullable=False),
    Column("annotator", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("round", Integer),
    Column("head", Text),
    Column("score", Double),
    Column("strategy", Text, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("name", "photo", "annotator", "time", "answer", name="labels_once"),
)

# One writer at a time, from the first statement on: a writer waits its turn and never meets another half way.
LOCK = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7236841127)"}

STAYS = "SELECT RAISE(ABORT, 'labels are append-only')"

TRIGGERS = {
    "sqlite": (
        f"CREATE TRIGGER labels_stay BEFORE UPDATE ON labels BEGIN {STAYS}; END",
        f"CREATE TRIGGER labels_last BEFORE DELETE ON labels BEGIN {STAYS}; END",
        f"CREATE TRIGGER photos_stay BEFORE UPDATE OF id, sha256 ON photos BEGIN {STAYS}; END",
        f"CREATE TRIGGER photos_last BEFORE DELETE ON photos BEGIN {STAYS}; END",
        # INSERT OR REPLACE removes a row without a trigger on DELETE: what is there already is passed over instead.
        """
        CREATE TRIGGER labels_kept BEFORE INSERT ON labels
        WHEN EXISTS (SELECT 1 FROM labels WHERE id = NEW.id) OR EXISTS (
            SELECT 1 FROM labels
            WHERE (name, photo, annotator, time, answer)
                = (NEW.name, NEW.photo, NEW.annotator, NEW.time, NEW.answer)
        )
        BEGIN SELECT RAISE(IGNORE); END
        """,
    ),
    "postgresql": (
        """
        CREATE FUNCTION label_store_stays() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'labels are append-only'; END $$
        """,
        """
        CREATE TRIGGER labels_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON labels
        FOR EACH STATEMENT EXECUTE FUNCTION label_store_stays()
        """,
        """
        CREATE TRIGGER photos_stay BEFORE UPDATE OF id, sha256 OR DELETE OR TRUNCATE ON photos
        FOR EACH STATEMENT EXECUTE FUNCTION label_store_stays()
        """,
    ),
}


def is_made(connection: Connection, name: str) -> bool:
    """Whether the database is a label store; False for an empty one.

    Raises InputError, with `name` for the database, if it is anything else, or a store of a newer schema.
    """
    there = set(inspect(connection).get_table_names())
    if not there:
        return False
    if not there.issuperset(tables.tables):
        raise InputError(f"{name}: holds other tables, not a label store; give labels a database of their own")
    found = connection.execute(select(version.c.version)).scalars().all()
    if found != [SCHEMA]:
        known = f"this prohibit_jax knows schema {SCHEMA}"
        raise InputError(f"{name}: a label store of schema {', '.join(map(str, found)) or '?'}, {known}; update it")
    return True


def make(connection: Connection, name: str) -> None:
    """Makes an empty database a label store, in one transaction; what another process made meanwhile is left alone."""
    dialect = connection.dialect.name
    connection.exec_driver_sql(LOCK[dialect])
    if is_made(connection, name):
        return
    tables.create_all(connection)
    for trigger in TRIGGERS[dialect]:
        connection.exec_driver_sql(trigger)
    connection.execute(version.insert().values(version=SCHEMA))
