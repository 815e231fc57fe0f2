"""Training speed beside PyTorch: the same network, the same step, in turn in one run.

    python -m bench.training --architecture efficientnet_b0 --size 128 --batch 32

A step is forward, cross-entropy, backward, clipping at a global norm and AdamW, on the CPU, in float32. The losses of
the first step are compared before anything is timed. Prints photos a second and the ratio to the best peer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import torch

from prohibit_jax.bench.torch_efficientnet import EfficientNet, fill
from prohibit_jax.config import TrainConfig
from prohibit_jax.models.efficientnet import B0, LITE0, Architecture
from prohibit_jax.models.network import Network, init
from prohibit_jax.train.optimiser import optimiser_of
from prohibit_jax.train.state import start, step_of
from prohibit_jax.types import Preprocessing

MEAN = STD = (0.5, 0.5, 0.5)
LOSSES_AGREE = 1e-3  # of the loss: float32 sums in another order, through 50 layers of batch norm

Step = Callable[[], float]


def main() -> None:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=[B0.name, LITE0.name], default=B0.name)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    base = B0 if arguments.architecture == B0.name else LITE0
    # PyTorch pads symmetrically, and only without dropout are the two steps the same numbers.
    arch = replace(base, padding="torch", dropout=0.0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (arguments.batch, arguments.size, arguments.size, 3), np.uint8)
    labels = (np.arange(arguments.batch) % 4 == 0).astype(np.float32)
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    variables = {name: np.asarray(array) for name, array in init(Network(arch), seed=0).items()}
    steps: dict[str, Step] = {
        "prohibit_jax": jax_step(arch, variables, images, labels),
        "PyTorch eager": torch_step(arch, variables, images, labels, torch.contiguous_format),
        "PyTorch eager, channels last": torch_step(arch, variables, images, labels, torch.channels_last),
    }
    if arguments.compile:
        steps["PyTorch compiled"] = torch_step(arch, variables, images, labels, torch.channels_last, compiled=True)
    compare({name: step() for name, step in steps.items()})
    seconds = interleaved(steps, arguments.rounds)
    rows = [
        {"engine": name, "photos_per_second": arguments.batch / value, "ms_per_photo": 1000 * value / arguments.batch}
        for name, value in seconds.items()
    ]
    best_peer = max(row["photos_per_second"] for row in rows if row["engine"] != "prohibit_jax")
    setting = {
        "architecture": arch.name, "size": arguments.size, "batch": arguments.batch, "rounds": arguments.rounds,
        "cores": len(os.sched_getaffinity(0)), "processor": platform.machine(),
        "jax": jax.__version__, "torch": torch.__version__,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(setting | {"rows": rows, "ratio_to_best_peer": rows[0]["photos_per_second"] / best_peer}))
        return
    print(", ".join(f"{key} {value}" for key, value in setting.items()))
    print("| engine | photos a second | ms a photo | against the best peer |\n|---|---|---|---|")
    for row in rows:
        rate = row["photos_per_second"]
        print(f"| {row['engine']} | {rate:.1f} | {row['ms_per_photo']:.1f} | {rate / best_peer:.2f} |")


def jax_step(arch: Architecture, variables: Mapping[str, np.ndarray], images: np.ndarray, labels: np.ndarray) -> Step:
    """Our own training step; it keeps the moving average of the weights besides."""
    network, config = Network(arch), TrainConfig(learning_rate=1e-4, warmup=0)
    optimiser = optimiser_of(config, steps=1000)
    size = images.shape[1]
    step = step_of(network, Preprocessing(size, MEAN, STD), config, optimiser, batch_statistics=True)
    state = start(network, variables, optimiser)

    def run() -> float:
        nonlocal state
        state, loss = step(state, jnp.asarray(images), jnp.asarray(labels))
        return float(loss)

    return run


def torch_step(
    arch: Architecture,
    variables: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    layout: torch.memory_format,
    compiled: bool = False,
) -> Step:
    """The same step in PyTorch."""
    network = fill(EfficientNet(arch), variables).train().to(memory_format=layout)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-4)
    forward = torch.compile(network) if compiled else network
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    targets = torch.tensor(labels)

    def run() -> float:
        x = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
        x = ((x - mean) / std).contiguous(memory_format=layout)
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(forward(x)[:, 0], targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    return run


def compare(losses: Mapping[str, float]) -> None:
    """Stops unless every engine has the same first loss."""
    ours = losses["prohibit_jax"]
    for name, loss in losses.items():
        if abs(loss - ours) > LOSSES_AGREE * abs(ours):
            raise SystemExit(f"{name} computes another loss than prohibit_jax: {loss} and {ours}")


def interleaved(steps: Mapping[str, Step], rounds: int) -> dict[str, float]:
    """Median seconds a step; the engines take turns, so that a slow minute of the machine strikes them all."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
