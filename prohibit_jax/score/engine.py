"""What runs a plan: the same scoring function behind one face, whichever compiler it went through."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import jax
import numpy as np
from etils import epath

from prohibit_jax.files import publish_file
from prohibit_jax.score.stack import Folded, Plan
from prohibit_jax.types import Images, InputError, Scores

Compiler = Literal["auto", "xla", "openvino"]
Precision = Literal["float32", "bfloat16"]
COMPILED = "/prohibit_jax/compile"
"""The event of `jax.monitoring` by which another compiler than XLA, which has events of its own, tells of its work."""

DIGEST = 32  # bytes of a kept program's checksum
DAY = 86_400.0
UNUSED = 30 * DAY


class Engine(Protocol):
    """A plan with its heads, compiled. Immutable to its callers, and safe to call from several threads."""

    @property
    def plan(self) -> Plan:
        """What it runs."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The numbers of photos that it takes, ascending."""

    def warm(self) -> None:
        """Returns once everything is compiled that a call could need."""

    def __call__(self, images: Mapping[int, Images]) -> Scores:
        """Logits, float32 [b, slots of all groups]; what a free slot puts out means nothing.

        Args:
            images: {size: uint8 [b, size, size, 3]} for each of the plan's sizes, b one of `batch_sizes`.
        """

    def update(self, plan: Plan, heads: Sequence[Folded], trunks: Mapping[str, Folded]) -> Engine:
        """The engine of another plan; what the two have in common is neither compiled nor copied again."""

    def prepare(self, plan: Plan) -> None:
        """Compiles what `update` to this plan will need, in the background."""


def engine_of(
    plan: Plan,
    heads: Sequence[Folded],
    trunks: Mapping[str, Folded],
    batch_sizes: Sequence[int],
    *,
    compiler: Compiler = "auto",
    precision: Precision = "float32",
    mesh: jax.sharding.Mesh | None = None,
    keep: bool = False,
) -> Engine:
    """Chooses the compiler and gives it the plan.

    Args:
        plan: of the heads.
        heads: in the order of the classes.
        trunks: SHA-256 -> trunk, at least those that the plan names.
        batch_sizes: numbers of photos, ascending.
        compiler: `auto` is OpenVINO on a CPU where it is installed (extra `cpu`), else XLA.
        precision: of the operands of matrix products, and on an accelerator of the activations too; sums are float32.
        mesh: devices to share the work, with axes `heads` and `photos`; XLA's alone.
        keep: compiled programs on disk, for the next start.

    Raises:
        InputError: a compiler that is not installed or does not fit the device.
    """
    choices: tuple[tuple[str, str, Any], ...] = (
        ("compiler", compiler, Compiler),
        ("precision", precision, Precision),
    )
    for name, value, known in choices:
        if value not in get_args(known):
            raise InputError(f"{name} {value!r}: use one of {', '.join(get_args(known))}")
    on_cpu = jax.default_backend() == "cpu"
    installed = find_spec("openvino") is not None
    if compiler == "openvino" and not installed:
        raise InputError("compiler 'openvino': not installed; pip install 'prohibit-jax[cpu]'")
    if compiler == "openvino" and mesh is not None:
        raise InputError("compiler 'openvino': runs on one CPU; a mesh of devices needs compiler 'xla'")
    if compiler == "openvino" or (compiler == "auto" and on_cpu and installed and mesh is None):
        from prohibit_jax.score.openvino import OpenVinoEngine

        return OpenVinoEngine.of(plan, heads, trunks, tuple(batch_sizes), precision, keep)
    from prohibit_jax.score.xla import XlaEngine

    return XlaEngine.of(plan, heads, trunks, tuple(batch_sizes), precision, mesh, keep)


def padded(x: np.ndarray, batch: int) -> np.ndarray:
    """`x` and zeros up to `batch` rows: black photos, or no features."""
    if len(x) == batch:
        return x
    return np.concatenate([x, np.zeros((batch - len(x), *x.shape[1:]), x.dtype)])


def recall(compiler: str, key: str) -> memoryview | None:
    """The program that an earlier start kept under `key`; None where there is none, or a damaged one."""
    try:
        data = memoryview((cache_folder(compiler) / key).read_bytes())
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return data[DIGEST:] if _digest(data[DIGEST:]) == data[:DIGEST] else None


def remember(compiler: str, key: str, program: bytes) -> None:
    """Keeps a program for the next start; where nothing can be written, that start compiles again."""
    with contextlib.suppress(OSError, RuntimeError):
        publish_file(epath.Path(cache_folder(compiler) / key), _digest(program) + program)


def cache_folder(compiler: str) -> Path:
    """Where compiled programs are kept: in `PROHIBIT_CACHE`, or the user's own cache folder.

    A compiler has a folder for each version of it and of this code, and for each processor, since a program is wrong,
    or a crash, on another; folders that were not used for `UNUSED` seconds are removed. What is in it is run as it is:
    it is the user's alone, never part of a store or a bundle.

    Raises:
        OSError: it cannot be made, or others may write to it.
    """
    home = os.environ.get("PROHIBIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "prohibit_jax"
    about = repr((jax.__version__, version({"xla": "jaxlib"}.get(compiler, compiler)), _processor(), _source()))
    folder = Path(home).expanduser() / f"{compiler}-{_digest(about.encode()).hex()[:16]}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022):
        raise PermissionError(f"{folder}: others may write to it")
    if time.time() - state.st_mtime > DAY:  # its time says when it was last used
        os.utime(folder)
    for other in folder.parent.glob(f"{compiler}-*"):
        if time.time() - other.stat().st_mtime > UNUSED:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


@cache
def _processor() -> str:
    """What of the machine decides which programs run on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


@cache
def _source() -> str:
    """Of the code that programs are made from."""
    package = Path(__file__).parents[1]
    files = sorted(file for room in ("models", "bundle", "score") for file in (package / room).glob("*.py"))
    return _digest(b"".join(file.read_bytes() for file in files)).hex()
