"""The scorer's compiler for every device that JAX knows, and its reference: one jitted function a bundle.

The head axis leads all the way. An accelerator takes as many heads at once as its memory holds; a CPU takes one head
and one photo at a time, so that activations stay in its cache, which is 2.5 times faster than all at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from threading import Lock, Thread
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import serialize_executable
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from prohibit_jax.models.network import Network, apply, normalise, shapes
from prohibit_jax.models.ops import OPS, Ops
from prohibit_jax.score.engine import Precision, recall, remember
from prohibit_jax.score.lowering import CpuOps, HalfOps
from prohibit_jax.score.stack import Folded, Group, Plan
from prohibit_jax.types import Images, InputError, Scores, Variables

ONE_BY_ONE = ("stem", "s1", "s2", "s3", "s4", "s5")  # later activations are small, and weights are better read once
LIVE = 3  # activations of about the largest size that are alive at once: a block's input, hidden and output
SHARE = 0.5  # of the device's memory, for activations
AXES = ("heads", "photos")


@dataclass(frozen=True)
class Form:
    """How a kind of device runs a group."""

    ops: Ops
    photo_by_photo: bool
    memory: float | None
    """Bytes for the activations of the heads that run at once; None runs them one by one."""
    options: tuple[tuple[str, str | bool], ...] = ()
    """XLA's compiler options."""


def form_of(device: jax.Device, precision: Precision, weights: int = 0) -> Form:
    """The fastest form that was measured for the device's kind (docs/speed.md).

    Args:
        device: one that is like all that run it.
        precision: of products.
        weights: bytes that lie on the device, twice while a head is replaced.
    """
    half = precision == "bfloat16"
    if device.platform == "cpu":
        options = (("xla_cpu_prefer_vector_width", "512"), ("xla_cpu_enable_concurrency_optimized_scheduler", True))
        return Form(CpuOps(half), photo_by_photo=True, memory=None, options=options)
    limit = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
    memory = SHARE * max(limit - 2 * weights, 0)
    if half and _takes_kernels(device):
        from prohibit_jax.score.kernels import OPTIONS, KernelOps  # Pallas takes time to import

        return Form(KernelOps(), photo_by_photo=False, memory=memory, options=OPTIONS)
    return Form(HalfOps() if half else OPS, photo_by_photo=False, memory=memory)


def _takes_kernels(device: jax.Device) -> bool:
    """Whether it is an NVIDIA card that multiplies bfloat16, as all do from compute capability 8.0 on."""
    capability = re.fullmatch(r"(\d+)\.\d+", str(getattr(device, "compute_capability", "")))
    # Pallas asks the default device what to compile for.
    return jax.default_backend() == "gpu" and capability is not None and int(capability[1]) >= 8


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GroupWeights:
    """A group's arrays: the trunk's (none without a trunk), the heads' with a leading axis of slots, and how many of
    the slots are taken, int32."""

    trunk: Any
    heads: Any
    taken: Any


def logits_of(
    group: Group, form: Form, weights: GroupWeights, images: jax.Array, at_once: int, first: jax.Array | int = 0
) -> jax.Array:
    """float32 [slots, b].

    Args:
        group: what to run; its number of slots is that of `weights`.
        form: how.
        weights: the arrays.
        images: uint8 [b, size, size, 3].
        at_once: heads that run side by side.
        first: number of the first slot, where others hold the slots before it.
    """
    x = normalise(images, group.preprocessing)
    if group.trunk:
        x = forward(group.trunk, form, weights.trunk, x)

    def head(variables: Variables) -> jax.Array:
        return forward(group.head, form, variables, x)[:, 0].astype(jnp.float32)

    slots = len(jax.tree.leaves(weights.heads)[0])
    if at_once >= slots > 1:
        every: jax.Array = jax.vmap(head)(weights.heads)
        return every

    def some(turn: jax.Array, logits: jax.Array) -> jax.Array:
        # The last turn starts early enough to be a whole one; what it computes again is the same.
        start = jnp.minimum(turn * at_once, slots - at_once)
        part = jax.tree.map(lambda array: lax.dynamic_slice_in_dim(array, start, at_once), weights.heads)
        found = jax.vmap(head)(part) if at_once > 1 else head(jax.tree.map(lambda array: array[0], part))[None]
        return lax.dynamic_update_slice_in_dim(logits, found, start, axis=0)

    turns = -(-jnp.clip(weights.taken - first, 0, slots) // at_once)  # free slots cost nothing
    logits: jax.Array = lax.fori_loop(0, turns, some, jnp.zeros((slots, len(images)), jnp.float32))
    return logits


def forward(network: Network, form: Form, variables: Variables, x: jax.Array) -> jax.Array:
    """A network's output in a form: early stages photo by photo where that is faster."""
    early = tuple(stage for stage in network.stages if form.photo_by_photo and stage in ONE_BY_ONE)
    late = network.stages[len(early) :]
    if early:
        part = replace(network, stages=early)
        x = lax.map(lambda photo: _output(part, form.ops, variables, photo[None])[0], x)
    return _output(replace(network, stages=late), form.ops, variables, x) if late else x


def heads_at_once(group: Group, form: Form, batch: int, slots: int) -> int:
    """How many heads' activations the form's memory holds, at least one."""
    if form.memory is None:
        return 1
    each = batch * LIVE * _largest(group, form.ops)
    most = max(1, min(slots, int(form.memory // each)))
    return -(-slots // -(-slots // most))  # equal turns


@cache
def _largest(group: Group, ops: Ops) -> int:
    """Bytes of the largest array that one head makes of one photo."""
    size = group.preprocessing.size
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    if group.trunk:
        x = jax.eval_shape(partial(_output, group.trunk, ops), _abstract(group.trunk), x)
    jaxpr = jax.make_jaxpr(partial(_output, group.head, ops))(_abstract(group.head), x)
    return max(int(out.aval.size * out.aval.dtype.itemsize) for eqn in jaxpr.eqns for out in eqn.outvars)


def _output(network: Network, ops: Ops, variables: Variables, x: jax.Array) -> jax.Array:
    return apply(network, variables, x, ops=ops)[0]


def _abstract(network: Network) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes(network).items()}


class Lazy:
    """An executable that is made by whoever first wants it, while others wait."""

    def __init__(self, make: Callable[[], jax.stages.Compiled]) -> None:
        self._make, self._lock = make, Lock()
        self._made: jax.stages.Compiled | None = None

    def __call__(self) -> jax.stages.Compiled:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


class Program:
    """The groups' function, compiled once for each number of photos, and never when it is called."""

    def __init__(self, groups: tuple[Group, ...], form: Form, mesh: Mesh, keep: bool = False) -> None:
        self.groups, self.form, self.mesh = groups, form, mesh
        # A program for several devices is tied to their numbers, and one from JAX's own cache cannot be written again.
        self.keep = keep and mesh.size == 1 and not jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
        self._found: dict[str, Lazy] = {}
        self._lock = Lock()

    def warm(self, batch_sizes: Sequence[int]) -> None:
        """Compiles all that an engine calls."""
        makes = [
            *(partial(self.scorer, batch) for batch in batch_sizes),
            *(partial(self.writer, g) for g in self.groups),
        ]
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda make: make(), makes))

    def scorer(self, batch: int) -> jax.stages.Compiled:
        """The executable for `batch` photos: (weights, {size: images}) -> logits of each group, float32 [slots, b]."""
        return self._once(f"{batch} photos", lambda: self._lower_scorer(batch))

    def writer(self, group: Group) -> jax.stages.Compiled:
        """The executable that puts a head in a slot: (stacked heads, slot, head) -> stacked heads, all arrays new."""
        return self._once(f"write {group}", lambda: self._lower_writer(group))

    def _once(self, what: str, lower: Callable[[], jax.stages.Lowered]) -> jax.stages.Compiled:
        with self._lock:
            found = self._found.setdefault(what, Lazy(lambda: self._kept(what, lower)))
        return found()

    def _kept(self, what: str, lower: Callable[[], jax.stages.Lowered]) -> jax.stages.Compiled:
        """What `lower` gives, compiled; or as an earlier start left it on disk, where neither is done again."""
        if not self.keep:
            return lower().compile()
        device = self.mesh.devices.flat[0]
        about = repr((what, self.groups, self.form, device.id, device.device_kind, device.client.platform_version))
        key = f"{hashlib.sha256(about.encode()).hexdigest()}.bin"
        if (program := recall("xla", key)) is not None:
            with contextlib.suppress(Exception):  # not for this device after all: compiled again
                payload, inputs, outputs = pickle.loads(program)
                found: jax.stages.Compiled = serialize_executable.deserialize_and_load(
                    payload, inputs, outputs, execution_devices=[device]
                )
                return found
        compiled = lower().compile()
        remember("xla", key, pickle.dumps(serialize_executable.serialize(compiled)))
        return compiled

    def _lower_writer(self, group: Group) -> jax.stages.Lowered:
        stacked = self._abstract_weights(group).heads
        row = {
            name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype, sharding=self.sharding())
            for name, array in stacked.items()
        }
        slot = jax.ShapeDtypeStruct((), jnp.int32, sharding=self.sharding())
        written = {name: array.sharding for name, array in stacked.items()}
        return jax.jit(_write, out_shardings=written).lower(stacked, slot, row)

    def _lower_scorer(self, batch: int) -> jax.stages.Lowered:
        heads, photos = (self.mesh.shape[axis] for axis in AXES)
        at_once = [heads_at_once(group, self.form, batch // photos, group.slots // heads) for group in self.groups]

        def run(weights: tuple[GroupWeights, ...], images: Mapping[int, jax.Array]) -> list[jax.Array]:
            return [
                logits_of(
                    group, self.form, arrays, images[group.preprocessing.size], chunk,
                    lax.axis_index("heads") * (group.slots // heads) if heads > 1 else 0,
                )
                for group, arrays, chunk in zip(self.groups, weights, at_once, strict=True)
            ]  # fmt: skip

        specs = tuple(_spec() for _ in self.groups)
        sharded = jax.shard_map(
            run,
            mesh=self.mesh,
            in_specs=(specs, PartitionSpec("photos")),
            out_specs=[PartitionSpec(*AXES)] * len(specs),
            check_vma=False,
        )
        sizes = {group.preprocessing.size for group in self.groups}
        images = {
            size: jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8, sharding=self.sharding("photos"))
            for size in sizes
        }
        weights = tuple(map(self._abstract_weights, self.groups))
        jitted = jax.jit(sharded if self.mesh.size > 1 else run, compiler_options=dict(self.form.options))
        # Accelerators round the operands of float32 products unless told not to.
        with jax.default_matmul_precision("highest" if self.form.ops == OPS else "default"):
            return jitted.lower(weights, images)

    def _abstract_weights(self, group: Group) -> GroupWeights:
        stacked, whole = self.sharding("heads"), self.sharding()
        return GroupWeights(
            {
                name: jax.ShapeDtypeStruct(shape, kept(name, self.form), sharding=whole)
                for name, shape in (shapes(group.trunk) if group.trunk else {}).items()
            },
            {
                name: jax.ShapeDtypeStruct((group.slots, *shape), kept(name, self.form), sharding=stacked)
                for name, shape in shapes(group.head).items()
            },
            jax.ShapeDtypeStruct((), jnp.int32, sharding=whole),
        )

    def sharding(self, *axes: str) -> NamedSharding:
        """Of arrays whose leading axes are shared out over these axes of the mesh."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def _spec() -> GroupWeights:
    return GroupWeights(PartitionSpec(), PartitionSpec("heads"), PartitionSpec())


def kept(name: str, form: Form) -> Any:
    """The type in which a variable lies on the device: what a form rounds in every call is rounded once."""
    half = isinstance(form.ops, HalfOps) or (isinstance(form.ops, CpuOps) and form.ops.half)
    multiplied = name.endswith((".expand.kernel", ".project.kernel", ".conv.kernel")) and ".squeeze." not in name
    return jnp.bfloat16 if half and multiplied else jnp.float32


@dataclass(frozen=True)
class XlaEngine:
    """An `Engine` on XLA."""

    plan: Plan
    batch_sizes: tuple[int, ...]
    _program: Program = field(repr=False)
    _programs: dict[tuple[Group, ...], Program] = field(repr=False)
    """All that were made for this engine and those it was updated from."""
    _heads: tuple[tuple[Folded, ...], ...] = field(repr=False)
    """Of each group, in the order of its slots."""
    _weights: tuple[GroupWeights, ...] = field(repr=False)

    @classmethod
    def of(
        cls,
        plan: Plan,
        heads: Sequence[Folded],
        trunks: Mapping[str, Folded],
        batch_sizes: tuple[int, ...],
        precision: Precision,
        mesh: Mesh | None = None,
        keep: bool = False,
    ) -> XlaEngine:
        """Puts the heads on the device, or shares them out over the mesh; compiles nothing yet."""
        if mesh is not None and mesh.axis_names != AXES:
            raise InputError(f"mesh: its axes are {mesh.axis_names}, must be {AXES}")
        mesh = mesh or Mesh(np.array(jax.devices()[:1]).reshape(1, 1), AXES)
        weights = sum(array.nbytes for head in heads for array in head.variables.values())
        form = form_of(mesh.devices.flat[0], precision, weights // mesh.shape["heads"])
        return cls.in_form(form, plan, heads, trunks, batch_sizes, mesh, keep)

    @classmethod
    def in_form(
        cls,
        form: Form,
        plan: Plan,
        heads: Sequence[Folded],
        trunks: Mapping[str, Folded],
        batch_sizes: tuple[int, ...],
        mesh: Mesh,
        keep: bool = False,
    ) -> XlaEngine:
        """As `of`, in a form that is given."""
        mesh = Mesh(mesh.devices, mesh.axis_names)  # sharding is left to XLA, whatever the axes' types were
        photos = mesh.shape["photos"]
        batch_sizes = tuple(sorted({-(-size // photos) * photos for size in batch_sizes}))
        program = Program(_even(plan, mesh).groups, form, mesh, keep)
        empty = cls(plan, batch_sizes, program, {program.groups: program}, (), ())
        return empty.update(plan, heads, trunks)

    def warm(self) -> None:
        """Compiles for every number of photos."""
        self._program.warm(self.batch_sizes)

    def __call__(self, images: Mapping[int, Images]) -> Scores:
        """As in `Engine`."""
        batch = len(next(iter(images.values())))
        placed = jax.device_put(dict(images), self._program.sharding("photos"))
        found = jax.device_get(self._program.scorer(batch)(self._weights, placed))
        return np.concatenate(found, axis=0).T

    def update(self, plan: Plan, heads: Sequence[Folded], trunks: Mapping[str, Folded]) -> XlaEngine:
        """As in `Engine`. Where a group has the same slots as before, only the rows of new heads are written."""
        plan = _even(plan, self._program.mesh)
        program = self._program_of(plan)
        members = tuple(tuple(heads[column] for column in columns) for columns in plan.columns)
        before = dict(zip(zip(self.plan.groups, self.plan.trunks, strict=True), range(len(self._heads)), strict=False))
        weights = []
        for group, sha256, group_heads in zip(plan.groups, plan.trunks, members, strict=True):
            same = before.get((group, sha256))
            trunk = trunks[sha256].variables if sha256 else {}
            if same is None:
                weights.append(_stack(group, group_heads, trunk, program))
            else:
                weights.append(_rewrite(group, self._weights[same], self._heads[same], group_heads, program))
        return replace(self, plan=plan, _program=program, _heads=members, _weights=tuple(weights))

    def prepare(self, plan: Plan) -> None:
        """As in `Engine`."""
        program = self._program_of(_even(plan, self._program.mesh))
        Thread(target=program.warm, args=(self.batch_sizes,)).start()

    def _program_of(self, plan: Plan) -> Program:
        former = self._program
        return self._programs.setdefault(plan.groups, Program(plan.groups, former.form, former.mesh, former.keep))


def _even(plan: Plan, mesh: Mesh) -> Plan:
    """The plan with slots that every row of the mesh has as many of."""
    rows = mesh.shape["heads"]
    return replace(plan, groups=tuple(replace(group, slots=-(-group.slots // rows) * rows) for group in plan.groups))


def _stack(group: Group, heads: Sequence[Folded], trunk: Variables, program: Program) -> GroupWeights:
    def stacked(name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty((group.slots, *shape), kept(name, program.form))
        array[len(heads) :] = 0
        for slot, head in enumerate(heads):
            array[slot] = head.variables[name]
        return array

    arrays = {name: stacked(name, shape) for name, shape in shapes(group.head).items()}
    return GroupWeights(
        jax.device_put(
            {name: np.asarray(array, kept(name, program.form)) for name, array in trunk.items()}, program.sharding()
        ),
        jax.device_put(arrays, program.sharding("heads")),
        jax.device_put(np.int32(len(heads)), program.sharding()),
    )


def _rewrite(
    group: Group, weights: GroupWeights, former: Sequence[Folded], heads: Sequence[Folded], program: Program
) -> GroupWeights:
    """The weights with the rows of those heads that are not the former ones; calls in flight keep the old arrays."""
    for slot, head in enumerate(heads):
        if slot >= len(former) or former[slot] is not head:
            row = {name: np.asarray(array, kept(name, program.form)) for name, array in head.variables.items()}
            placed = jax.device_put((np.int32(slot), row), program.sharding())
            weights = replace(weights, heads=program.writer(group)(weights.heads, *placed))
    return replace(weights, taken=jax.device_put(np.int32(len(heads)), program.sharding()))


def _write(stacked: Mapping[str, jax.Array], slot: jax.Array, row: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: array.at[slot].set(row[name]) for name, array in stacked.items()}
