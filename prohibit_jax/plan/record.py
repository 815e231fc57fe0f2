"""What a plan found, kept beside the store's bundles as plans/NAME.json: what later bundles so named are held to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from etils import epath

from prohibit_jax.bundle.card import SCHEMA, check_schema, parse_json, read_record
from prohibit_jax.bundle.store import Store
from prohibit_jax.files import publish_file, read_file
from prohibit_jax.plan.predict import Cost, Costs, Parts
from prohibit_jax.score.engine import Precision
from prohibit_jax.types import InputError, check_name

RECORD_LIMIT = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Past:
    """How right a prediction was."""

    date: str
    heads: dict[str, Any]  # form -> heads that the bundle had
    predicted_ms: float
    """By the costs measured in the same run."""
    foretold_ms: float | None
    """By the costs of the plan before, where it knew all forms, on the same device and for the same calls."""
    measured_ms: float


@dataclass(frozen=True)
class Prediction:
    """A bundle as it is or may become, and its cost."""

    label: str
    heads: dict[str, Any]
    ms: float
    mb: float
    weights_mb: float
    more: int | None
    """How many such classes fit into the budget; None where there is no end to them, and of the bundle as it is."""


@dataclass(frozen=True)
class Record:
    """The file's content."""

    bundle: str
    budget_ms: float
    batch: int
    device: str
    compiler: str
    precision: Precision
    versions: dict[str, Any]
    planned: str  # ISO 8601, UTC
    forms: tuple[Cost, ...]
    now: Prediction
    predictions: tuple[Prediction, ...]  # each with one class more
    measured_ms: float
    measured_mb: float
    recommendation: str
    history: tuple[Past, ...]

    @property
    def costs(self) -> Costs:
        """The forms' costs by form."""
        return {cost.form: cost for cost in self.forms}

    def to_json(self) -> dict[str, Any]:
        """As in the file."""
        content: dict[str, Any] = json.loads(json.dumps({"schema": SCHEMA, **asdict(self)}, allow_nan=False))
        return content


def read_plan(store: Store, name: str) -> Record | None:
    """The last plan of the bundle, if one was made. Raises InputError in one line if it is damaged."""
    path = _path(store, name)
    if not path.exists():
        return None
    try:
        content = parse_json(read_file(path, RECORD_LIMIT), str(path))
        check_schema(content, str(path))
        del content["schema"]
        record = read_record(Record, content, str(path))
        if record.bundle != name:
            raise InputError(f"{path}: is the plan of {record.bundle}")
    except InputError as error:
        raise InputError(f"{error}; run launch plan --bundle {name} again, after removing it") from None
    return record


def write_plan(store: Store, record: Record) -> epath.Path:
    """Keeps the plan in place of the one before; returns where."""
    path = _path(store, record.bundle)
    publish_file(path, (json.dumps(record.to_json(), indent=1) + "\n").encode())
    return path


def tally(parts: Parts) -> dict[str, Any]:
    """Heads by form, as people read it."""
    forms: Iterable[str] = dict.fromkeys(str(part.form) for part in parts)
    return {form: sum(part.heads for part in parts if str(part.form) == form) for form in forms}


def _path(store: Store, name: str) -> epath.Path:
    return store.root / "plans" / f"{check_name(name, 'bundle')}.json"
