"""What a service is told: `configs/serve.toml` lists every key with its default and says why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from prohibit_jax.config import Count, Positive, Section, load_settings
from prohibit_jax.score.engine import Compiler, Precision


class ServiceConfig(Section):
    """Batching, processes and time."""

    budget_ms: Positive = 200.0
    batch_sizes: tuple[Count, ...] = (1, 5, 32)
    queue: Count = 256
    spare: Annotated[int, Field(ge=0)] = 4
    compiler: Compiler = "auto"
    precision: Precision = "float32"
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    work_seconds: Positive = 10.0
    watch_seconds: Positive = 2.0
    drain_seconds: Annotated[float, Field(ge=0)] = 5.0
    stop_seconds: Positive = 20.0


class LimitsConfig(Section):
    """What a request and a connection may take."""

    body: Count = 32 * 2**20
    bodies: Count = 2**30
    photos: Count = 32
    photo_bytes: Count = 16 * 2**20
    pixels: Count = 50_000_000
    headers: Annotated[int, Field(ge=1024)] = 16 * 2**10
    header_fields: Annotated[int, Field(ge=16)] = 64
    header_seconds: Positive = 5.0
    body_seconds: Positive = 20.0
    idle_seconds: Positive = 75.0
    connections: Count = 1024


class FetchConfig(Section):
    """Photos by address."""

    hosts: tuple[str, ...] = ()
    seconds: Positive = 3.0


class ServeConfig(Section):
    """Everything that a service can be told beside its bundle, its address and its keys."""

    service: ServiceConfig = ServiceConfig()
    limits: LimitsConfig = LimitsConfig()
    fetch: FetchConfig = FetchConfig()

    @model_validator(mode="after")
    def _holds_a_request(self) -> ServeConfig:
        if self.service.queue < self.limits.photos:
            raise ValueError("service.queue must hold limits.photos, the photos of one request")
        return self


def load_serve_config(path: str | Path | None = None, settings: Sequence[str] = ()) -> ServeConfig:
    """Defaults, then the file, then `settings`, each `section.key=value`. Raises InputError naming the key."""
    return load_settings(ServeConfig, path, settings)
