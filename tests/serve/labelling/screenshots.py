"""docs/images/label_desktop.png and label_phone.png: `python -m tests.serve.labelling.screenshots`."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from prohibit_jax.active.queue import Ask, write_queue
from prohibit_jax.data.sources import Source, open_source
from tests.serve.labelling.conftest import ROOT
from tests.serve.labelling.window import GRID, SAVED, SHOWN, VERDICT, Window

IMAGES = ROOT / "docs" / "images"
SOURCE = "synthetic:400:3"
WEAPONS = ("gun", "knife")
ALIKE = ("tool", "phone", "shoe")
ASKED = 48
ANSWERED = 8
STILL = "document.getAnimations().every(one => one.playState === 'finished')"


def make_queue(path: Path) -> list[bool]:
    """Generated photos of weapons and of what looks like them; returns which are which."""
    source = open_source(SOURCE)
    chosen = [i for i, item in enumerate(source.items) if item.label in WEAPONS + ALIKE][:ASKED]
    chosen.insert(ANSWERED, chosen.pop(next(n for n in range(ANSWERED, ASKED) if is_gun(source, chosen[n]))))
    asks = []
    for rank, i in enumerate(chosen):
        score = 0.5 + (rank + 1) / 400 * (-1) ** rank
        sha256 = hashlib.sha256(source.read(i)).hexdigest()
        reason = f"scores {score:.2f}, nearest to 0.5"
        asks.append(Ask(source.items[i].path, sha256, "weapon", score, "weapon@3", "uncertainty", reason, 4))
    write_queue(path, asks)
    return [source.items[i].label in WEAPONS for i in chosen]


def is_gun(source: Source, i: int) -> bool:
    return source.items[i].label == "gun"


def picture(window: Window, name: str) -> None:
    """In 256 colours: a camera's noise does not compress."""
    image = Image.open(io.BytesIO(window.screenshot())).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        queue = Path(folder) / "queue.parquet"
        weapons = make_queue(queue)
        command = [sys.executable, "-m", "launch.main", "label", "--class", "weapon", "--queue", str(queue), "--json"]
        options = ["--store", folder, "--port", "0", "--data", SOURCE]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        window = Window(Path(folder) / "log")
        try:
            window.resize(1120, 760)
            window.begin(url, "Ana")
            window.answer(*("y" if weapon else "n" for weapon in weapons[:ANSWERED]))
            window.wait(f"{SHOWN} && {SAVED} && {STILL}")
            picture(window, "label_desktop.png")
            window.resize(390, 780)
            window.press("g")
            window.wait(f"{GRID} && document.querySelectorAll('.tile').length === 6")
            for tile, weapon in enumerate(weapons[ANSWERED : ANSWERED + 6], 1):
                if weapon:
                    window.click(f"#tiles li:nth-child({tile}) .tile")
            window.run("document.activeElement.blur()")
            window.later(VERDICT)
            window.wait(STILL)
            picture(window, "label_phone.png")
        finally:
            window.close()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
