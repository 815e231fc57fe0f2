"""EfficientNet as an ONNX graph, as an exporter writes it: NCHW convolutions with batch norm folded into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from prohibit_jax.bundle.fold import fold
from prohibit_jax.models.efficientnet import TABLE, Architecture
from prohibit_jax.models.network import Network
from prohibit_jax.types import Preprocessing, Variables

OPSET = 17


class Graph:
    """A graph under construction; its methods add operations and return the name of their result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operation."""
        output = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, array: np.ndarray | np.generic) -> str:
        """Adds weights."""
        name = f"weights{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def convolution(self, x: str, kernel: np.ndarray, bias: np.ndarray, stride: int = 1, groups: int = 1) -> str:
        """Adds a convolution by [d, c, k, k] that pads `k // 2` on every side."""
        size = kernel.shape[-1]
        constants = self.constant(kernel), self.constant(bias)
        shape = {"kernel_shape": (size, size), "strides": (stride, stride), "pads": (size // 2,) * 4}
        return self.node("Conv", x, *constants, group=groups, **shape)

    def silu(self, x: str) -> str:
        """Adds x * sigmoid(x)."""
        return self.node("Mul", x, self.node("Sigmoid", x))

    def activated(self, x: str, arch: Architecture) -> str:
        """Adds the architecture's activation."""
        if arch.activation == "silu":
            return self.silu(x)
        return self.node("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def model(self, inputs: tuple[int, Sequence[int]], x: str) -> ModelProto:
        """The finished graph: from `input`, of this element type and shape, to `output`, which is `x`."""
        self.nodes.append(helper.make_node("Identity", [x], ["output"]))
        ends = helper.make_tensor_value_info("input", *inputs), helper.make_empty_tensor_value_info("output")
        graph = helper.make_graph(self.nodes, "efficientnet", ends[:1], ends[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def entry_model(batch: int, preprocessing: Preprocessing, trunk: Network | None, variables: Variables) -> ModelProto:
    """Photos, uint8 [b, h, w, 3], to what the heads take in: normalised, through the trunk if there is one."""
    graph = Graph()
    pixels = graph.node("Cast", "input", to=TensorProto.FLOAT)
    x = graph.node("Div", pixels, graph.constant(np.float32(255)))
    x = graph.node("Sub", x, graph.constant(np.array(preprocessing.mean, np.float32)))
    x = graph.node("Div", x, graph.constant(np.array(preprocessing.std, np.float32)))
    x = graph.node("Transpose", x, perm=(0, 3, 1, 2))
    if trunk:
        x = _stages(graph, x, trunk, variables)
    return graph.model((TensorProto.UINT8, (batch, preprocessing.size, preprocessing.size, 3)), x)


def head_model(shape: Sequence[int], head: Network, variables: Variables) -> ModelProto:
    """What `entry_model` puts out, float32 of `shape`, to logits [b, outputs]."""
    graph = Graph()
    return graph.model((TensorProto.FLOAT, shape), _stages(graph, "input", head, variables))


def _stages(graph: Graph, x: str, network: Network, variables: Variables) -> str:
    folded, arrays = fold(network, variables)
    assert isinstance(folded.arch, Architecture)
    for stage in network.stages:
        if stage == "stem":
            kernel = arrays["stem.kernel"].transpose(3, 2, 0, 1)
            x = graph.activated(graph.convolution(x, kernel, arrays["stem.bias"], stride=2), folded.arch)
        elif stage == "top":
            x = graph.activated(_pointwise(graph, x, arrays, "top.conv"), folded.arch)
            x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
        elif stage == "classifier":
            classifier = [graph.constant(arrays[f"top.classifier.{kind}"]) for kind in ("kernel", "bias")]
            x = graph.node("Gemm", x, *classifier)
        else:
            blocks = sorted({int(name.split(".")[1]) for name in arrays if name.startswith(f"{stage}.")})
            for block in blocks:
                stride = TABLE[stage].stride if block == 0 else 1
                x = _block(graph, x, folded.arch, arrays, f"{stage}.{block}", stride)
    return x


def _block(graph: Graph, x: str, arch: Architecture, arrays: Variables, name: str, stride: int) -> str:
    y = x
    if f"{name}.expand.kernel" in arrays:
        y = graph.activated(_pointwise(graph, y, arrays, f"{name}.expand"), arch)
    kernel = arrays[f"{name}.depthwise.kernel"].transpose(2, 0, 1)[:, None]
    y = graph.convolution(y, kernel, arrays[f"{name}.depthwise.bias"], stride, groups=len(kernel))
    y = graph.activated(y, arch)
    if arch.squeeze_excite:
        gate = graph.silu(_pointwise(graph, graph.node("GlobalAveragePool", y), arrays, f"{name}.squeeze.reduce"))
        y = graph.node("Mul", y, graph.node("Sigmoid", _pointwise(graph, gate, arrays, f"{name}.squeeze.expand")))
    inputs = arrays[f"{name}.expand.kernel"].shape[0] if f"{name}.expand.kernel" in arrays else len(kernel)
    outputs = arrays[f"{name}.project.kernel"].shape[-1]
    y = _pointwise(graph, y, arrays, f"{name}.project")
    return graph.node("Add", x, y) if stride == 1 and inputs == outputs else y


def _pointwise(graph: Graph, x: str, arrays: Variables, name: str) -> str:
    return graph.convolution(x, arrays[f"{name}.kernel"].T[:, :, None, None], arrays[f"{name}.bias"])
