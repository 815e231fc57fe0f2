"""EfficientNet as a PyTorch user writes it, filled with our variables: the peer that the benchmarks run beside us."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from prohibit_jax.models.efficientnet import STAGES, STEM_CHANNELS, TABLE, TOP_CHANNELS, Architecture


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, where wanted, an activation; padding is symmetric, as in PyTorch's own models."""

    def __init__(
        self,
        arch: Architecture,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        norm = nn.BatchNorm2d(outputs, eps=arch.norm_epsilon, momentum=1 - arch.norm_momentum)
        activation = nn.SiLU(inplace=True) if arch.activation == "silu" else nn.ReLU6(inplace=True)
        super().__init__(conv, norm, *([activation] if act else []))


class SqueezeExcite(nn.Module):
    """Channel gate with 1x1 convolutions, as timm and torchvision write it."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w] to the same."""
        gate = nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * self.expand(gate).sigmoid()


class Block(nn.Module):
    """MBConv."""

    def __init__(self, arch: Architecture, expand: int, kernel: int, stride: int, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = ConvNorm(arch, inputs, hidden, 1) if expand > 1 else nn.Identity()
        self.depthwise = ConvNorm(arch, hidden, hidden, kernel, stride, groups=hidden)
        self.squeeze = SqueezeExcite(hidden, max(1, inputs // 4)) if arch.squeeze_excite else nn.Identity()
        self.project = ConvNorm(arch, hidden, outputs, 1, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w] to [b, d, h / stride, w / stride]."""
        y = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    """The named stages, in order, all by default; the modules are named like our variables."""

    def __init__(self, arch: Architecture, stages: tuple[str, ...] = STAGES) -> None:
        super().__init__()
        scale_ends = not arch.name.startswith("efficientnet_lite")
        inputs = arch.channels(STEM_CHANNELS) if scale_ends else STEM_CHANNELS
        if "stem" in stages:
            self.stem = ConvNorm(arch, 3, inputs, 3, 2)
        for name, stage in TABLE.items():
            blocks = []
            for repeat in range(-int(-arch.depth * stage.repeats // 1)):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(Block(arch, stage.expand, stage.kernel, stride, inputs, arch.channels(stage.channels)))
                inputs = arch.channels(stage.channels)
            if name in stages:
                setattr(self, name, nn.Sequential(*blocks))
        channels = arch.channels(TOP_CHANNELS) if scale_ends else TOP_CHANNELS
        if "top" in stages:
            self.top = ConvNorm(arch, inputs, channels, 1)
        if "classifier" in stages:
            self.classifier = nn.Linear(channels, arch.outputs)
        self.stages = stages

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, 3, h, w], normalised, or what the stage before the first puts out, to logits [b, outputs] at the end."""
        for name in self.stages:
            x = getattr(self, name)(x)
            x = x.mean((2, 3)) if name == "top" else x
        return x


def fill(module: EfficientNet, variables: Mapping[str, np.ndarray]) -> EfficientNet:
    """Copies our variables into the module; every tensor of it is filled."""
    state = {
        name: tensor if name.endswith("num_batches_tracked") else _tensor(variables, name, tuple(tensor.shape))
        for name, tensor in module.state_dict().items()
    }
    module.load_state_dict(state)
    return module


NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def _tensor(variables: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Our array for a name of the module's, in PyTorch's order of axes."""
    *path, slot, kind = name.split(".")
    prefix = ".".join("top.conv" if part == "top" else part for part in path)
    if slot == "1":
        array = variables[f"{prefix}.norm.{NORM[kind]}"]
    elif slot == "0":
        array = variables[f"{prefix}.kernel"]
    else:  # a linear layer, or a squeeze-and-excite convolution
        where = ".".join([*path, slot]) if slot != "classifier" else "top.classifier"
        array = variables[f"{where}.{'kernel' if kind == 'weight' else 'bias'}"]
    array = np.asarray(array)
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 3:
        array = array.transpose(2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return torch.tensor(np.ascontiguousarray(array)).reshape(shape)
