"""Run by test_xla.py: one bundle on one device and on meshes of eight, head axis and batch axis shared out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax

from prohibit_jax.models.ops import OPS
from prohibit_jax.score.scorer import scorer_of
from prohibit_jax.score.stack import arrange, fold_head
from prohibit_jax.score.xla import AXES, Form, XlaEngine
from tests.bundle.twin import head, photos
from tests.score.checks import close
from tests.tolerances import STACKED

HEADS = [head(f"class{i}", i) for i in range(6)]


def main() -> None:
    """Prints a line for each mesh."""
    assert len(jax.devices()) == 8
    one = scorer_of(HEADS, {}, (4,), compiler="xla")
    expected = one(photos(4))
    for shape in ((8, 1), (1, 4), (4, 2)):
        mesh = jax.make_mesh(shape, AXES, devices=jax.devices()[: shape[0] * shape[1]])
        several = scorer_of(HEADS, {}, (4,), spare=1, mesh=mesh)
        close(several(photos(4)), expected, STACKED)
        moved = several.replace(head("class2", 77, version=2))
        changed = (moved(photos(4)) != several(photos(4))).any(0)
        assert changed.tolist() == [False, False, True, False, False, False]
        print("same", shape)
    mesh = jax.make_mesh((4, 2), AXES)
    plan, folded = arrange([one.card for one in HEADS]), [fold_head(one) for one in HEADS]
    for memory in (0.0, 1e12):
        form = Form(OPS, photo_by_photo=False, memory=memory)
        engine = XlaEngine.in_form(form, plan, folded, {}, (4,), mesh)
        close(engine({32: photos(4)})[:, :6], one.logits(photos(4)), STACKED)
        print("same in the form of an accelerator")


if __name__ == "__main__":
    main()
