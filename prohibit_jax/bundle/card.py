"""A head's card: with the parameters (and the trunk, if any) all that is needed to score with it, and its history.

The file is JSON, schema 1, every field present (`classes` only where there are several), no other field but the
checksum over them. It is read strictly, since a wrong card scores silently wrong: a missing, unknown or mistyped field
is refused by name, and so is any change.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeVar

import numpy as np

from prohibit_jax.models.network import ARCHITECTURES, Architecture, Network
from prohibit_jax.types import Calibration, InputError, Preprocessing, Thresholds, check_name

SCHEMA = 1
SHA256 = re.compile(r"[0-9a-f]{64}")
LIBRARIES = ("prohibit-jax", "jax", "jaxlib", "flax", "numpy", "pillow")
Record = TypeVar("Record")


@dataclass(frozen=True)
class Trunk:
    """The frozen prefix that a head continues: its file's SHA-256, and the last stage in it."""

    sha256: str
    through: str


@dataclass(frozen=True)
class Card:
    """What `card.json` holds. The store fills `version`, `params_sha256` and `created` when it publishes."""

    name: str  # the class; "class" in the file
    arch: Architecture
    preprocessing: Preprocessing
    trunk: Trunk | None
    calibration: Calibration
    thresholds: Thresholds
    metrics: dict[str, Any]  # what evaluation reported, intervals included
    data: dict[str, Any]  # the training data's fingerprint and counts
    seed: int
    config: dict[str, Any]  # the training run's
    versions: dict[str, Any]  # of the libraries
    version: int = 0
    params_sha256: str = ""
    created: str = ""  # ISO 8601, UTC
    classes: tuple[str, ...] = ()  # of one network of several: those of its outputs after the first, everything else

    def network(self) -> Network:
        """The head's own network: the whole, or what follows the trunk."""
        return Network(self.arch).split(self.trunk.through)[1] if self.trunk else Network(self.arch)

    def trunk_network(self) -> Network | None:
        """The trunk's network, if the head has a trunk."""
        return Network(self.arch).split(self.trunk.through)[0] if self.trunk else None

    def to_json(self) -> str:
        """The file's text: the same card always gives the same bytes. Numbers that are not finite become null."""
        content = asdict(self)
        content = {"schema": SCHEMA, "class": content.pop("name"), "version": content.pop("version"), **content}
        if not self.classes:
            del content["classes"]
        content = _plain(content)
        return json.dumps(content | {"checksum": _checksum(content)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Card:
        """Reads and checks a card; raises InputError in one line that names `source` and the field."""
        content = parse_json(text, source)
        check_schema(content, source)
        checksum = content.pop("checksum", None)
        expected = _checksum(content)
        if "class" not in content or "name" in content:
            raise InputError(f"{source}: class is missing")
        del content["schema"]
        card = read_record(cls, {"name": content.pop("class"), "classes": [], **content}, source)
        _check(card, source)
        if checksum != expected:
            raise InputError(f"{source}: damaged or edited: its checksum does not fit; publish a new version instead")
        return card


def library_versions() -> dict[str, str]:
    """The versions of the libraries that decide what is computed, as far as they are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def parse_json(text: str | bytes, source: str) -> dict[str, Any]:
    """A JSON object without NaN or infinity. Raises InputError naming `source`."""

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not a number")

    try:
        content = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{source}: not a JSON object")
    return content


def check_schema(content: Mapping[str, Any], source: str) -> None:
    """Raises InputError unless the file's schema is one that this version reads."""
    found = content.get("schema")
    if found != SCHEMA or isinstance(found, bool):
        raise InputError(f"{source}: schema is {found!r}, this version reads {SCHEMA}; upgrade prohibit_jax")


def read_record(kind: type[Record], value: Any, where: str) -> Record:
    """A frozen dataclass from JSON, field by field, strictly: exact types, nothing missing, nothing left over."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: is not an object")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in sorted(value.keys() - set(names)):
        raise InputError(f"{where}: {name} is not a known field")
    for name in names:
        if name not in value:
            raise InputError(f"{where}: {name} is missing")
    return kind(**{name: _read(hints[name], value[name], f"{where}: {name}") for name in names})


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint == Architecture:
        return _read_architecture(value, where)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, where)
    if is_dataclass(hint):
        return read_record(typing.cast(type[Any], hint), value, where)
    if origin is Literal:
        fits, wanted = isinstance(value, str) and value in arguments, f"one of {', '.join(arguments)}"
    elif origin is tuple:
        any_length = arguments[1:] == (...,)
        fits = isinstance(value, list) and (any_length or len(value) == len(arguments))
        wanted = "a list" if any_length else f"a list of {len(arguments)}"
        if fits:
            kinds = arguments[:1] * len(value) if any_length else arguments
            return tuple(_read(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    elif origin is dict:
        fits, wanted = isinstance(value, dict), "an object"
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        wanted = "a number"
        value = float(value) if fits else value
    else:
        fits, wanted = type(value) is hint, {int: "a whole number", str: "a text", bool: "true or false"}[hint]
    if not fits:
        raise InputError(f"{where} is {json.dumps(value)[:60]}, must be {wanted}")
    return value


def _read_architecture(value: Any, where: str) -> Architecture:
    """The record of the family whose name it bears."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: is not an object")
    name = str(value.get("name"))
    if name not in ARCHITECTURES:
        raise InputError(f"{where}.name is {name[:60]!r}, must be one of {', '.join(ARCHITECTURES)}")
    return read_record(type(ARCHITECTURES[name]), value, where)


def _check(card: Card, source: str) -> None:
    def demand(field: str, value: Any, fits: bool, wanted: str) -> None:
        if not fits:
            raise InputError(f"{source}: {field} is {value!r}, must be {wanted}")

    try:
        for name in (card.name, *card.classes):
            check_name(name)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    arch, size, trunk = card.arch, card.preprocessing.size, card.trunk
    demand("version", card.version, card.version >= 1, "at least 1")
    demand("params_sha256", card.params_sha256, bool(SHA256.fullmatch(card.params_sha256)), "64 hexadecimal digits")
    outputs = 1 + len(card.classes)
    demand("arch.outputs", arch.outputs, arch.outputs == outputs, str(outputs))
    demand("classes", card.classes, len(set(card.classes)) == len(card.classes), "different from each other")
    demand("arch.width", arch.width, 0 < arch.width <= 10, "in (0, 10]")
    demand("arch.depth", arch.depth, 0 < arch.depth <= 10, "in (0, 10]")
    demand("arch.norm_epsilon", arch.norm_epsilon, arch.norm_epsilon > 0, "above 0")
    demand("preprocessing.size", size, 16 <= size <= 4096, "16 to 4096")
    demand("preprocessing.std", card.preprocessing.std, min(card.preprocessing.std) > 0, "above 0")
    if trunk:
        demand("trunk.sha256", trunk.sha256, bool(SHA256.fullmatch(trunk.sha256)), "64 hexadecimal digits")
        cuts = Network(arch).stages[:-1]
        demand("trunk.through", trunk.through, trunk.through in cuts, f"one of {', '.join(cuts)}")
    demand("calibration.scale", card.calibration.scale, card.calibration.scale > 0, "above 0")
    review, block = card.thresholds.review, card.thresholds.block
    demand("thresholds", (review, block), 0 <= review <= block, "0 <= review <= block")


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """`value` as JSON knows it: NumPy scalars and arrays as Python's own, what is not finite as None."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
