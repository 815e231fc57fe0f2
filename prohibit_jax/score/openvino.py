"""The scorer's compiler for CPUs where OpenVINO is installed (extra `cpu`): our own function's jaxpr, compiled by it.

OpenVINO is fastest where weights are constants of the program and channels come first. So each head is a program of its
own, and replacing one compiles no other; photos are normalised, and a trunk is run, once for all heads of a group.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from threading import Lock
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from prohibit_jax.models.network import Network, apply, normalise, shapes
from prohibit_jax.models.ops import Ops, pad
from prohibit_jax.score.engine import COMPILED, Precision, padded, recall, remember
from prohibit_jax.score.stack import Folded, Group, Plan
from prohibit_jax.types import Images, Preprocessing, Scores

# Without this, `import openvino` forks a process that reports to its makers: what scans users' photos must not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402
from openvino.frontend import FrontEndManager  # noqa: E402
from openvino.frontend.jax.jaxpr_decoder import JaxprPythonDecoder  # noqa: E402

# Photos in one run of a program. More leave the processor's cache; in bfloat16 reading the weights again costs more.
MOST_PHOTOS: dict[Precision, int] = {"float32": 1, "bfloat16": 8}
MOST_FEATURES = 8
LAYOUT = ("NCHW", "OIHW", "NCHW")


@dataclass(frozen=True)
class ChannelsFirst(Ops):
    """Activations [b, c, h, w], in operations that OpenVINO's JAX front end knows and fuses."""

    def enter(self, x: jax.Array) -> jax.Array:
        """Photos come in this layout already."""
        return x

    def convolve(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """A dense convolution by [kh, kw, c, d]."""
        return _convolve(x, jnp.transpose(kernel, (3, 2, 0, 1)), stride, padding)

    def pointwise(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """A convolution too."""
        return _convolve(x, jnp.transpose(kernel)[:, :, None, None], 1, "same")

    def depthwise(self, x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
        """A grouped convolution."""
        return _convolve(x, jnp.transpose(kernel, (2, 0, 1))[:, None], stride, padding, groups=x.shape[1])

    def add(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        """Adds [c] to every position."""
        return x + bias.reshape(1, -1, 1, 1)

    def scale(self, x: jax.Array, gate: jax.Array) -> jax.Array:
        """Multiplies every position by [b, c]."""
        return x * gate[:, :, None, None]

    def mean(self, x: jax.Array) -> jax.Array:
        """The mean over positions, [b, c]."""
        return x.mean((2, 3))

    def max_pool(self, x: jax.Array, size: int, stride: int) -> jax.Array:
        """The maximum of every `size` x `size` window that lies within the input; the front end has no pooling."""
        h, w = ((n - size) // stride * stride + 1 for n in x.shape[2:])
        parts = [x[:, :, i : i + h : stride, j : j + w : stride] for i in range(size) for j in range(size)]
        return reduce(lax.max, parts)

    def mean_pool(self, x: jax.Array, size: int) -> jax.Array:
        """The mean of the `size` x `size` window around each position, of what there is of it at the edges."""
        ones = jnp.asarray(np.ones((x.shape[1], 1, size, size), np.float32))
        inside = [np.convolve(np.ones(n), np.ones(size), "same") for n in x.shape[2:]]
        count = np.outer(*inside).astype(np.float32)
        return _convolve(x, ones, 1, "same", groups=x.shape[1]) / count

    def concat(self, parts: Sequence[jax.Array]) -> jax.Array:
        """The channels of all parts, in order."""
        return jnp.concatenate(parts, axis=1)

    def sigmoid(self, x: jax.Array) -> jax.Array:
        """One operation, which OpenVINO fuses to Swish after `x *`."""
        return lax.logistic(x)

    def activate(self, x: jax.Array, name: str) -> jax.Array:
        """ReLU and ReLU6 from maxima, since the front end has no minimum."""
        if name == "silu":
            return super().activate(x, name)
        positive = lax.max(x, 0.0)
        return positive if name == "relu" else -lax.max(-positive, -6.0)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: str, groups: int = 1) -> jax.Array:
    window = [pad(n, size, stride, padding) for n, size in zip(x.shape[2:], kernel.shape[2:], strict=True)]
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), window, dimension_numbers=LAYOUT, feature_group_count=groups
    )


_converting = Lock()


@dataclass(frozen=True)
class Piece:
    """What one program computes."""

    network: Network
    preprocessing: Preprocessing | None
    """Of the photos that it takes; None takes a trunk's output."""
    shape: tuple[int, ...]
    """Of its input, [b, h, w, c], or [b, f] after a trunk through `top`."""


def function(piece: Piece) -> tuple[Callable[..., jax.Array], list[jax.ShapeDtypeStruct]]:
    """The piece as a function of its input and its variables in the order of `shapes`, and what these are."""
    names = tuple(shapes(piece.network))

    def run(x: jax.Array, *arrays: jax.Array) -> jax.Array:
        if piece.preprocessing:
            x = normalise(x, piece.preprocessing)
        # Channels are last between pieces, as OpenVINO keeps them in memory too: neither transpose moves anything.
        variables = dict(zip(names, arrays, strict=True))
        x = jnp.transpose(x, (0, 3, 1, 2)) if x.ndim == 4 else x
        x, _ = apply(piece.network, variables, x, ops=ChannelsFirst())
        return jnp.transpose(x, (0, 2, 3, 1)) if x.ndim == 4 else x

    variables = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes(piece.network).values()]
    return run, [jax.ShapeDtypeStruct(piece.shape, jnp.uint8 if piece.preprocessing else jnp.float32), *variables]


@cache
def convert(piece: Piece) -> ov.Model:
    """The piece as an OpenVINO model: its input first, then its variables in the order of `shapes`."""
    run, kinds = function(piece)
    # The front end knows no `jit` primitive.
    with _converting, jax.disable_jit():
        jaxpr = jax.make_jaxpr(run)(*kinds)
        decoder = JaxprPythonDecoder(jaxpr, literals=jaxpr.literals)  # which it does not find from jax 0.12 on
        front_end = FrontEndManager().load_by_framework("jax")
        return front_end.convert(front_end.load(decoder))


@cache
def _output(piece: Piece) -> tuple[int, ...]:
    run, kinds = function(piece)
    return tuple(jax.eval_shape(run, *kinds).shape)


def compile_piece(piece: Piece, folded: Folded, precision: Precision, keep: bool) -> ov.CompiledModel:
    """The piece with these variables; with `keep`, as an earlier start left it on disk, or left there for the next."""
    key = _key(piece, folded, precision) if keep else ""
    program = recall("openvino", key) if keep else None
    if program is not None:
        with contextlib.suppress(Exception):  # of another build after all: compiled again
            return _core().import_model(ov.Tensor(np.frombuffer(program, np.uint8)), "CPU", _options(precision))
    model = convert(piece).clone()
    for parameter, name in zip(model.get_parameters()[1:], shapes(folded.network), strict=True):
        constant = ov.opset13.constant(np.asarray(folded.variables[name], np.float32))
        parameter.output(0).replace(constant.output(0))
        model.remove_parameter(parameter)
    begun = perf_counter()
    compiled = _core().compile_model(model, "CPU", _options(precision))
    jax.monitoring.record_event_duration_secs(COMPILED, perf_counter() - begun)
    if keep:
        remember("openvino", key, compiled.export_model().getvalue())
    return compiled


def _key(piece: Piece, folded: Folded, precision: Precision) -> str:
    """By content: what a card says of its head's file is not what was folded, if somebody changed either."""
    digest = hashlib.blake2b(repr((piece, precision)).encode(), digest_size=32)
    for name in sorted(folded.variables):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(folded.variables[name]).reshape(-1).data)
    return f"{digest.hexdigest()}.blob"


@cache
def _core() -> ov.Core:
    return ov.Core()


def _options(precision: Precision) -> dict[str, str]:
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    return {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="openvino")


def _request(piece: Piece, folded: Folded, precision: Precision, keep: bool) -> ov.InferRequest:
    return compile_piece(piece, folded, precision, keep).create_infer_request()


class Runner:
    """A piece with its variables, for every tile that it needs, compiled in the background; one run at a time."""

    def __init__(self, pieces: Mapping[int, Piece], folded: Folded, precision: Precision, keep: bool) -> None:
        """Begins to compile.

        Args:
            pieces: batch size -> the piece for the tiles that it is cut into.
            folded: the variables.
            precision: of the products.
            keep: programs on disk.
        """
        compiling = {piece: _workers().submit(_request, piece, folded, precision, keep) for piece in pieces.values()}
        self._requests: dict[int, Future[ov.InferRequest]] = {batch: compiling[pieces[batch]] for batch in pieces}
        self._tiles = {batch: piece.shape[0] for batch, piece in pieces.items()}
        self._lock = Lock()

    def wait(self) -> None:
        """Returns once everything is compiled."""
        for request in self._requests.values():
            request.result()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The piece's output for a batch, one tile after another."""
        request, tile = self._requests[len(x)].result(), self._tiles[len(x)]
        with self._lock:
            parts = [_run(request, padded(x[start : start + tile], tile)) for start in range(0, len(x), tile)]
        return np.concatenate(parts)[: len(x)]


def _run(request: ov.InferRequest, x: np.ndarray) -> np.ndarray:
    request.infer([x], share_inputs=True)
    return np.array(request.get_output_tensor(0).data, np.float32)


@dataclass(frozen=True)
class OpenVinoEngine:
    """An `Engine` on OpenVINO."""

    plan: Plan
    batch_sizes: tuple[int, ...]
    _precision: Precision
    _keep: bool
    _trunks: Mapping[tuple[Group, str], Runner] = field(repr=False)
    _heads: Mapping[tuple[Group, Folded], Runner] = field(repr=False)
    _members: tuple[tuple[Runner, ...], ...] = field(repr=False)
    """Of each group, in the order of its slots."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        heads: Sequence[Folded],
        trunks: Mapping[str, Folded],
        batch_sizes: tuple[int, ...],
        precision: Precision,
        keep: bool = False,
    ) -> OpenVinoEngine:
        """Begins to compile every head, in the background."""
        return cls(plan, batch_sizes, precision, keep, {}, {}, ()).update(plan, heads, trunks)

    def warm(self) -> None:
        """Waits for what compiles in the background."""
        for runner in (*self._trunks.values(), *self._heads.values()):
            runner.wait()

    def __call__(self, images: Mapping[int, Images]) -> Scores:
        """As in `Engine`."""
        batch = len(next(iter(images.values())))
        logits = np.zeros((batch, sum(group.slots for group in self.plan.groups)), np.float32)
        first = 0
        for group, sha256, members in zip(self.plan.groups, self.plan.trunks, self._members, strict=True):
            x: np.ndarray = images[group.preprocessing.size]
            if sha256:
                x = self._trunks[_shape(group), sha256](x)
            for slot, head in enumerate(members, first):
                logits[:, slot] = head(x)[:, 0]
            first += group.slots
        return logits

    def update(self, plan: Plan, heads: Sequence[Folded], trunks: Mapping[str, Folded]) -> OpenVinoEngine:
        """As in `Engine`. What is new begins to compile in the background; the first call waits for it."""
        shared, alone, members = {}, {}, []
        for group, sha256, columns in zip(plan.groups, plan.trunks, plan.columns, strict=True):
            shape = _shape(group)
            if sha256:
                former = self._trunks.get((shape, sha256))
                shared[shape, sha256] = former or self._runner(self._photo_pieces(group, group.trunk), trunks[sha256])
            pieces = self._feature_pieces(group) if sha256 else self._photo_pieces(group, group.head)
            for head in (heads[column] for column in columns):
                alone[shape, head] = self._heads.get((shape, head)) or self._runner(pieces, head)
            members.append(tuple(alone[shape, heads[column]] for column in columns))
        return replace(self, plan=plan, _trunks=shared, _heads=alone, _members=tuple(members))

    def prepare(self, plan: Plan) -> None:
        """Nothing: programs are compiled for heads, not for slots."""

    def _runner(self, pieces: Mapping[int, Piece], folded: Folded) -> Runner:
        return Runner(pieces, folded, self._precision, self._keep)

    def _photo_pieces(self, group: Group, network: Network | None) -> dict[int, Piece]:
        """For each batch size, what begins with photos: a trunk, or whole heads."""
        assert network is not None
        size, most = group.preprocessing.size, MOST_PHOTOS[self._precision]
        tiles = {batch: tile_of(batch, self.batch_sizes, most) for batch in self.batch_sizes}
        return {batch: Piece(network, group.preprocessing, (tile, size, size, 3)) for batch, tile in tiles.items()}

    def _feature_pieces(self, group: Group) -> dict[int, Piece]:
        """For each batch size, heads on a trunk's output."""
        one = _output(self._photo_pieces(group, group.trunk)[self.batch_sizes[0]])
        tiles = {batch: tile_of(batch, self.batch_sizes, MOST_FEATURES) for batch in self.batch_sizes}
        return {batch: Piece(group.head, None, (tile, *one[1:])) for batch, tile in tiles.items()}


def _shape(group: Group) -> Group:
    """The group without its number of slots, which programs do not depend on."""
    return replace(group, slots=0)


def tile_of(batch: int, batch_sizes: Sequence[int], most: int) -> int:
    """Photos in one run: the largest of the batch sizes that is no more than `batch` or `most`, or equal parts."""
    fitting = [size for size in batch_sizes if size <= min(batch, most)]
    return max(fitting, default=-(-batch // -(-batch // most)))
