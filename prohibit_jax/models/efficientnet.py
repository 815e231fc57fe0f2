"""EfficientNet-B0 and EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946, table 1), whole, at any input size.

A network is cut between stages, so that a frozen prefix, the trunk, can run once for the heads that share it:
`EfficientNet(arch, STAGES[:6])` and `EfficientNet(arch, STAGES[6:])` in turn are the whole network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from prohibit_jax.models.arrays import Activations
from prohibit_jax.models.ops import OPS, Ops


class Stage(NamedTuple):
    """A row of the paper's table 1: MBConv blocks, of which only the first has the stride."""

    expand: int
    kernel: int
    stride: int
    channels: int
    repeats: int


TABLE = {
    "s1": Stage(expand=1, kernel=3, stride=1, channels=16, repeats=1),
    "s2": Stage(expand=6, kernel=3, stride=2, channels=24, repeats=2),
    "s3": Stage(expand=6, kernel=5, stride=2, channels=40, repeats=2),
    "s4": Stage(expand=6, kernel=3, stride=2, channels=80, repeats=3),
    "s5": Stage(expand=6, kernel=5, stride=1, channels=112, repeats=3),
    "s6": Stage(expand=6, kernel=5, stride=2, channels=192, repeats=4),
    "s7": Stage(expand=6, kernel=3, stride=1, channels=320, repeats=1),
}
STEM_CHANNELS, TOP_CHANNELS = 32, 1280
STAGES = ("stem", *TABLE, "top", "classifier")


@dataclass(frozen=True)
class Architecture:
    """What fixes an EfficientNet's function, beside its parameters; saved in every card."""

    name: str = "efficientnet_b0"
    outputs: int = 1
    width: float = 1.0  # channels, rounded to a multiple of 8
    depth: float = 1.0  # repeats of a stage, rounded up
    squeeze_excite: bool = True
    activation: Literal["silu", "relu6"] = "silu"
    padding: Literal["same", "torch"] = "same"
    # Both are TensorFlow's values, as in the paper's code; PyTorch's are 1e-5 and, in Flax's sense, 0.9.
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.99
    dropout: float = 0.2

    def channels(self, base: int) -> int:
        """`base` scaled by the width, to a multiple of 8, never under 90% of it (the paper's code, `round_filters`)."""
        scaled = base * self.width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded


B0 = Architecture()
# Lite0 (tensorflow/tpu, efficientnet/lite): no squeeze-excite, ReLU6, for integer hardware.
LITE0 = Architecture(name="efficientnet_lite0", squeeze_excite=False, activation="relu6")


class ConvNorm(nnx.Module):
    """A convolution and its batch norm; folded, the same with a bias in place of the norm."""

    def __init__(
        self,
        kind: Literal["dense", "pointwise", "depthwise"],
        shape: tuple[int, ...],
        arch: Architecture,
        folded: bool,
        ops: Ops,
        rngs: nnx.Rngs,
        stride: int = 1,
    ) -> None:
        self.kind, self.stride, self.padding, self.ops = kind, stride, arch.padding, ops
        self.kernel = nnx.Param(jnp.zeros(shape))
        if folded:
            self.bias = nnx.Param(jnp.zeros(shape[-1]))
        else:
            self.norm = nnx.BatchNorm(shape[-1], momentum=arch.norm_momentum, epsilon=arch.norm_epsilon, rngs=rngs)
        self.folded = folded

    def __call__(self, x: Activations, batch_statistics: bool) -> jax.Array:
        kernel = self.kernel[...]
        if self.kind == "dense":
            x = self.ops.convolve(x, kernel, self.stride, self.padding)
        elif self.kind == "pointwise":
            x = self.ops.pointwise(x, kernel)
        else:
            x = self.ops.depthwise(x, kernel, self.stride, self.padding)
        return (
            self.ops.add(x, self.bias[...]) if self.folded else self.norm(x, use_running_average=not batch_statistics)
        )


class SqueezeExcite(nnx.Module):
    """Computes a gate of channels from their means (Hu et al., arXiv 1709.01507)."""

    def __init__(self, channels: int, hidden: int, ops: Ops, rngs: nnx.Rngs) -> None:
        self.ops = ops
        self.reduce = nnx.Linear(channels, hidden, rngs=rngs)
        self.expand = nnx.Linear(hidden, channels, rngs=rngs)

    def __call__(self, means: jax.Array) -> jax.Array:
        """The gate [b, c] of means over positions [b, c]."""
        hidden = self.ops.activate(self.reduce(means), "silu")
        return self.ops.sigmoid(self.expand(hidden))


class Block(nnx.Module):
    """MBConv: expand, depthwise, squeeze-excite, project, and the residual where shapes allow it."""

    def __init__(
        self,
        arch: Architecture,
        stage: Stage,
        inputs: int,
        outputs: int,
        stride: int,
        folded: bool,
        ops: Ops,
        rngs: nnx.Rngs,
    ) -> None:
        hidden = inputs * stage.expand
        if stage.expand > 1:
            self.expand = ConvNorm("pointwise", (inputs, hidden), arch, folded, ops, rngs)
        self.depthwise = ConvNorm("depthwise", (stage.kernel, stage.kernel, hidden), arch, folded, ops, rngs, stride)
        if arch.squeeze_excite:
            self.squeeze = SqueezeExcite(hidden, max(1, inputs // 4), ops, rngs)
        self.project = ConvNorm("pointwise", (hidden, outputs), arch, folded, ops, rngs)
        self.expands, self.squeezes, self.folded = stage.expand > 1, arch.squeeze_excite, folded
        self.residual = stride == 1 and inputs == outputs
        self.activation, self.ops = arch.activation, ops

    def __call__(self, x: Activations, batch_statistics: bool) -> jax.Array:
        if self.folded:
            return self._in_three_layers(x)
        y = self.ops.activate(self.expand(x, batch_statistics), self.activation) if self.expands else x
        y = self.ops.activate(self.depthwise(y, batch_statistics), self.activation)
        if self.squeezes:
            y = self.ops.scale(y, self.squeeze(self.ops.mean(y)))
        y = self.project(y, batch_statistics)
        return self.ops.join(x, y) if self.residual else y

    def _in_three_layers(self, x: Activations) -> jax.Array:
        y, depthwise = x, self.depthwise
        if self.expands:
            y = self.ops.expand(x, self.expand.kernel[...], self.expand.bias[...], self.activation)
        y, means = self.ops.filter(
            y, depthwise.kernel[...], depthwise.bias[...], depthwise.stride, depthwise.padding, self.activation
        )
        gate = self.squeeze(means) if self.squeezes else None
        return self.ops.project(y, gate, self.project.kernel[...], self.project.bias[...], x if self.residual else None)


class Top(nnx.Module):
    """Two stages: `top`, the last 1x1 convolution and the mean over positions; `classifier`, dropout in training and
    the outputs' linear layer."""

    def __init__(
        self, arch: Architecture, stages: tuple[str, ...], inputs: int, folded: bool, ops: Ops, rngs: nnx.Rngs
    ) -> None:
        channels = TOP_CHANNELS if arch.name.startswith("efficientnet_lite") else arch.channels(TOP_CHANNELS)
        if "top" in stages:
            self.conv = ConvNorm("pointwise", (inputs, channels), arch, folded, ops, rngs)
        if "classifier" in stages:
            self.classifier = nnx.Linear(channels, arch.outputs, rngs=rngs)
        self.activation, self.dropout, self.ops = arch.activation, arch.dropout, ops

    def features(self, x: Activations, batch_statistics: bool) -> jax.Array:
        """[b, h, w, c] to [b, f]."""
        return self.ops.mean(self.ops.activate(self.conv(x, batch_statistics), self.activation))

    def logits(self, x: jax.Array, dropout_key: jax.Array | None) -> jax.Array:
        """[b, f] to [b, outputs]."""
        if dropout_key is not None and self.dropout > 0:
            keep = jax.random.bernoulli(dropout_key, 1 - self.dropout, x.shape)
            x = jnp.where(keep, x / (1 - self.dropout), 0.0)
        return self.classifier(x)


class EfficientNet(nnx.Module):
    """The named stages of an EfficientNet, in order; all of them by default.

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
        scale_ends = not arch.name.startswith("efficientnet_lite")  # Lite keeps stem and top at their base widths
        stem = arch.channels(STEM_CHANNELS) if scale_ends else STEM_CHANNELS
        self.stages, self.activation, self.ops = stages, arch.activation, ops
        if "stem" in stages:
            self.stem = ConvNorm("dense", (3, 3, 3, stem), arch, folded, ops, rngs, stride=2)
        inputs = stem
        for name, stage in TABLE.items():
            outputs = arch.channels(stage.channels)
            if name in stages:
                setattr(self, name, _blocks(arch, stage, inputs, outputs, folded, ops, rngs))
            inputs = outputs
        if {"top", "classifier"} & set(stages):
            self.top = Top(arch, stages, inputs, folded, ops, rngs)

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
            return self.ops.activate(self.stem(self.ops.enter(x), batch_statistics), self.activation)
        if stage == "top":
            return self.top.features(x, batch_statistics)
        if stage == "classifier":
            return self.top.logits(x, dropout_key)
        for block in getattr(self, stage):
            x = block(x, batch_statistics)
        return x


def _blocks(
    arch: Architecture, stage: Stage, inputs: int, outputs: int, folded: bool, ops: Ops, rngs: nnx.Rngs
) -> nnx.List[Block]:
    repeats = -int(-arch.depth * stage.repeats // 1)
    first = Block(arch, stage, inputs, outputs, stage.stride, folded, ops, rngs)
    rest = [Block(arch, stage, outputs, outputs, 1, folded, ops, rngs) for _ in range(repeats - 1)]
    return nnx.List([first, *rest])
