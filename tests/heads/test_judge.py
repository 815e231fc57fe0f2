"""Judging published heads: the scorer that serves finds what the card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from prohibit_jax.bundle.store import Head, Store
from prohibit_jax.data.sources import Item
from prohibit_jax.heads.judge import evaluate_head, own_sides
from prohibit_jax.types import Advance, HeadRef, InputError
from tests.bundle.twin import TWIN, card, variables
from tests.heads.small import COUNT, Trained, config, write_photos
from tests.tolerances import FIGURES

METRICS = ("average_precision", "roc_area", "recall_at_precision", "precision_at_recall")


@pytest.mark.parametrize("name", ["cash", "weapon"])
def test_the_test_side_gives_the_figures_of_the_card(trained: Trained, name: str) -> None:
    judged = evaluate_head(HeadRef(name), trained.source, trained.store, side="test")
    saved = trained.heads[name].card.metrics
    assert judged.ref == HeadRef(name, 1)
    assert judged.metrics.keys() == saved.keys()
    assert (judged.metrics["positives"], judged.metrics["negatives"]) == (saved["positives"], saved["negatives"])
    for metric in METRICS:
        for end in ("value", "low", "high"):
            assert judged.metrics[metric][end] == pytest.approx(saved[metric][end], abs=FIGURES)
    for error in ("calibration_error", "brier", "log_loss"):
        assert judged.metrics[error] == pytest.approx(saved[error], abs=FIGURES)
    assert judged.metrics["bands"].keys() == saved["bands"].keys()
    for band, rates in saved["bands"].items():
        assert judged.metrics["bands"][band]["threshold"] == rates["threshold"]


def test_all_sides_together(trained: Trained) -> None:
    titles, warnings = set[str](), list[str]()

    def line(title: str) -> Advance:
        return lambda done, total, text="": titles.add(title)

    judged = evaluate_head(HeadRef("cash", 1), trained.source, trained.store, progress=line, warn=warnings.append)
    assert (judged.metrics["positives"], judged.metrics["negatives"]) == (COUNT, 2 * COUNT)
    sides = [evaluate_head(HeadRef("cash"), trained.source, trained.store, side=s) for s in ("train", "validation")]
    counted = [*(side.metrics for side in sides), trained.heads["cash"].card.metrics]
    assert sum(metrics["positives"] for metrics in counted) == COUNT
    assert titles == {"looking at photos", "scoring"}
    assert warnings[:-1] == trained.warnings["cash"]
    assert warnings[-1].startswith("cash@1 was trained on most of these photos; --side test")


def test_other_photos(trained: Trained, tmp_path: Path) -> None:
    other = write_photos(tmp_path, 5, first=500, broken=False)
    assert evaluate_head(HeadRef("cash"), other, trained.store).metrics["positives"] == 5


@pytest.mark.parametrize(
    ("own", "source", "item", "told"),
    [
        ("folder:all", "folder:new", {}, False),
        ("folder:all", "manifest:all.csv", {}, False),
        ("folder:all", "manifest:all.csv", {"split": "test"}, True),
        ("folder:all", "parquet:shards", {"group": "seller 7"}, True),
        ("manifest:all.csv", "folder:all", {}, True),
        ("parquet:shards", "folder:all", {}, True),
        ("labels:", "folder:all", {}, True),
        ("manifest:all.csv", "manifest:all.csv", {"split": "test"}, False),
        ("labels:postgresql://ada:***@host/db", "labels:postgresql://ada:secret@host/db", {"split": "test"}, False),
        ("folder:all", "labels:postgresql://ada:secret@host/db", {"split": "test"}, True),
    ],
)
def test_sides_that_may_not_be_those_of_the_training_are_warned_of(
    own: str, source: str, item: dict[str, str], told: bool
) -> None:
    head = Head(HeadRef("cash", 1), replace(card("cash"), config={"data": {"source": own}}), {})
    dataset = SimpleNamespace(source=SimpleNamespace(items=(Item("a.jpg", "cash", **item),)))
    warnings: list[str] = []
    assert own_sides.__wrapped__(head, dataset, source, warnings.append) is dataset  # type: ignore[attr-defined]
    shown = source.replace("secret", "***")
    said = f"{shown}: photos that cash@1 was trained on, from {own}, may be on its test side"
    assert warnings == ([said] if told else [])


def test_only_the_test_side_is_warned_of(trained: Trained, tmp_path: Path) -> None:
    other = write_photos(tmp_path, 5, first=500, broken=False).removeprefix("folder:")
    photos = sorted(path for path in Path(other).rglob("*") if path.is_file())
    manifest = tmp_path / "photos.csv"
    rows = [f"{path},{path.parent.name},{side}" for side, path in zip(("test", "train") * 9, photos, strict=False)]
    manifest.write_text("\n".join(["path,label,split", *rows]))
    told: dict[str, list[str]] = {}
    for side in ("test", "train"):
        warn = told.setdefault(side, []).append
        evaluate_head(HeadRef("cash"), f"manifest:{manifest}", trained.store, side=side, warn=warn)
    assert [line.partition(": photos that cash@1 was trained on")[0] for line in told["test"]] == [
        f"manifest:{manifest}"
    ]
    assert told["train"] == []


def test_a_set_that_lacks_some_labels_of_the_class_still_judges(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    asked = config("folder:elsewhere", label="gun").model_dump(mode="json", by_alias=True)
    asked["class"] |= {"positive": ["gun", "rifle"], "ignore": ["toy"]}
    made = replace(card("weapon"), config=asked)
    store.publish_head(made, variables(made.network(), seed=0))
    few = write_photos(tmp_path / "photos", 3, broken=False)
    assert evaluate_head(HeadRef("weapon"), few, store).metrics["positives"] == 3


@pytest.mark.parametrize(
    ("ref", "side", "message"),
    [
        (HeadRef("knife"), "all", r"^head knife: no class 'knife'"),
        (HeadRef("cash", 9), "all", r"^head cash@9: cash has no version 9"),
        (HeadRef("cash"), "tset", r"^side 'tset': use train, validation, test or all"),
    ],
)
def test_refusals(trained: Trained, ref: HeadRef, side: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_head(ref, trained.source, trained.store, side=side)


def test_photos_without_the_class_are_refused(trained: Trained, tmp_path: Path) -> None:
    source = Path(write_photos(tmp_path, 1, broken=False).removeprefix("folder:"))
    with pytest.raises(InputError, match=r"^folder 'none': no such folder"):
        evaluate_head(HeadRef("cash"), "folder:none", trained.store)
    for photo in (source / "cash").iterdir():
        photo.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"^data\.source: no usable positive photo on side 'all'; add photos$"):
        evaluate_head(HeadRef("cash"), f"folder:{source}", trained.store)
    for photo in (source / "cash").iterdir():
        photo.unlink()
    with pytest.raises(InputError, match=r"^class\.positive: no photo has the label 'cash'"):
        evaluate_head(HeadRef("cash"), f"folder:{source}", trained.store)


def test_a_head_without_a_training_config_is_refused(tmp_path: Path) -> None:
    store, bare = Store(tmp_path), replace(card("weapon"), config={})
    ref = store.publish_head(bare, variables(bare.network(), 0))
    assert bare.arch == TWIN
    with pytest.raises(InputError, match=r"^card of weapon@1: class: "):
        evaluate_head(ref, "synthetic:20", store)
