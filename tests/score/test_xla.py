"""XLA's engine: slots, turns of heads, several devices, precision, and what the compiled program consists of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.bundle.store import Store
from prohibit_jax.models.efficientnet import B0, LITE0
from prohibit_jax.models.ops import OPS
from prohibit_jax.score.engine import Precision
from prohibit_jax.score.lowering import CpuOps, HalfOps
from prohibit_jax.score.scorer import scorer_of
from prohibit_jax.score.stack import arrange, fold_head
from prohibit_jax.score.xla import AXES, Form, XlaEngine, form_of, heads_at_once
from tests.bundle.twin import card, head, photos
from tests.score.checks import close, compiles
from tests.tolerances import HALF, STACKED
from tests.waiting import TIMEOUT

ROOT = Path(__file__).resolve().parents[2]
MESH = jax.make_mesh((1, 1), AXES)
CPU = form_of(jax.devices()[0], "float32")
NAMES = [f"class{i}" for i in range(7)]
HEADS = [head(name, seed) for seed, name in enumerate(NAMES)]
FOLDED = [fold_head(one) for one in HEADS]
PLAN = arrange([one.card for one in HEADS])


def device(memory: float, ops: Any = OPS) -> Form:
    """An accelerator's form, run here."""
    return Form(ops, photo_by_photo=False, memory=memory)


def engine(form: Form, batch: int = 3) -> XlaEngine:
    return XlaEngine.in_form(form, PLAN, FOLDED, {}, (batch,), MESH)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return engine(CPU)({32: photos(3)})


@pytest.mark.parametrize("memory", [0.0, 1e6, 1e12])
def test_any_number_of_heads_at_once_gives_the_same(memory: float, expected: np.ndarray) -> None:
    close(engine(device(memory))({32: photos(3)}), expected, STACKED)


@given(memory=st.floats(0, 1e9), batch=st.integers(1, 64), slots=st.integers(1, 100))
def test_heads_at_once_fit_the_memory_in_equal_turns(memory: float, batch: int, slots: int) -> None:
    group = PLAN.groups[0]
    found = heads_at_once(group, device(memory), batch, slots)
    turns = -(-slots // found)
    assert 1 <= found <= slots
    assert turns * found < slots + turns
    assert heads_at_once(group, CPU, batch, slots) == 1
    assert heads_at_once(group, device(2 * memory), batch, slots) >= found


def test_a_thousand_heads() -> None:
    """Seven different ones, over and over: each slot puts out what its head does alone."""
    many = [FOLDED[i % 7] for i in range(1000)]
    plan = arrange([card(f"c{i}") for i in range(1000)])
    for form in (CPU, device(1e6)):
        logits = XlaEngine.in_form(form, plan, many, {}, (1,), MESH)({32: photos(1)})
        assert logits.shape == (1, 1000)
        np.testing.assert_array_equal(logits[:, :994].reshape(142, 7), np.broadcast_to(logits[:, :7], (142, 7)))


@pytest.mark.parametrize("form", [CPU, device(1e12), device(0.0)], ids=["cpu", "together", "in turns"])
def test_a_free_slot_takes_a_class_without_compiling(form: Form) -> None:
    cards = [one.card for one in HEADS[:3]]
    plan = arrange(cards, spare=1)
    assert plan.groups[0].slots == 4
    three = XlaEngine.in_form(form, plan, FOLDED[:3], {}, (2,), MESH)
    three.warm()
    before = three({32: photos(2)})
    with compiles() as events:
        four = three.update(arrange([*cards, HEADS[3].card], 1, plan), FOLDED[:4], {})
        after = four({32: photos(2)})
    assert events == []
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    whole = XlaEngine.in_form(form, four.plan, FOLDED[:4], {}, (2,), MESH)
    np.testing.assert_array_equal(whole({32: photos(2)}), after)


def test_the_next_slots_are_compiled_before_they_are_needed() -> None:
    scorer = scorer_of(HEADS[:2], {}, (2,), spare=1, compiler="xla")
    three = scorer.add(HEADS[2])
    assert isinstance(three.engine, XlaEngine)
    assert three.plan.groups == scorer.plan.groups
    grown = next(program for groups, program in three.engine._programs.items() if groups != three.plan.groups)
    grown.warm((2,))  # returns once the background has done it
    four = three.add(HEADS[3])
    assert isinstance(four.engine, XlaEngine)
    assert four.engine._program is grown
    assert four.plan.groups[0].slots == 5
    close(four(photos(2)), scorer_of(HEADS[:4], {}, (2,), compiler="xla")(photos(2)), STACKED)


@pytest.mark.parametrize(
    ("form", "arch"), [(CPU, B0), (device(1e12), B0), (CPU, LITE0)], ids=["cpu", "accelerator", "lite0"]
)
def test_the_program_has_no_grouped_convolution_and_moves_no_activations(form: Form, arch: Any) -> None:
    """Below the stem: XLA's own text of what it will run."""
    heads = [fold_head(head(name, 0, of=card(name, arch=arch, size=64))) for name in NAMES[:3]]
    plan = arrange([card(name, arch=arch, size=64) for name in NAMES[:3]])
    program = XlaEngine.in_form(form, plan, heads, {}, (2,), MESH)._program
    text = program.scorer(2).as_text()
    assert "feature_group_count" not in text
    assert "batch_group_count" not in text
    moved = re.findall(r"= (?:f32|bf16)\[([\d,]+)\]\S* (?:transpose|copy)\(", text)
    shapes = {tuple(map(int, shape.split(","))) for shape in moved}
    weights = {tuple(array.shape) for array in jax.tree.leaves(jax.tree.map(np.asarray, heads[0].variables))}
    kernels = {
        shape for shape in shapes if shape in weights or shape[1:] in weights or prod(shape) <= 3 * 3 * 3 * 3 * 32
    }
    stem = {(3, 2, 32, 32, 32)} if form.memory else set()  # its one convolution puts out all heads' channels together
    assert shapes - kernels <= stem


def test_a_program_that_moves_activations_would_be_found() -> None:
    class Moving(CpuOps):
        def activate(self, x: jax.Array, name: str) -> jax.Array:
            turned = jax.lax.optimization_barrier(super().activate(x, name).T)
            return jax.lax.optimization_barrier(turned).T

    form = Form(Moving(), photo_by_photo=True, memory=None)
    text = XlaEngine.in_form(form, PLAN, FOLDED, {}, (2,), MESH)._program.scorer(2).as_text()
    assert re.search(r"= f32\[[\d,]+\]\S* (?:transpose|copy)\(", text)


def test_the_second_start_compiles_nothing(tmp_path: Path) -> None:
    """In processes of their own, without JAX's own cache, whose programs cannot be kept."""
    store = Store(tmp_path / "store")
    store.publish_head(HEADS[0].card, HEADS[0].variables)
    make_bundle(store, "prod", [NAMES[0]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    environment |= {"PROHIBIT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    script = f"""
import jax, numpy as np, prohibit_jax as pj
events = []
jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: events.append(event))
scorer = pj.load_scorer("prod", {str(store.root)!r}, (1, 2), compiler="xla")
scores = scorer.replace({NAMES[0]!r})(np.full((2, 32, 32, 3), 7, np.uint8))
print(events.count("/jax/core/compile/backend_compile_duration"), scores.tobytes().hex())
"""
    runs = [
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    (compiled, first), (again, second) = (run.stdout.split() for run in runs)
    assert int(compiled) >= 3
    assert int(again) == 0
    assert first == second


@pytest.mark.parametrize(
    "form", [form_of(jax.devices()[0], "bfloat16"), device(1e12, HalfOps())], ids=["cpu", "device"]
)
def test_bfloat16_multiplies_coarsely_and_adds_finely(form: Form, expected: np.ndarray) -> None:
    found = engine(form)({32: photos(3)})
    assert found.dtype == np.float32
    close(found, expected, HALF)
    assert (found != expected).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_is_the_callers_choice(precision: Precision, expected: np.ndarray) -> None:
    scorer = scorer_of(HEADS, {}, (3,), compiler="xla", precision=precision)
    close(scorer.logits(photos(3)), expected, STACKED if precision == "float32" else HALF)


def test_several_devices_give_what_one_gives() -> None:
    """In a process of its own, where the processor poses as eight devices."""
    script = Path(__file__).with_name("eight_devices.py")
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=TIMEOUT)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.count("same") == 5
