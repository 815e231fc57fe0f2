"""ONNX Runtime and OpenVINO, a compiled model for every head, called one after another.

Both take the same ONNX graph; OpenVINO runs it as fast as what its own converter makes of the PyTorch module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from prohibit_jax.bench.engines import Running, cores_here
from prohibit_jax.bench.onnx_efficientnet import entry_model, head_model
from prohibit_jax.bench.work import Work
from prohibit_jax.score.engine import Precision
from prohibit_jax.types import Images

Compiled = Callable[[np.ndarray], np.ndarray]
BYTES = {"float32": 4, "bfloat16": 2}


def onnxruntime(work: Work, precision: Precision) -> Running:
    """ONNX Runtime on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = cores_here()

    def compiled(model: ModelProto) -> Compiled:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(["output"], {"input": x})[0]

    return _loop(work, precision, compiled, "onnxruntime")


def openvino(work: Work, precision: Precision) -> Running:
    """OpenVINO on the CPU, set for the time that one call takes."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # else a process is forked to report
    import openvino as ov

    core = ov.Core()
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}

    def compiled(model: ModelProto) -> Compiled:
        request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options).create_infer_request()

        def run(x: np.ndarray) -> np.ndarray:
            request.infer([x], share_inputs=True)
            output: np.ndarray = request.get_output_tensor().data
            return output

        return run

    return _loop(work, precision, compiled, "openvino")


def _loop(work: Work, precision: Precision, compiled: Callable[[ModelProto], Compiled], compiler: str) -> Running:
    trunk, head = work.networks
    weights = 0

    def counted(model: ModelProto) -> Compiled:
        nonlocal weights
        weights += sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer) * BYTES[precision]
        return compiled(model)

    begin = counted(entry_model(work.batch, work.preprocessing, trunk, work.draw_trunk()))
    shape = begin(work.photos()).shape
    heads = [counted(head_model(shape, head, variables)) for variables in work.draw_heads()]

    def logits(images: Images) -> np.ndarray:
        x = begin(images)
        return np.concatenate([run(x) for run in heads], axis=1)

    return Running(logits, logits, weights, precision, compiler)
