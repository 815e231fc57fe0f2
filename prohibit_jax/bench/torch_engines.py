"""PyTorch: eager, in channels-last, under `torch.func.vmap`, as a CUDA graph, and compiled as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from prohibit_jax.bench.engines import Running, cores_here
from prohibit_jax.bench.torch_efficientnet import EfficientNet, fill
from prohibit_jax.bench.work import Work
from prohibit_jax.models.efficientnet import Architecture
from prohibit_jax.score.engine import Precision
from prohibit_jax.types import Images, Variables

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Begin = Callable[[torch.Tensor], torch.Tensor]


def eager(work: Work, precision: Precision) -> Running:
    """One head after another."""
    return _loop(work, precision, torch.contiguous_format)


def channels_last(work: Work, precision: Precision) -> Running:
    """The same in the layout that PyTorch's own advice on speed names first."""
    return _loop(work, precision, torch.channels_last)


def graphed(work: Work, precision: Precision) -> Running:
    """All heads one after another as one CUDA graph: no operation waits for Python."""
    begin, heads = _begin(work, precision, torch.channels_last), _heads(work, precision, torch.channels_last)
    return _running(_graph(work, lambda images: _each(heads, begin(images))), (begin, *heads), precision, "eager")


def compiled(work: Work, precision: Precision) -> Running:
    """The same of a compiled head, which takes every head's parameters in turn."""
    begin, heads = _begin(work, precision, torch.channels_last), _heads(work, precision, torch.channels_last)
    states = [{**dict(head.named_parameters()), **dict(head.named_buffers())} for head in heads]
    head = torch.compile(lambda state, x: torch.func.functional_call(heads[0], state, (x,)))

    def every(images: torch.Tensor) -> torch.Tensor:
        x = begin(images)
        return torch.cat([head(state, x) for state in states], dim=1)

    return _running(_graph(work, every), (begin, *heads), precision, "inductor")


def vmapped(work: Work, precision: Precision) -> Running:
    """`torch.func`: the heads' parameters stacked, one call of one module."""
    begin, heads = _begin(work, precision, torch.contiguous_format), _heads(work, precision, torch.contiguous_format)
    stacked = torch.func.stack_module_state(heads)

    def head(parameters: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(heads[0], (parameters, buffers), x)[:, 0]

    each = torch.func.vmap(head, in_dims=(0, 0, None), out_dims=1)
    return _running(lambda images: each(*stacked, begin(images)), (begin, *heads), precision, "eager")


class Entry(nn.Module):
    """Photos [b, h, w, 3], uint8, to what the heads take in: normalised, through the trunk if there is one."""

    def __init__(self, work: Work, dtype: torch.dtype, layout: torch.memory_format) -> None:
        super().__init__()
        mean, std = work.preprocessing.mean, work.preprocessing.std
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        trunk, _ = work.networks
        self.trunk = _module(work, trunk.stages, work.draw_trunk()) if trunk else nn.Identity()
        self.trunk.to(dtype=dtype, memory_format=layout)
        self.dtype, self.layout = dtype, layout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w]."""
        x = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return self.trunk(x.to(dtype=self.dtype, memory_format=self.layout))


def _begin(work: Work, precision: Precision, layout: torch.memory_format) -> Entry:
    torch.set_num_threads(cores_here())
    entry: Entry = Entry(work, getattr(torch, precision), layout).eval().to(DEVICE)
    return entry


def _heads(work: Work, precision: Precision, layout: torch.memory_format) -> list[EfficientNet]:
    stages, dtype = work.networks[1].stages, getattr(torch, precision)
    made = (_module(work, stages, variables) for variables in work.draw_heads())
    return [head.to(device=DEVICE, dtype=dtype, memory_format=layout) for head in made]


def _module(work: Work, stages: tuple[str, ...], variables: Variables) -> EfficientNet:
    assert isinstance(work.arch, Architecture)
    module = fill(EfficientNet(work.arch, stages), variables)
    module.eval()
    return module


def _each(heads: list[EfficientNet], x: torch.Tensor) -> torch.Tensor:
    return torch.cat([head(x) for head in heads], dim=1)


def _loop(work: Work, precision: Precision, layout: torch.memory_format) -> Running:
    begin, heads = _begin(work, precision, layout), _heads(work, precision, layout)
    return _running(lambda images: _each(heads, begin(images)), (begin, *heads), precision, "eager")


def _graph(work: Work, run: Begin) -> Begin:
    """What launches all that `run` launches at once, as NVIDIA's advice on many small kernels has it."""
    still = torch.zeros((work.batch, work.size, work.size, 3), dtype=torch.uint8, device=DEVICE)
    aside = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode():
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # what is chosen and compiled at first calls must not be recorded
                run(still)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph):
            output = run(still)

    def replay(images: torch.Tensor) -> torch.Tensor:
        still.copy_(images)
        graph.replay()
        return output

    return replay


def _running(run: Begin, modules: tuple[nn.Module, ...], precision: Precision, compiler: str) -> Running:
    @torch.inference_mode()
    def logits(images: Images) -> np.ndarray:
        output: np.ndarray = run(torch.from_numpy(images).to(DEVICE)).float().cpu().numpy()
        return output

    weights = sum(tensor.nbytes for module in modules for tensor in _tensors(module))
    return Running(logits, logits, weights, precision, compiler, torch.cuda.max_memory_allocated)


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
