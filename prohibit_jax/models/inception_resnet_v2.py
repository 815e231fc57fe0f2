"""Inception-ResNet-v2 (Szegedy et al., arXiv 1602.07261), whole, at any input size from 75 px.

The paper's network in the form that was published with weights (TF-slim, and timm after it): figures 14 and 16 to 19,
with the channels and repeats of the table below, an average pool in the first mixed module, and the last block neither
scaled nor rectified. Its stages have the names of EfficientNet's, so that a trunk is cut from either in one way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from prohibit_jax.models.arrays import Activations
from prohibit_jax.models.ops import OPS, Ops


@dataclass(frozen=True)
class Conv:
    """A convolution with batch norm and ReLU; `same` pads to the input's size (at stride 1), `valid` not at all."""

    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: Literal["same", "valid"] = "same"


Pool = Literal["max", "mean"]
"""3x3: the maximum at stride 2 without padding, or the mean at stride 1 of those positions that are in the picture."""

Branch = tuple[Conv | Pool, ...]


@dataclass(frozen=True)
class Stage:
    """Equal blocks in a row, each of branches side by side.

    Without a scale a block's output is its branches', concatenated. With one they are projected to the input's
    channels by a 1x1 convolution with a bias, scaled, added to the input, and rectified (section 3.3).
    """

    branches: tuple[Branch, ...]
    repeats: int = 1
    scale: float = 0.0
    rectified: bool = True


STEM: Branch = (
    Conv(32, (3, 3), 2, "valid"),
    Conv(32, (3, 3), 1, "valid"),
    Conv(64, (3, 3)),
    "max",
    Conv(80),
    Conv(192, (3, 3), 1, "valid"),
    "max",
)
BLOCK_35: tuple[Branch, ...] = (
    (Conv(32),),
    (Conv(32), Conv(32, (3, 3))),
    (Conv(32), Conv(48, (3, 3)), Conv(64, (3, 3))),
)
BLOCK_17: tuple[Branch, ...] = ((Conv(192),), (Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))))
BLOCK_8: tuple[Branch, ...] = ((Conv(192),), (Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))))
# At 299 px: 35 x 35 x 320 after s1 and s2, 17 x 17 x 1088 after s3 and s4, 8 x 8 x 2080 from s5 on.
TABLE = {
    "s1": Stage(
        (
            (Conv(96),),
            (Conv(48), Conv(64, (5, 5))),
            (Conv(64), Conv(96, (3, 3)), Conv(96, (3, 3))),
            ("mean", Conv(64)),
        )
    ),
    "s2": Stage(BLOCK_35, repeats=10, scale=0.17),
    "s3": Stage(
        (
            (Conv(384, (3, 3), 2, "valid"),),
            (Conv(256), Conv(256, (3, 3)), Conv(384, (3, 3), 2, "valid")),
            ("max",),
        )
    ),
    "s4": Stage(BLOCK_17, repeats=20, scale=0.1),
    "s5": Stage(
        (
            (Conv(256), Conv(384, (3, 3), 2, "valid")),
            (Conv(256), Conv(288, (3, 3), 2, "valid")),
            (Conv(256), Conv(288, (3, 3)), Conv(320, (3, 3), 2, "valid")),
            ("max",),
        )
    ),
    "s6": Stage(BLOCK_8, repeats=9, scale=0.2),
    "s7": Stage(BLOCK_8, scale=1.0, rectified=False),
}
TOP_CHANNELS = 1536
STAGES = ("stem", *TABLE, "top", "classifier")
SMALLEST = 75  # edge of the input, pixels, at which s5 still has one position to put out


@dataclass(frozen=True)
class Architecture:
    """What fixes an Inception-ResNet-v2's function, beside its parameters; saved in every card."""

    name: Literal["inception_resnet_v2"] = "inception_resnet_v2"
    outputs: int = 1
    width: float = 1.0  # channels, rounded to a multiple of 8
    depth: float = 1.0  # repeats of the stages that repeat, rounded up
    # TF-slim's values, inception_resnet_v2.py: its argument scope, and the keep probability of 0.8.
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.9997
    dropout: float = 0.2

    def channels(self, base: int) -> int:
        """`base` scaled by the width, to the nearest multiple of 8."""
        return max(8, round(base * self.width / 8) * 8)


INCEPTION_RESNET_V2 = Architecture()


class ConvNorm(nnx.Module):
    """A convolution and its batch norm; folded, the same with a bias in place of the norm."""

    def __init__(self, conv: Conv, inputs: int, arch: Architecture, folded: bool, ops: Ops, rngs: nnx.Rngs) -> None:
        self.pointwise = conv.kernel == (1, 1)
        self.stride, self.padding, self.folded, self.ops = conv.stride, conv.padding, folded, ops
        shape = (inputs, conv.channels) if self.pointwise else (*conv.kernel, inputs, conv.channels)
        self.kernel = nnx.Param(jnp.zeros(shape))
        if folded:
            self.bias = nnx.Param(jnp.zeros(conv.channels))
        else:
            self.norm = nnx.BatchNorm(conv.channels, momentum=arch.norm_momentum, epsilon=arch.norm_epsilon, rngs=rngs)

    def __call__(self, x: Activations, batch_statistics: bool) -> Activations:
        kernel = self.kernel[...]
        x = self.ops.pointwise(x, kernel) if self.pointwise else self.ops.convolve(x, kernel, self.stride, self.padding)
        return (
            self.ops.add(x, self.bias[...]) if self.folded else self.norm(x, use_running_average=not batch_statistics)
        )


class Block(nnx.Module):
    """Branches side by side, then the residual where the stage has a scale."""

    def __init__(self, stage: Stage, inputs: int, arch: Architecture, folded: bool, ops: Ops, rngs: nnx.Rngs) -> None:
        self.branches = nnx.List([_steps(branch, inputs, arch, folded, ops, rngs) for branch in stage.branches])
        self.scale, self.rectified, self.ops = stage.scale, stage.rectified, ops
        self.outputs = sum(_channels(branch, inputs, arch) for branch in stage.branches)
        if self.scale:
            # The projection has a bias and no batch norm, which is what a folded convolution is.
            self.project = ConvNorm(Conv(inputs), self.outputs, arch, True, ops, rngs)
            self.outputs = inputs

    def __call__(self, x: Activations, batch_statistics: bool) -> Activations:
        y = self.ops.concat([_run(steps, x, self.ops, batch_statistics) for steps in self.branches])
        if not self.scale:
            return y
        y = self.ops.join(x, self.scale * self.project(y, batch_statistics))
        return self.ops.activate(y, "relu") if self.rectified else y


class Top(nnx.Module):
    """Two stages: `top`, the last 1x1 convolution and the mean over positions; `classifier`, dropout in training and
    the outputs' linear layer."""

    def __init__(
        self, inputs: int, arch: Architecture, stages: tuple[str, ...], folded: bool, ops: Ops, rngs: nnx.Rngs
    ) -> None:
        channels = arch.channels(TOP_CHANNELS)
        if "top" in stages:
            self.conv = ConvNorm(Conv(channels), inputs, arch, folded, ops, rngs)
        if "classifier" in stages:
            self.classifier = nnx.Linear(channels, arch.outputs, rngs=rngs)
        self.dropout, self.ops = arch.dropout, ops

    def features(self, x: Activations, batch_statistics: bool) -> jax.Array:
        """[b, h, w, c] to [b, f]."""
        return self.ops.mean(self.ops.activate(self.conv(x, batch_statistics), "relu"))

    def logits(self, x: jax.Array, dropout_key: jax.Array | None) -> jax.Array:
        """[b, f] to [b, outputs]."""
        if dropout_key is not None and self.dropout > 0:
            keep = jax.random.bernoulli(dropout_key, 1 - self.dropout, x.shape)
            x = jnp.where(keep, x / (1 - self.dropout), 0.0)
        return self.classifier(x)


class InceptionResNetV2(nnx.Module):
    """The named stages of an Inception-ResNet-v2, in order; all of them by default.

    With stage `stem` the input is normalised photos [b, h, w, 3], else what the stage before puts out. That is
    activations [b, h, w, c], after `top` pooled features [b, f], and after `classifier` logits [b, outputs]. `folded`
    builds the form without batch norm that `bundle/fold.py` fills. The values that variables start from are those of
    `network.init`.
    """

    def __init__(
        self,
        arch: Architecture,
        stages: tuple[str, ...] = STAGES,
        *,
        folded: bool = False,
        ops: Ops = OPS,
        rngs: nnx.Rngs,
    ) -> None:
        self.stages, self.ops = stages, ops
        if "stem" in stages:
            self.stem = _steps(STEM, 3, arch, folded, ops, rngs)
        inputs = _channels(STEM, 3, arch)
        for name, stage in TABLE.items():
            if name in stages:
                repeats = -int(-arch.depth * stage.repeats // 1) if stage.repeats > 1 else 1
                setattr(self, name, nnx.List(Block(stage, inputs, arch, folded, ops, rngs) for _ in range(repeats)))
            if not stage.scale:
                inputs = sum(_channels(branch, inputs, arch) for branch in stage.branches)
        if {"top", "classifier"} & set(stages):
            self.top = Top(inputs, arch, stages, folded, ops, rngs)

    def __call__(
        self, x: jax.Array, *, batch_statistics: bool = False, dropout_key: jax.Array | None = None
    ) -> jax.Array:
        for stage in self.stages:
            x = self.apply_stage(stage, x, batch_statistics=batch_statistics, dropout_key=dropout_key)
        return x

    def apply_stage(
        self, stage: str, x: jax.Array, *, batch_statistics: bool = False, dropout_key: jax.Array | None = None
    ) -> jax.Array:
        """Applies one stage: `stem`, `s1` to `s7`, `top` or `classifier`."""
        if stage == "stem":
            return _run(self.stem, self.ops.enter(x), self.ops, batch_statistics)
        if stage == "top":
            return self.top.features(x, batch_statistics)
        if stage == "classifier":
            return self.top.logits(x, dropout_key)
        for block in getattr(self, stage):
            x = block(x, batch_statistics)
        return x


def _steps(
    branch: Branch, inputs: int, arch: Architecture, folded: bool, ops: Ops, rngs: nnx.Rngs
) -> nnx.List[ConvNorm | Pool]:
    steps = nnx.List[ConvNorm | Pool]()
    for i, step in enumerate(branch):
        if isinstance(step, Conv):
            conv = replace(step, channels=arch.channels(step.channels))
            steps.append(ConvNorm(conv, _channels(branch[:i], inputs, arch), arch, folded, ops, rngs))
        else:
            steps.append(step)
    return steps


def _channels(branch: Branch, inputs: int, arch: Architecture) -> int:
    """What the branch puts out: a pool as much as it takes in."""
    return next((arch.channels(step.channels) for step in reversed(branch) if isinstance(step, Conv)), inputs)


def _run(steps: nnx.List[ConvNorm | Pool], x: Activations, ops: Ops, batch_statistics: bool) -> Activations:
    for step in steps:
        if step == "max":
            x = ops.max_pool(x, 3, 2)
        elif step == "mean":
            x = ops.mean_pool(x, 3)
        else:
            x = ops.activate(step(x, batch_statistics), "relu")
    return x
