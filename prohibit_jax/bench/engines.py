"""The engines that `launch bench` races, by name: ours first, then what its users might have taken instead."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from prohibit_jax.bench.work import Work
from prohibit_jax.score.engine import Precision
from prohibit_jax.types import Images, InputError


@dataclass(frozen=True)
class Running:
    """An engine that holds the weights of its work."""

    call: Callable[[Images], np.ndarray]
    """What its users call, photos to scores on the host [b, k]; this is what is timed."""
    logits: Callable[[Images], np.ndarray]
    """The same to logits, which are compared."""
    weights: int
    """Bytes of the weights as the engine computes with them."""
    precision: Precision
    compiler: str
    device_peak: Callable[[], int] | None = None
    """The most bytes that were taken of an accelerator's memory, where there is one."""


Load = Callable[[Work, Precision], Running]


@dataclass(frozen=True)
class Engine:
    """A way to run a work. The function that loads it is imported by the process that runs it, and by no other."""

    name: str
    load: str  # module:function, of type Load
    precision: Precision = "float32"
    devices: tuple[str, ...] = ("cpu", "gpu")
    needs: tuple[str, ...] = ()  # modules

    def loaded(self, work: Work) -> Running:
        """Builds the engine with the work's weights in it."""
        module, _, function = self.load.partition(":")
        load: Load = getattr(import_module(module), function)
        return load(work, self.precision)

    @property
    def missing(self) -> str:
        """What has to be installed before it can run; nothing where all is there."""
        absent = [name for name in self.needs if find_spec(name) is None]
        return f"needs {', '.join(absent)}: pip install 'prohibit-jax[bench]'" if absent else ""


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


ROOM = "prohibit_jax.bench"
OURS = Engine("prohibit_jax", f"{ROOM}.jax_engines:ours")
REFERENCE = Engine("reference", f"{ROOM}.jax_engines:reference")
TORCH, ONNX = f"{ROOM}.torch_engines", f"{ROOM}.onnx_engines"
CPU, GPU = ("cpu",), ("gpu",)

PEERS = (
    Engine("prohibit_jax bf16", f"{ROOM}.jax_engines:ours", "bfloat16"),
    Engine("prohibit_jax xla", f"{ROOM}.jax_engines:ours_xla", "float32", CPU),
    Engine("prohibit_jax xla bf16", f"{ROOM}.jax_engines:ours_xla", "bfloat16", CPU),
    Engine("prohibit_jax bf16 without kernels", f"{ROOM}.jax_engines:ours_without_kernels", "bfloat16", GPU),
    Engine("jax.vmap", f"{ROOM}.jax_engines:vmapped"),
    Engine("jax.vmap bf16", f"{ROOM}.jax_engines:vmapped", "bfloat16", GPU),
    Engine("jax loop", f"{ROOM}.jax_engines:looped"),
    Engine("torch", f"{TORCH}:eager", needs=("torch",)),
    Engine("torch channels-last", f"{TORCH}:channels_last", needs=("torch",)),
    Engine("torch channels-last bf16", f"{TORCH}:channels_last", "bfloat16", needs=("torch",)),
    Engine("torch.func.vmap", f"{TORCH}:vmapped", needs=("torch",)),
    Engine("torch graph bf16", f"{TORCH}:graphed", "bfloat16", GPU, ("torch",)),
    Engine("torch.compile bf16", f"{TORCH}:compiled", "bfloat16", GPU, ("torch",)),
    Engine("onnxruntime", f"{ONNX}:onnxruntime", "float32", CPU, ("onnx", "onnxruntime")),
    Engine("openvino", f"{ONNX}:openvino", "float32", CPU, ("onnx", "openvino")),
    Engine("openvino bf16", f"{ONNX}:openvino", "bfloat16", CPU, ("onnx", "openvino")),
)


def peers_of(text: str, device: str) -> tuple[Engine, ...]:
    """The peers that `all`, `none` or names with commas between them mean on a `cpu` or a `gpu`.

    Raises InputError on an unknown name, and where a peer that is asked for by name cannot run here.
    """
    if text in ("all", "none", ""):
        return tuple(peer for peer in PEERS if text == "all" and device in peer.devices)
    known = {peer.name: peer for peer in PEERS}
    chosen = []
    for name in (part.strip() for part in text.split(",")):
        if name not in known:
            raise InputError(f"--peers {name!r}: use all, none, or some of: {', '.join(known)}")
        if device not in known[name].devices:
            raise InputError(f"--peers {name!r}: does not run on a {device}")
        if known[name].missing:
            raise InputError(f"--peers {name!r}: {known[name].missing}")
        chosen.append(known[name])
    return tuple(dict.fromkeys(chosen))
