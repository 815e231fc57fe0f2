"""Typed configs: TOML in, defaults filled, unknown keys refused with the nearest known one.

`configs/default.toml` lists every key with its default; a class's file (`configs/weapon.toml`) names only what differs,
and `--set section.key=value` has the last word.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from prohibit_jax.types import RESERVED, InputError, check_name

Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Multiple = Annotated[float, Field(gt=0, le=10)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the TOML file: immutable, no unknown key, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


S = TypeVar("S", bound=Section)


class ClassConfig(Section):
    """Which labels of a source make the class; every other label is a negative.

    `classes` in place of `positive` makes it one network of several classes, in this order, each with its labels;
    every other label is then of none of them.
    """

    name: str
    positive: tuple[str, ...] = ()
    classes: dict[str, tuple[str, ...]] = {}
    ignore: tuple[str, ...] = ()  # labels left out: neither positive nor negative

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The labels of each class, by the key that names them."""
        several = {f"class.classes.{name}": labels for name, labels in self.classes.items()}
        return several or {"class.positive": self.positive}

    @property
    def outputs(self) -> int:
        """Of the network: a binary one has one logit, one of several classes another for everything else."""
        return 1 + len(self.classes)


class DataConfig(Section):
    """Where photos come from, how they are split, and what is refused."""

    source: str = ""  # folder:PATH, manifest:FILE, tfds:NAME, labels:ADDRESS or synthetic:COUNT
    validation: Share = 0.2
    test: Share = 0.2
    workers: Annotated[int, Field(ge=0, le=256)] = 2  # decoding processes; 0 decodes in threads of this one
    max_bytes: Count = 32 * 2**20
    max_pixels: Count = 50_000_000

    @field_serializer("source")
    def _without_password(self, source: str) -> str:
        return redacted(source)  # a dumped config ends in cards and runs, for all to read


class LabelsConfig(Section):
    """How the answers of several annotators make one label (`data.label_store.Rule`), for --data labels:."""

    adjudicators: tuple[str, ...] = ()
    votes: Count = 1
    photos: str = ""  # the source of photos that are no files, as tfds:NAME and parquet:PATH may hold


class ModelConfig(Section):
    """The network and what it starts from."""

    # Weights bring their own.
    architecture: Literal["efficientnet_b0", "efficientnet_lite0", "inception_resnet_v2"] = "efficientnet_b0"
    width: Multiple = 1.0
    depth: Multiple = 1.0
    size: Annotated[int, Field(ge=16, le=2048)] = 300  # edge of the network's input, pixels
    weights: str = ""  # "": from scratch; a name in the store, hf:OWNER/NAME, a head as in weapon@3, or last
    trunk_through: Literal["", "stem", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "top"] = (
        ""  # "": the whole network is trained
    )


class TrainConfig(Section):
    """One run of training."""

    epochs: Count = 12
    steps_per_epoch: Annotated[int, Field(ge=0)] = 0  # 0: one pass over the training photos
    batch: Annotated[int, Field(ge=2)] = 32
    learning_rate: Positive = 1e-3
    warmup: Share = 0.1  # share of the steps
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip: Positive = 1.0  # global norm of the gradient
    average: Annotated[float, Field(ge=0, lt=1)] = (
        0.99  # decay of the weights' moving average; 0 keeps the last weights
    )
    loss: Literal["bce", "focal", "softmax"] = "bce"  # softmax with class.classes, else one of the others
    positive_weight: Positive = 1.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    positive_fraction: Part = 0.25  # of every batch, each of several classes as often
    augment: bool = True  # a frozen trunk's cached features are never augmented
    # "batch" normalises by each batch, "frozen" by the running statistics; "auto": batch from scratch, else frozen.
    batch_norm: Literal["auto", "batch", "frozen"] = "auto"
    patience: Count = 4  # epochs without a better validation average precision before stopping
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class EvaluateConfig(Section):
    """What a head is judged by, and the targets of its two thresholds."""

    calibration: Literal["platt", "temperature"] = "platt"
    precision: Part = 0.95
    recall: Part = 0.95
    prevalence: Part = 5e-6  # online: a few prohibited photos in a million
    photos_per_day: Count = 1_000_000
    reviews_per_day: Count = 500
    bootstrap: Count = 1000  # resamples behind each interval


class ReleaseConfig(Section):
    """The gates that `launch promote` holds a new version of the class to."""

    average_precision_loss: Share = 0.02  # that the interval of the paired difference to the serving version may reach
    positives: Count = 5  # on the common test side; fewer show nothing, whatever the interval
    calibration_error: Share = 0.05  # catches what forecasts too much; too little shows only where positives are common


class Config(Section):
    """Everything that fixes a training run; saved whole in the head's card."""

    class_: ClassConfig = Field(alias="class")
    data: DataConfig = DataConfig()
    labels: LabelsConfig = LabelsConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    release: ReleaseConfig = ReleaseConfig()


def load_config(
    class_name: str = "",
    path: str | Path | None = None,
    settings: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """The config of a class: defaults, then its file, then `overrides`, then `settings`.

    Args:
        class_name: the class; its file is `configs/<class>.toml` where that exists and `path` names no other. Without
            a file, photos labelled like the class are its positives. "" leaves the name to the file.
        path: a TOML file.
        settings: `section.key=value`, the value in TOML or a plain word.
        overrides: values by `section.key`, an empty one changes nothing.

    Raises:
        InputError: an unknown key, a wrong value, a file that is not TOML: one line that names it.
    """
    default = Path("configs") / f"{check_class(class_name)}.toml" if class_name else None
    file = Path(path) if path is not None else default if default and default.is_file() else None
    tables = _read(file) if file is not None else {}
    source = str(file) if file is not None else "config"
    named = tables.setdefault("class", {})
    name = class_name or named.get("name", "")
    if not name:
        raise InputError("--class: name the class, or with --config a file that does")
    if named.get("name", name) != name:
        raise InputError(f"{source}: class.name is {named['name']!r}, the command says {name!r}")
    own = {} if named.get("classes") else {"positive": [name]}
    tables["class"] = {**own, **named, "name": name}
    for key, value in (overrides or {}).items():
        if value:
            _set(tables, key, value)
    _set_all(tables, settings, "model.size=224")
    return parse_config(tables, source)


def load_settings(model: type[S], path: str | Path | None, settings: Sequence[str]) -> S:
    """Any other config: defaults, then the file, then `settings`, each `section.key=value`.

    Raises InputError as `load_config` does.
    """
    tables = {} if path is None else _read(Path(path))
    _set_all(tables, settings, "limits.photos=8")
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        raise InputError(f"{path or 'config'}: {_explain(error, model)}") from None


def parse_config(tables: Mapping[str, Any], source: str) -> Config:
    """Checks plain tables, as `Config.model_dump(by_alias=True)` or TOML gives them; `source` names them in errors."""
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise InputError(f"{source}: {_explain(error, Config)}") from None
    if config.data.validation + config.data.test >= 1:
        raise InputError(f"{source}: data.validation + data.test must leave some photos for training")
    asked = config.class_
    if asked.positive and asked.classes:
        raise InputError(f"{source}: class.classes takes the place of class.positive; give one of them")
    for name in (asked.name, *asked.classes):
        check_class(name)
    if (config.train.loss == "softmax") != bool(asked.classes):
        raise InputError(f"{source}: train.loss softmax goes with class.classes, bce and focal with class.positive")
    return config


def redacted(address: str) -> str:
    """An address, or any text that may hold one, with `***` in place of its password."""
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(://[^:/@\s]*):.*@", r"\1:***@", address, flags=re.DOTALL))


def check_class(name: str) -> str:
    """Returns a class's name; raises InputError if it cannot be one, or a column of scores."""
    if check_name(name) in RESERVED:
        raise InputError(f"class {name!r}: scores have a column of that name already; choose another")
    return name


def _read(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"config {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"config {file}: {error}") from None
    for key, value in tables.items():
        if not isinstance(value, dict):
            raise InputError(f"config {file}: {key} stands outside of any section, such as [model]")
    return tables


def _set_all(tables: dict[str, Any], settings: Sequence[str], example: str) -> None:
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key.count(".") != 1:
            raise InputError(f"--set {redacted(setting)!r}: write section.key=value, as in {example}")
        _set(tables, key, _value(text))


def _set(tables: dict[str, Any], key: str, value: Any) -> None:
    section, name = key.split(".")
    tables[section] = {**tables.get(section, {}), name: value}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, model: type[Section]) -> str:
    """The first problem in one line; for an unknown key, with the nearest known one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
    near = difflib.get_close_matches(str(first["loc"][-1]), _known(model, first["loc"][:-1]), n=1)
    return f"{where}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")


def _known(model: type[Section], section: Sequence[str | int]) -> list[str]:
    fields = model.model_fields
    sections: dict[str, Any] = {field.alias or name: field.annotation for name, field in fields.items()}
    return list(sections[str(section[0])].model_fields) if section else list(sections)
