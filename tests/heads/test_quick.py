"""A head from labels and embeddings: what it scores, what it is judged by, and labels of photos outside of the pool."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prohibit_jax.bundle.lock import make_bundle
from prohibit_jax.config import Config, parse_config
from prohibit_jax.data.label_store import Resolved, Votes
from prohibit_jax.data.loader import decoded
from prohibit_jax.data.sources import Files, Item
from prohibit_jax.heads import quick
from prohibit_jax.heads.judge import evaluate_head
from prohibit_jax.heads.quick import (
    LEAST,
    Labelled,
    Quick,
    classifier_of,
    gather,
    logits_of,
    make_quick,
    pool_embedder,
    publish,
    rows_of,
    spread_of,
)
from prohibit_jax.images.resize import load
from prohibit_jax.score.scorer import load_scorer, read_trunks, scorer_of
from prohibit_jax.train.classifier import fit_classifier
from prohibit_jax.types import Calibration, HeadRef, InputError, Preprocessing, Thresholds
from prohibit_jax.weights.imported import load as load_weights
from prohibit_jax.weights.imported import save
from tests.heads.ready import EACH, Ready, ready
from tests.heads.small import COLOURS, SIZE, config, photo, sha256, write_photos
from tests.tolerances import FIGURES, FOLDED_FIT, HALF_EMBEDDING


@pytest.fixture
def here(tmp_path: Path) -> Ready:
    return ready(tmp_path)


def job() -> Config:
    return config("labels:", data={"test": 0.4}, model={"weights": "tiny", "trunk_through": "s7"})


def gathered(here: Ready, answers: list[Resolved], warnings: list[str] | None = None) -> Labelled:
    warn = (lambda text: None) if warnings is None else warnings.append
    embedder = pool_embedder(here.pool, here.store, "pool")
    return gather(answers, here.pool, embedder, job(), here.store, warn=warn)


def made(here: Ready, answers: list[Resolved]) -> tuple[Labelled, Quick]:
    labelled, pool = gathered(here, answers), here.pool
    assert pool.embedding
    quick = make_quick(job(), labelled, spread_of(pool), pool.embedding, here.store)
    return labelled, publish(quick, here.store)


def some(here: Ready, count: int) -> list[str]:
    """So many photos of each colour."""
    return [sha for colour in COLOURS for sha in here.of(colour)[:count]]


def test_the_head_is_a_normal_one_and_scores_as_its_embeddings(here: Ready) -> None:
    _, head = made(here, here.resolved(some(here, 10)))
    card = head.card
    assert head.ref == HeadRef("weapon", 1)
    assert card.trunk
    assert (card.trunk.through, card.preprocessing.size) == ("top", SIZE)
    assert parse_config(card.config, "card") == job()
    assert card.data["made"] == "classifier on embeddings"

    logits = logits_of([head.classifier, classifier_of(head.ref, here.store)], here.pool)
    np.testing.assert_array_equal(logits[0], logits[1])
    source = Files(tuple(Item(path, "") for path in here.photos.values()))
    images = np.concatenate([part for _, part in decoded(source, np.arange(len(source.items)), SIZE)])
    published = here.store.read_head(head.ref)
    served = scorer_of([published], read_trunks(here.store, [card]), (32,)).logits(images)[:, 0]
    np.testing.assert_allclose(served, logits[0], rtol=0, atol=HALF_EMBEDDING * np.ptp(served))
    gun = np.array([Path(item.path).parent.name == "gun" for item in source.items])
    assert served[gun].mean() > served[~gun].mean()

    make_bundle(here.store, "prod")
    scores = load_scorer("prod", here.store, (32,))(images)[:, 0]
    np.testing.assert_allclose(scores, card.calibration(served), atol=FIGURES)


def test_any_labelled_photos_judge_it(here: Ready) -> None:
    made(here, here.resolved(some(here, 10)))
    folder = Path(next(iter(here.photos.values()))).parent.parent
    judged = evaluate_head(HeadRef("weapon"), f"folder:{folder}", here.store)
    assert (judged.metrics["positives"], judged.metrics["negatives"]) == (EACH, 2 * EACH)


def test_its_test_side_is_what_it_held_out(here: Ready, tmp_path: Path) -> None:
    """Whatever the sides of these photos are by another day's labels and shares."""
    labelled, head = made(here, here.resolved(some(here, 24)))
    assert head.held_out
    kept = [sha for sha, side in zip(labelled.sha256, labelled.sides, strict=True) if side == "test"]
    assert head.card.data["held_out"] == " ".join(sorted(sha[:16] for sha in kept))
    folder = Path(next(iter(here.photos.values()))).parent.parent
    judged = evaluate_head(HeadRef("weapon"), f"folder:{folder}", here.store, side="test").metrics
    figures = head.card.metrics
    assert (judged["positives"], judged["negatives"]) == (figures["positives"], figures["negatives"])
    assert judged["average_precision"]["value"] == pytest.approx(figures["average_precision"]["value"], abs=0.02)

    with pytest.raises(InputError, match=r"^side 'train': weapon@1 was made from labels and embeddings; use test or a"):
        evaluate_head(HeadRef("weapon"), f"folder:{folder}", here.store, side="train")
    other = write_photos(tmp_path / "other", 3, first=500, broken=False)
    with pytest.raises(InputError, match=r"other: it has none of the photos that the training of weapon@1 held out$"):
        evaluate_head(HeadRef("weapon"), other, here.store, side="test")


def test_a_card_names_an_even_sample_of_many_held_out(here: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "NAMED", 3)
    labelled, head = made(here, here.resolved(some(here, 24)))
    kept = [sha for sha, side in zip(labelled.sha256, labelled.sides, strict=True) if side == "test"]
    assert quick.held_out_of(head.card) == {sha[:16] for sha in sorted(kept)[:3]}


def test_without_a_test_side_none_is_judged(here: Ready) -> None:
    made(here, here.resolved(some(here, 6)))
    folder = Path(next(iter(here.photos.values()))).parent.parent
    with pytest.raises(
        InputError, match=r"^head weapon@1: its training held nothing out, for lack of 5 photos of the "
    ):
        evaluate_head(HeadRef("weapon"), f"folder:{folder}", here.store, side="test")


def test_the_same_labels_make_the_same_head(here: Ready) -> None:
    answers = here.resolved(some(here, 8))
    one, other = (made(here, answers)[1] for _ in range(2))
    assert (one.ref.version, other.ref.version) == (1, 2)
    assert one.card.params_sha256 == other.card.params_sha256


# Sides


def test_chosen_photos_only_train_and_the_honest_test_side_judges(here: Ready) -> None:
    honest, chosen = here.resolved(some(here, 24)), here.resolved(here.photos, "uncertainty")
    chosen = [one for one in chosen if one.sha256 not in {other.sha256 for other in honest}]
    labelled, head = made(here, [*honest, *chosen])
    tested = labelled.sides == "test"
    assert head.held_out
    assert not (tested & (labelled.strategies == "uncertainty")).any()
    yes, no = (int((labelled.labels[tested] == kind).sum()) for kind in (1, 0))
    assert min(yes, no) >= LEAST
    metrics, data = head.card.metrics, head.card.data
    assert (metrics["positives"], metrics["negatives"]) == (yes, no)
    assert metrics["average_precision"]["low"] <= metrics["average_precision"]["value"]
    assert data["test"] == {"positives": yes, "photos": yes + no}
    assert data["train"]["photos"] == len(labelled.labels) - yes - no
    assert metrics["out_of_fold"]["positives"] + yes == EACH

    # The same but for the test side's labels: what was held out has not been learnt.
    wrong = replace(labelled, labels=np.where(tested, 1 - labelled.labels, labelled.labels))
    pool = here.pool
    assert pool.embedding
    again = make_quick(job(), wrong, spread_of(pool), pool.embedding, here.store)
    np.testing.assert_array_equal(again.classifier.kernel, head.classifier.kernel)
    assert again.card.calibration == head.card.calibration


def test_a_small_test_side_trains_and_nothing_is_claimed(here: Ready) -> None:
    labelled, head = made(here, here.resolved(some(here, 6)))
    assert not head.held_out
    assert "test" in labelled.sides
    metrics = head.card.metrics
    assert metrics["average_precision"] == {"value": None, "low": None, "high": None}
    assert metrics["note"].startswith("not measured: ")
    assert head.card.data["train"] == {"positives": 6, "photos": 18}
    assert np.isfinite(head.unseen).all()


def test_unseen_logits_are_of_classifiers_without_the_photo(here: Ready) -> None:
    labelled, head = made(here, here.resolved(some(here, 6)))
    folds = quick._folds(labelled.labels, labelled.clusters)
    spread = spread_of(here.pool)
    for fold in range(folds.max() + 1):
        out = folds == fold
        alone = fit_classifier(labelled.features[~out], labelled.labels[~out], spread)
        np.testing.assert_allclose(head.unseen[out], alone(labelled.features[out]), atol=FOLDED_FIT)


def test_folds_keep_clusters_whole_and_both_kinds_outside() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 100)
    labels = (groups % 7 == 0).astype(np.int8)
    folds = quick._folds(labels, groups)
    assert set(folds.tolist()) == {0, 1, 2, 3, 4}
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in np.unique(groups))
    assert all(len(set(labels[folds != fold].tolist())) == 2 for fold in range(5))
    assert set(quick._folds(np.array([1, 1, 0, 0]), np.array([3, 3, 5, 6])).tolist()) == {-1}


def test_a_chosen_photo_takes_near_identical_ones_to_training(here: Ready, tmp_path: Path) -> None:
    honest = here.resolved(some(here, 10))
    alone = gathered(here, honest)
    held = next(i for i in np.flatnonzero(alone.sides == "test"))
    file = tmp_path / "copy.jpg"
    with Image.open(here.photos[alone.sha256[held]]) as picture:
        picture.convert("RGB").save(file, quality=95)
    both = gathered(here, [*honest, replace(answer(file), strategy="positives")])
    assert both.clusters[held] == both.clusters[-1]
    assert len(np.unique(both.clusters)) == len(np.unique(alone.clusters))
    assert (both.sides[held], both.sides[-1]) == ("train", "train")


def test_one_of_each_kind_is_enough(here: Ready) -> None:
    _, head = made(here, here.resolved([here.of("gun")[0], here.of("cup")[0]]))
    assert np.isnan(head.unseen).all()
    assert (head.card.calibration, head.card.thresholds) == (Calibration(), Thresholds())
    assert head.card.data["calibrated_on"] == "nothing"


def test_one_kind_alone_is_refused(here: Ready) -> None:
    with pytest.raises(InputError, match="at least one yes and one no"):
        made(here, here.resolved(here.of("gun")[:3]))


def test_calibration_looks_at_asked_photos_and_thresholds_at_honest_ones(here: Ready) -> None:
    gun, cup = here.of("gun"), here.of("cup")
    honest = here.resolved([*gun[:8], *cup[:4]])
    asked = here.resolved([*gun[8:14], *cup[4:12]], "uncertainty")
    _, few = made(here, honest)
    _, both = made(here, [*honest, *asked])
    assert few.card.data["calibrated_on"] == "all labels"
    assert (both.card.data["calibrated_on"], both.card.data["thresholds_from"]) == ("asked", "all labels")


# The pool, and photos outside of it


def test_rows_are_the_first_of_each_content(here: Ready) -> None:
    contents = here.pool.texts("sha256").to_pylist()
    wanted = [contents[7], "0" * 64, contents[3]]
    assert rows_of(here.pool, wanted).tolist() == [7, -1, 3]
    assert rows_of(here.pool, []).tolist() == []


def test_photos_outside_of_the_pool_are_embedded_once(
    here: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        photo(1000 + i, COLOURS["gun"]).save(file)
    outside = [answer(file) for file in files]
    labelled = gathered(here, [*outside, *here.resolved(here.of("cup")[:2])])
    assert labelled.rows.tolist()[:3] == [-1, -1, -1]
    assert min(labelled.rows.tolist()[3:]) >= 0
    embedder = pool_embedder(here.pool, here.store, "pool")
    pixels = np.stack([load(file.read_bytes(), SIZE) for file in files])
    np.testing.assert_allclose(labelled.features[:3], embedder(pixels), rtol=0, atol=1e-4)
    assert len(set(labelled.phash.tolist())) == 5

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(quick.Embedder, "__call__", refuse)
    again = gathered(here, outside)
    np.testing.assert_array_equal(again.features, labelled.features[:3])


def test_photos_that_cannot_be_embedded_are_left_out_with_a_warning(here: Ready, tmp_path: Path) -> None:
    changed, gone = tmp_path / "changed.png", tmp_path / "gone.png"
    for file in (changed, gone):
        photo(2000 + len(file.name), COLOURS["gun"]).save(file)
    outside = [answer(changed), answer(gone)]
    shutil.copy(next(iter(here.photos.values())), changed)
    gone.unlink()
    warnings: list[str] = []
    labelled = gathered(here, [*outside, *here.resolved(here.of("cup")[:2])], warnings)
    assert len(labelled.labels) == 2
    (warning,) = warnings
    assert warning.startswith("2 labelled photos are not in the pool and cannot be used; the first: ")
    assert "changed.png: its content is another now" in warning


def test_only_yes_and_no_count(here: Ready) -> None:
    answers = here.resolved(here.of("gun")[:3])
    answers[1] = replace(answers[1], answer="disputed")
    answers[2] = replace(answers[2], answer="unsure")
    assert gathered(here, answers).sha256 == (answers[0].sha256,)
    assert len(gathered(here, []).labels) == 0


def test_a_pool_without_embeddings_or_of_other_weights_is_refused(here: Ready) -> None:
    with pytest.raises(InputError, match=r"^pool: it has no embeddings; score the photos with --embedding lite0$"):
        pool_embedder(replace(here.pool, embedding=None), here.store, "pool")
    weights = load_weights(here.store.root, "tiny")
    save(here.store.root, "tiny", replace(weights, preprocessing=Preprocessing(SIZE, (0.1,) * 3, (0.5,) * 3)))
    with pytest.raises(InputError, match=r"^pool: its embeddings are of other weights than the tiny in .*tiny:32$"):
        pool_embedder(here.pool, here.store, "pool")


def answer(file: Path, said: str = "yes") -> Resolved:
    return Resolved(sha256(file), str(file), said, Votes(1, 0, 0), "imported", None)
