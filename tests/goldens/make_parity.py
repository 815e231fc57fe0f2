"""Makes parity_*.npz, what timm and torchvision compute layer by layer, and tensors_*.pth, files of torch.save.

Run from the checkout in an environment with torch, timm and torchvision, and the real weights beside the checkout:

    PYTHONPATH=. python tests/goldens/make_parity.py
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

# torchvision's operators are for detection and for the build of torch it was made with; the classifiers need none.
for module in ("torchvision._autograd_registrations", "torchvision._meta_registrations"):
    sys.modules[module] = types.ModuleType(module)

import timm  # noqa: E402
import torchvision  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from tests.goldens import recipe  # noqa: E402

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[1].parent / "shared" / "weights"
Hooked = dict[str, torch.nn.Module]


def from_timm(name: str, outputs: int) -> tuple[torch.nn.Module, Hooked, tuple[float, ...], tuple[float, ...]]:
    net = timm.create_model(name, num_classes=outputs)
    blocks = {f"s{s}.{i}": block for s, stage in enumerate(net.blocks, 1) for i, block in enumerate(stage)}
    config = net.pretrained_cfg
    return net, {"stem": net.bn1, **blocks, "top": net.bn2}, config["mean"], config["std"]


def from_torchvision(name: str, outputs: int) -> tuple[torch.nn.Module, Hooked, tuple[float, ...], tuple[float, ...]]:
    net = getattr(torchvision.models, name)(num_classes=outputs)
    stages = net.features
    blocks = {f"s{s}.{i}": block for s in range(1, 8) for i, block in enumerate(stages[s])}
    photos = torchvision.models.EfficientNet_B0_Weights.IMAGENET1K_V1.transforms()
    return net, {"stem": stages[0], **blocks, "top": stages[8]}, tuple(photos.mean), tuple(photos.std)


def from_timm_inception() -> tuple[torch.nn.Module, Hooked, tuple[float, ...], tuple[float, ...]]:
    net = timm.create_model("inception_resnet_v2", num_classes=1000)
    stages = ("maxpool_5a", "mixed_5b", "repeat", "mixed_6a", "repeat_1", "mixed_7a", "repeat_2", "block8")
    hooked = {("stem" if s == 0 else f"s{s}"): getattr(net, stage) for s, stage in enumerate(stages)}
    return net, hooked, net.pretrained_cfg["mean"], net.pretrained_cfg["std"]


def randomise(net: torch.nn.Module) -> None:
    state = net.state_dict()
    net.load_state_dict({k: torch.from_numpy(recipe.random_tensor(k, tuple(v.shape))) for k, v in state.items()})


def make(
    case: str,
    net: torch.nn.Module,
    hooked: Hooked,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    sizes: tuple[tuple[int, int], ...] = recipe.SIZES,
) -> None:
    """Writes parity_<case>.npz: per size the logits, and per layer a sample and the moments of its output, NHWC."""
    net.eval()
    seen: dict[str, np.ndarray] = {}

    def keep(layer: str) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
            seen[layer] = output.permute(0, 2, 3, 1).numpy().copy()

        return hook

    for layer, module in hooked.items():
        module.register_forward_hook(keep(layer))
    names = net.state_dict()
    golden = {
        "names": np.array([f"{name} {','.join(map(str, t.shape))}" for name, t in names.items()]),
        "layers": np.array(list(hooked)),
    }
    for size in sizes:
        x = recipe.normalise(recipe.photos(size), mean, std).transpose(0, 3, 1, 2)
        with torch.no_grad():
            logits = net(torch.from_numpy(np.ascontiguousarray(x))).numpy()
        key = f"{size[0]}x{size[1]}"
        golden[f"{key}/logits"] = logits
        golden[f"{key}/samples"] = np.stack([recipe.sample(layer, seen[layer]) for layer in hooked])
        golden[f"{key}/moments"] = np.stack([recipe.moments(seen[layer]) for layer in hooked])
        print(case, key, "logits' scale", float(np.abs(logits).max()))
    np.savez_compressed(HERE / f"parity_{case}.npz", **golden)


def save_tensors() -> None:
    """Writes one checkpoint in both formats, with a tensor of each kind that recipe.py's `tensors` describes."""
    matrix = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {
        "float32": matrix,
        "transposed": matrix.T,
        "slice": matrix[1:, ::2],
        "float16": matrix.half() / 8,
        "bfloat16": matrix.bfloat16() / 8,
        "float64": matrix.double(),
        "int64": torch.tensor(7),
        "bool": matrix > 5,
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(matrix.reshape(-1)),
    }
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {k: v.shape for k, v in recipe.tensors().items()}
    checkpoint = {"epoch": 3, "state_dict": tensors, "best": 0.5, "name": None}
    for kind, is_zip in (("zip", True), ("legacy", False)):
        torch.save(checkpoint, HERE / f"tensors_{kind}.pth", _use_new_zipfile_serialization=is_zip)


def main() -> None:
    torch.manual_seed(0)
    save_tensors()
    net, *rest = from_timm("tf_efficientnet_lite0", 1000)
    net.load_state_dict(load_file(REAL / "tf_efficientnet_lite0.in1k.safetensors"))
    make("real_timm_tf_efficientnet_lite0", net, *rest)
    net, *rest = from_torchvision("efficientnet_b0", 1)
    net.load_state_dict(torch.load(REAL / "efficientnet_b0_torchvision.pth", map_location="cpu", weights_only=True))
    make("real_torchvision_efficientnet_b0", net, *rest)
    for name, sizes in {
        "tf_efficientnet_lite0": recipe.SIZES,
        "efficientnet_lite0": recipe.SIZES[:1],
        "tf_efficientnet_b0": recipe.SIZES[:2],  # at odd sizes the two paddings are one
        "efficientnet_b0": recipe.SIZES[:1],
    }.items():
        net, *rest = from_timm(name, 1000 if "tf_efficientnet_lite0" in name else 1)
        randomise(net)
        make(f"random_timm_{name}", net, *rest, sizes)
    net, *rest = from_torchvision("efficientnet_b0", 1)
    randomise(net)
    make("random_torchvision_efficientnet_b0", net, *rest)
    net, *rest = from_timm_inception()
    randomise(net)
    make("random_timm_inception_resnet_v2", net, *rest, recipe.INCEPTION_SIZES)


if __name__ == "__main__":
    main()
