from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from prohibit_jax.active.mixture import RANDOM
from prohibit_jax.active.plots import savings_plot
from prohibit_jax.active.savings import summarise
from tests.active.test_savings import curve


def test_a_plot_has_a_line_a_strategy(tmp_path: Path) -> None:
    slow = curve(RANDOM, 0, {10: 0.5, 100: 0.7, 1000: 0.9})
    quick = curve("uncertainty", 0, {10: 0.5, 20: 0.85, 40: 0.895})
    seen = []
    for name, runs in (("one", [slow]), ("both", [slow, quick])):
        savings_plot(tmp_path / f"{name}.png", summarise(runs), "weapon")
        seen.append(np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).reshape(-1, 3))
    blue = [int(((image[:, 2] > 120) & (image[:, 0] < 80)).sum()) for image in seen]
    assert blue[1] > 500 > blue[0], "the second strategy's line"
