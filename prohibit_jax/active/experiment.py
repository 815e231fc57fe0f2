"""Many simulated runs: side by side in processes, each kept when it is done, so that a killed experiment goes on."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from itertools import product

from etils import epath

from prohibit_jax.active.mixture import RANDOM, mixture
from prohibit_jax.active.simulate import Curve, Protocol, World, run
from prohibit_jax.active.world import fingerprint
from prohibit_jax.files import publish_file
from prohibit_jax.types import InputError

SCHEMA = 1
"""Raise it when runs come out otherwise: former ones are then done again."""

_world: World  # of a worker process, sent once rather than with every run


def experiment(
    world: World,
    strategies: Sequence[str],
    protocol: Protocol,
    seeds: Sequence[int],
    folder: epath.Path,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Curve]:
    """A curve for each strategy and seed, in their order; random asking is always among them, first.

    Args:
        world: the photos.
        strategies: names or mixtures.
        protocol: how every run goes.
        seeds: a run each.
        folder: keeps a file a run; what is there for the same photos and protocol is not done again.
        workers: processes, by default one a core.
        progress: told how many runs are done.

    Raises:
        InputError: an unknown strategy, `disagreement`, or photos too few to run on.
    """
    names = list(dict.fromkeys([RANDOM, *strategies]))
    for name in names:
        if "disagreement" in mixture(name):
            raise InputError("strategy disagreement: it needs two or more versions of the head; a simulation has one")
    if protocol.batch < 1 or protocol.budget < protocol.batch:
        raise InputError(
            f"--budget {protocol.budget}: it must hold a batch, of at least 1; --batch is {protocol.batch}"
        )
    photos = fingerprint(world)
    keys = list(product(names, seeds))
    files = {key: folder / f"{_name(photos, protocol, *key)}.json" for key in keys}
    curves = {key: Curve.from_json(file.read_bytes(), str(file)) for key, file in files.items() if file.exists()}
    missing = [key for key in keys if key not in curves]
    progress(len(curves), len(keys))
    count = min(workers or os.cpu_count() or 1, len(missing))
    if count > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context, initializer=_receive, initargs=(world,)) as pool:
            runs = {pool.submit(_run, name, protocol, seed): (name, seed) for name, seed in missing}
            for done in as_completed(runs):
                curves[runs[done]] = done.result()
                publish_file(files[runs[done]], curves[runs[done]].to_json())
                progress(len(curves), len(keys))
    else:
        for name, seed in missing:
            curves[name, seed] = run(world, name, protocol, seed)
            publish_file(files[name, seed], curves[name, seed].to_json())
            progress(len(curves), len(keys))
    return [curves[key] for key in keys]


def _name(photos: str, protocol: Protocol, strategy: str, seed: int) -> str:
    return hashlib.sha256(repr((SCHEMA, photos, asdict(protocol), strategy, seed)).encode()).hexdigest()


def _receive(world: World) -> None:
    global _world
    _world = world


def _run(strategy: str, protocol: Protocol, seed: int) -> Curve:
    return run(_world, strategy, protocol, seed)
