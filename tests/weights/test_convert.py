"""The key maps: nothing left over, nothing left unfilled, and the figures that come with each family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prohibit_jax.models.efficientnet import B0, LITE0
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2
from prohibit_jax.models.network import Architecture, Network, shapes
from prohibit_jax.types import InputError
from prohibit_jax.weights.convert import FAMILIES, Publisher, convert, inception_source_name, recognise, source_name
from tests.goldens import recipe

GOLDENS = Path(recipe.__file__).parent


@pytest.fixture(scope="module")
def lite0() -> dict[str, np.ndarray]:
    """A timm Lite0's tensors."""
    with np.load(GOLDENS / "parity_random_timm_efficientnet_lite0.npz") as file:
        lines = file["names"]
    pairs = (line.split(" ") for line in lines)
    return {name: recipe.random_tensor(name, tuple(int(n) for n in shape.split(",") if n)) for name, shape in pairs}


@pytest.mark.parametrize(
    ("publisher", "arch", "ours", "theirs"),
    [
        ("timm", B0, "stem.kernel", "conv_stem.weight"),
        ("timm", B0, "s1.0.depthwise.norm.var", "blocks.0.0.bn1.running_var"),
        ("timm", B0, "s1.0.project.kernel", "blocks.0.0.conv_pw.weight"),
        ("timm", B0, "s2.1.expand.kernel", "blocks.1.1.conv_pw.weight"),
        ("timm", B0, "s7.0.squeeze.expand.bias", "blocks.6.0.se.conv_expand.bias"),
        ("timm", B0, "top.conv.norm.scale", "bn2.weight"),
        ("torchvision", B0, "s1.0.squeeze.reduce.kernel", "features.1.0.block.1.fc1.weight"),
        ("torchvision", B0, "s6.3.project.norm.mean", "features.6.3.block.3.1.running_mean"),
        ("torchvision", B0, "top.classifier.kernel", "classifier.1.weight"),
        ("lite0", LITE0, "s1.0.project.norm.bias", "_blocks.0._bn2.bias"),
        ("lite0", LITE0, "s4.2.depthwise.kernel", "_blocks.7._depthwise_conv.weight"),
        ("lite0", LITE0, "s7.0.expand.norm.mean", "_blocks.15._bn0.running_mean"),
    ],
)
def test_names_of_the_publishers(publisher: Publisher, arch: Architecture, ours: str, theirs: str) -> None:
    assert source_name(publisher, ours) == theirs
    names = [source_name(publisher, name) for name in shapes(Network(arch))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("stem.5.norm.mean", "conv2d_4a.bn.running_mean"),
        ("s1.0.branches.0.0.kernel", "mixed_5b.branch0.conv.weight"),
        ("s1.0.branches.3.1.norm.scale", "mixed_5b.branch3.1.bn.weight"),
        ("s2.9.branches.2.1.kernel", "repeat.9.branch2.1.conv.weight"),
        ("s4.0.project.bias", "repeat_1.0.conv2d.bias"),
        ("s7.0.branches.0.0.norm.var", "block8.branch0.bn.running_var"),
        ("top.conv.kernel", "conv2d_7b.conv.weight"),
        ("top.classifier.bias", "classif.bias"),
    ],
)
def test_timm_s_names_of_an_inception_resnet_v2(ours: str, theirs: str) -> None:
    assert inception_source_name(ours) == theirs
    names = [inception_source_name(name) for name in shapes(Network(INCEPTION_RESNET_V2))]
    assert len(set(names)) == len(names)


def test_an_inception_resnet_v2_that_does_not_fit_is_named() -> None:
    network = Network(INCEPTION_RESNET_V2)
    tensors = {inception_source_name(name): np.zeros(1, np.float32) for name in shapes(network)}
    for change, named in (
        ({"repeat.10.conv2d.bias": np.zeros(1)}, "has no place"),
        ({"repeat.9.conv2d.bias": None}, "is missing"),
    ):
        changed = {name: array for name, array in {**tensors, **change}.items() if array is not None}
        with pytest.raises(InputError, match=rf"^{next(iter(change))} {named}"):
            convert("timm", INCEPTION_RESNET_V2, changed)


def test_kernels_are_transposed(lite0: dict[str, np.ndarray]) -> None:
    _, ours = convert("timm", LITE0, lite0)
    kernel = lite0["conv_stem.weight"]
    assert ours["stem.kernel"][0, 1, 2, 3] == kernel[3, 2, 0, 1]
    assert ours["s2.0.expand.kernel"][5, 7] == lite0["blocks.1.0.conv_pw.weight"][7, 5, 0, 0]
    assert ours["s3.0.depthwise.kernel"][1, 4, 9] == lite0["blocks.2.0.conv_dw.weight"][9, 0, 1, 4]
    assert ours["top.classifier.kernel"].shape == (1280, 1)
    assert {array.dtype for array in ours.values()} == {np.dtype(np.float32)}


def test_outputs_are_those_of_the_file(lite0: dict[str, np.ndarray]) -> None:
    five = {"classifier.weight": np.zeros((5, 1280)), "classifier.bias": np.zeros(5)}
    arch, ours = convert("timm", LITE0, {**lite0, **five})
    assert arch.outputs == 5
    assert ours["top.classifier.kernel"].shape == (1280, 5)


def test_counters_may_be_absent_and_a_wrapper_s_prefix_is_dropped(lite0: dict[str, np.ndarray]) -> None:
    bare = {f"module.{name}": array for name, array in lite0.items() if "num_batches" not in name}
    _, ours = convert("timm", LITE0, bare)
    _, whole = convert("timm", LITE0, lite0)
    np.testing.assert_array_equal(ours["stem.kernel"], whole["stem.kernel"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"blocks.1.0.conv_pw.weight": None}, r"blocks\.1\.0\.conv_pw\.weight is missing"),
        ({"blocks.7.0.conv_pw.weight": np.zeros(3)}, r"blocks\.7\.0\.conv_pw\.weight has no place"),
        ({"conv_stem.num_batches_tracked": np.zeros(())}, r"conv_stem\.num_batches_tracked has no place"),
        ({"bn1.weight": np.zeros(31)}, r"bn1\.weight is \(31,\)"),
        ({"conv_stem.weight": np.zeros((32, 3, 5, 5))}, r"conv_stem\.weight is \(32, 3, 5, 5\)"),
        ({"bn1.bias": np.full(32, np.nan)}, r"bn1\.bias holds values that are not finite"),
        ({"classifier.bias": None}, r"no classifier\.bias"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    lite0: dict[str, np.ndarray], change: dict[str, np.ndarray | None], named: str
) -> None:
    tensors = {name: array for name, array in {**lite0, **change}.items() if array is not None}
    with pytest.raises(InputError, match=named):
        convert("timm", LITE0, tensors)


def test_another_publisher_s_weights_are_refused(lite0: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="torchvision"):
        convert("torchvision", B0, lite0)


@pytest.mark.parametrize(
    ("publisher", "key", "hint", "family"),
    [
        ("timm", "blocks.0.0.se.conv_reduce.bias", "efficientnet_b0.ra_in1k", "timm efficientnet_b0"),
        ("timm", "blocks.0.0.se.conv_reduce.bias", "tf_efficientnet_b0.pth", "timm tf_efficientnet_b0"),
        ("timm", "blocks.0.0.se.conv_reduce.bias", "model.safetensors", "timm efficientnet_b0"),
        ("timm", "conv_stem.weight", "efficientnet_lite0.ra_in1k", "timm efficientnet_lite0"),
        ("timm", "conv_stem.weight", "tf_efficientnet_lite0", "timm tf_efficientnet_lite0"),
        ("timm", "conv_stem.weight", "lite.safetensors", "timm tf_efficientnet_lite0"),
        ("timm", "conv2d_1a.conv.weight", "inception_resnet_v2.tf_in1k", "timm inception_resnet_v2"),
        ("torchvision", "features.0.0.weight", "", "torchvision efficientnet_b0"),
        ("lite0", "_conv_stem.weight", "", "lite0 efficientnet_lite0"),
    ],
)
def test_families_are_told_apart(publisher: Publisher, key: str, hint: str, family: str) -> None:
    assert recognise(publisher, {key: np.zeros(1)}, hint).name == family


def test_the_families_conventions() -> None:
    """Each family's padding, epsilon and momentum belong together."""
    for family in FAMILIES:
        tensorflow = "tf_" in family.name or family.name.startswith("lite0")
        arch = family.arch
        if arch == INCEPTION_RESNET_V2:
            continue
        assert isinstance(arch, type(B0))
        expected = ("same", 1e-3, 0.99) if tensorflow else ("torch", 1e-5, 0.9)
        assert (arch.padding, arch.norm_epsilon, arch.norm_momentum) == expected
        assert arch.squeeze_excite == (arch.activation == "silu") == (arch.name == "efficientnet_b0")
