from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prohibit_jax.active.label_studio import check_config, label_config, make_task, read_tasks, write_tasks
from prohibit_jax.active.label_studio_client import IN_ORDER, KEY, Pushed, pull, push, served
from prohibit_jax.active.queue import Ask
from prohibit_jax.data.label_store import ANSWERS, Label, open_label_store
from prohibit_jax.types import InputError
from tests.active.labelstudio.real import program, real
from tests.active.labelstudio.stub import stub
from tests.active.labelstudio.studio import PEOPLE, Studio

LEAD, ANN, BOB = PEOPLE
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def ask(number: int, **changed: Any) -> Ask:
    score = [0.5, 0.9, 0.125, 0.75][number % 4]
    reason = f"scores {score:.2f}, nearest to 0.5"
    made = Ask(f"/pool/{number} é.jpg", f"{number:064x}", "weapon", score, "weapon@3", "uncertainty", reason, 2)
    return replace(made, **changed)


def label(number: int = 0, **changed: Any) -> Label:
    asked = ask(number)
    made = Label(
        *(asked.sha256, asked.path, "weapon", "yes", ANN, NOON),
        *(asked.round, asked.head, asked.score, asked.strategy, asked.reason),
    )
    return replace(made, **changed)


def jpeg(asked: Ask) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (int(asked.sha256, 16), 0, 0)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    with stub() as server:
        monkeypatch.setenv(KEY, server.key)
        yield server


@pytest.fixture(scope="module")
def real_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    label_studio = program()
    if label_studio is None:
        pytest.skip("needs a real Label Studio in .venv/label-studio, or LABEL_STUDIO")
    with real(label_studio, tmp_path_factory.mktemp("studio")) as server:
        yield server


@pytest.fixture(params=["studio", "real_studio"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """The stub and a real server, which must agree."""
    server: Studio = request.getfixturevalue(request.param)
    monkeypatch.setenv(KEY, server.key)
    return server


def test_answers_come_back_in_the_order_of_the_queue(either: Studio, tmp_path: Path) -> None:
    url, store = either.url, open_label_store(str(tmp_path / "labels.db"), tmp_path)
    asks = [ask(number) for number in (3, 1, 4, 0, 5, 9)]
    first = push(url, "weapon", asks[:3], jpeg)
    project = first.project
    assert first == Pushed(project, "prohibit_jax weapon", 3, 0, ())
    assert push(url, "weapon", asks[:3], jpeg) == Pushed(project, "prohibit_jax weapon", 0, 3, ())
    assert push(url, "weapon", asks, jpeg) == Pushed(project, "prohibit_jax weapon", 3, 3, ())
    assert pull(url, "weapon") == []

    answered = {}
    for asked, choice in zip(asks[:4], ("yes", "no", "unsure", None), strict=True):
        task = either.next(ANN, project)
        assert task is not None
        assert task["data"]["path"] == asked.path
        assert task["data"]["reason"] == asked.reason
        picture = either.people[ANN].get(task["data"]["image"])
        assert picture.content == jpeg(asked)
        answered[asked.sha256] = task, either.answer(ANN, task, choice)
    passed_on = either.next(BOB, project)
    assert passed_on is not None
    assert passed_on["data"]["path"] == asks[3].path  # what one skips, another gets
    either.answer(BOB, passed_on, "no")

    pulled = pull(url, "weapon")
    assert [(got.path, got.answer, got.annotator) for got in pulled] == [
        *((asked.path, choice, ANN) for asked, choice in zip(asks, ("yes", "no", "unsure", "skip"), strict=False)),
        (asks[3].path, "no", BOB),
    ]
    for got, asked in zip(pulled, [*asks[:4], asks[3]], strict=True):
        assert got == replace(label(int(asked.sha256, 16)), answer=got.answer, annotator=got.annotator, time=got.time)
    assert store.append(pulled) == 5
    assert store.append(pull(url, "weapon")) == 0

    _, number = answered[asks[0].sha256]
    either.change(ANN, number, "no")
    assert store.append(pull(url, "weapon")) == 1
    assert [got.answer for got in store.current("weapon") if got.sha256 == asks[0].sha256] == ["no"]
    either.delete(ANN, number)
    assert len(pull(url, "weapon")) == 4
    assert store.append(pull(url, "weapon")) == 0
    assert len(store.current("weapon")) == 4  # a deletion takes nothing back

    remaining = []
    for _ in range(3):
        task = either.next(BOB, project)
        assert task is not None
        remaining.append(task["data"]["path"])
        either.answer(BOB, task, "yes")
    assert remaining == [asks[0].path, asks[4].path, asks[5].path]
    assert either.next(BOB, project) is None


def test_a_project_keeps_our_order_and_may_be_named(either: Studio) -> None:
    anybody = either.people[LEAD]
    theirs = {"title": "guns", "label_config": label_config("weapon"), "sampling": "Uniform sampling"}
    assert anybody.post("/api/projects/", json=theirs).is_success
    project = push(either.url, "weapon", [ask(0)], served("/pictures/"), "guns").project
    assert anybody.get(f"/api/projects/{project}/").json()["sampling"] == IN_ORDER
    task = either.next(ANN, project)
    assert task is not None
    assert task["data"]["image"] == "/pictures/pool/0%20%C3%A9.jpg"
    either.answer(ANN, task, "yes")
    assert [got.answer for got in pull(either.url, "weapon", str(project))] == ["yes"]

    other = (
        '<View><Image name="image" value="$image"/><Choices name="kind" toName="image"><Choice value="a"/></Choices>'
    )
    assert anybody.post("/api/projects/", json={"title": "kinds", "label_config": other + "</View>"}).is_success
    for fails in (
        lambda: push(either.url, "weapon", [ask(0)], jpeg, "kinds"),
        lambda: pull(either.url, "weapon", "kinds"),
    ):
        with pytest.raises(InputError, match=r"project 'kinds': its labelling interface lacks Choices named 'label'"):
            fails()
    with pytest.raises(InputError, match=r"no project 'none'; make it with launch labels push"):
        pull(either.url, "weapon", "none")
    with pytest.raises(InputError, match=r"Label Studio answers 404"):
        pull(either.url, "weapon", "77")
    assert anybody.post("/api/projects/", json=theirs).is_success
    with pytest.raises(InputError, match=r"2 projects are called 'guns'; say which by its number: "):
        pull(either.url, "weapon", "guns")


def test_a_wrong_token_and_a_wrong_address_are_said_in_one_line(
    either: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "wrong-token")
    with pytest.raises(InputError, match=r"Label Studio answers 401 \(.*\); is LABEL_STUDIO_API_KEY right\?") as error:
        pull(either.url, "weapon")
    assert "wrong-token" not in str(error.value)
    for key in ("", "  ", "two\nlines", "naïve"):
        monkeypatch.setenv(KEY, key)
        with pytest.raises(InputError, match=r"^LABEL_STUDIO_API_KEY: set it to an access token"):
            pull(either.url, "weapon")
    monkeypatch.setenv(KEY, "token")
    with pytest.raises(InputError, match=r"^http://127.0.0.1:1: no answer"):
        pull("http://127.0.0.1:1", "weapon")
    for url in ("127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://me:secret@127.0.0.1"):
        with pytest.raises(InputError, match=r"^--url: write the server's address") as error:
            pull(url, "weapon")
        assert "secret" not in str(error.value)


def test_without_the_sdk_the_extra_is_named(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "label_studio_sdk", None)
    with pytest.raises(InputError, match=r"pip install 'prohibit-jax\[label-studio\]'"):
        pull(studio.url, "weapon")


def test_photos_that_cannot_be_shown_are_told_and_the_rest_goes_out(studio: Studio) -> None:
    def picture(asked: Ask) -> bytes:
        if asked.path == ask(1).path:
            raise FileNotFoundError(2, "No such file or directory")
        return jpeg(asked)

    asks = [ask(number) for number in range(120)]
    pushed = push(studio.url, "weapon", asks, picture)
    assert pushed == Pushed(1, "prohibit_jax weapon", 119, 0, (f"{ask(1).path}: No such file or directory",))
    assert push(studio.url, "weapon", [*asks[2:], *asks[2:]], picture).tasks == 0
    task = studio.next(ANN, 1)
    assert task is not None
    assert task["data"]["path"] == ask(0).path
    with pytest.raises(InputError, match=r"none of 1 photos can be shown; /pool/1 é.jpg: No such"):
        push(studio.url, "weapon", [ask(1)], picture)
    with pytest.raises(InputError, match=r"none of 1 photos can be shown; .*: not below /other/, the folder"):
        push(studio.url, "weapon", [ask(200)], served("http://photos/", "/other"))
    with pytest.raises(InputError, match=r"^the queue asks about 'cash', not about 'weapon'"):
        push(studio.url, "weapon", [ask(0), ask(1, name="cash")], jpeg)


def test_progress_moves_to_the_end(studio: Studio) -> None:
    moves: list[tuple[int, int]] = []
    push(studio.url, "weapon", [ask(i) for i in range(60)], jpeg, line=lambda _: lambda *move: moves.append(move[:2]))
    assert moves == [(50, 60), (60, 60)]


@pytest.mark.parametrize(
    ("prefix", "root", "path", "address"),
    [
        ("http://photos/", "", "/a/b c.jpg", "http://photos/a/b%20c.jpg"),
        ("/data/local-files/?d=", "/srv/pool", "/srv/pool/a&b.jpg", "/data/local-files/?d=a%26b.jpg"),
        ("http://photos/", "gs://pool/", "gs://pool/a.jpg", "http://photos/a.jpg"),
    ],
)
def test_photos_have_addresses(prefix: str, root: str, path: str, address: str) -> None:
    assert served(prefix, root)(ask(0, path=path)) == address
    with pytest.raises(InputError, match=r"^not below /srv/pool/, the folder that "):
        served(prefix, "/srv/pool")(ask(0, path="/srv/pool2/a.jpg"))


def test_tasks_and_predictions_are_valid() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="label_studio_sdk")
        from label_studio_sdk.label_interface import LabelInterface

        interface = LabelInterface(label_config("weapon"))
        interface.validate()
        for number in range(4):
            task = make_task(ask(number), "http://photos/a.jpg")
            (prediction,) = task.pop("predictions")
            assert interface.validate_task(task)
            assert not interface.validate_prediction(prediction, return_errors=True)
            assert prediction["model_version"] == "weapon@3"
            assert prediction["score"] == ask(number).score
        for task in json.loads(write_tasks([label(answer=answer) for answer in ANSWERS])):
            annotations = task.pop("annotations")
            assert interface.validate_task(task)
            for annotation in annotations:
                assert interface.validate_annotation(annotation)
        wrong = make_task(ask(0), "http://photos/a.jpg")["predictions"][0]
        wrong["result"][0]["value"]["choices"] = ["maybe"]
        assert interface.validate_prediction(wrong, return_errors=True)
    assert "predictions" not in make_task(ask(0, score=None, head=None), "http://photos/a.jpg")


def test_the_interface_is_recognised() -> None:
    check_config(label_config("weapon"), "there")
    for config in ("", "<View>", label_config("weapon").replace("unsure", "maybe"), "<View/>"):
        with pytest.raises(InputError, match=r"^there: its labelling interface lacks Choices named 'label' of yes, no"):
            check_config(config, "there")


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
LABELS = st.lists(
    st.builds(
        Label,
        sha256=st.sampled_from([f"{number:064x}" for number in range(3)]),
        path=TEXT,
        name=st.just("weapon"),
        answer=st.sampled_from(ANSWERS),
        annotator=TEXT,
        time=st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),
        round=st.none() | st.integers(0, 9),
        head=st.sampled_from([None, "weapon@3"]),
        score=st.none() | st.floats(0, 1),
        strategy=st.sampled_from(["imported", "random"]),
        reason=st.just("") | TEXT,
    ),
    unique_by=lambda made: made.time,
)


@given(LABELS)
def test_labels_come_back_from_json_exactly(labels: list[Label]) -> None:
    assert read_tasks(write_tasks(labels), "weapon", "there") == sorted(labels, key=lambda made: made.time)


def test_answers_of_one_photo_share_a_task() -> None:
    labels = [label(), label(annotator=BOB, answer="skip"), label(1)]
    first, second = json.loads(write_tasks(labels))
    assert [annotation["completed_by"]["email"] for annotation in first["annotations"]] == [ANN, BOB]
    assert [annotation["was_cancelled"] for annotation in first["annotations"]] == [False, True]
    assert second["data"] == {
        "image": "/pool/1 é.jpg",
        "sha256": f"{1:064x}",
        "path": "/pool/1 é.jpg",
        "class": "weapon",
        "round": 2,
        "head": "weapon@3",
        "score": 0.9,
        "strategy": "uncertainty",
        "reason": "scores 0.90, nearest to 0.5",
    }


def test_an_export_as_label_studio_writes_it_is_read() -> None:
    """The shapes of an export by Label Studio 1.23.2, JSON and JSON_MIN."""
    facts = make_task(ask(0), "/data/upload/1/0.jpg")["data"]
    annotation = {
        "id": 1,
        "completed_by": 2,
        "result": [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": ["no"]}}],
        "was_cancelled": False,
        "ground_truth": True,
        "created_at": "2026-01-31T11:00:00.000001Z",
        "updated_at": "2026-01-31T12:00:00.000001Z",
        "prediction": {"id": 1, "model_version": "weapon@3"},
    }
    skipped = {**annotation, "result": [], "was_cancelled": True, "completed_by": {"id": 3, "email": BOB}}
    blank = {**annotation, "result": [], "completed_by": 4}
    answered = {
        "id": 21,
        "annotations": [annotation, skipped, blank],
        "drafts": [{}],
        "predictions": [1],
        "data": facts,
    }
    untouched = {"id": 22, "annotations": [], "data": {"image": "x"}}
    time = NOON + timedelta(microseconds=1)
    wanted = [
        label(answer="no", annotator=ANN, time=time),
        label(answer="skip", annotator=BOB, time=time),
        label(answer="skip", annotator="4", time=time),
    ]
    assert read_tasks(json.dumps([answered, untouched]).encode(), "weapon", "there", {2: ANN}) == wanted

    row = {"annotation_id": 1, "created_at": annotation["created_at"], "updated_at": annotation["updated_at"]}
    short = [
        {**facts, "id": 21, "label": "no", "annotator": 2, **row},
        {**facts, "id": 21, "annotator": 4, **row},
        {**facts, "id": 22, "annotator": None, "annotation_id": None, "created_at": None, "updated_at": None},
    ]
    assert read_tasks(json.dumps(short).encode(), "weapon", "there", {2: ANN}) == [wanted[0], wanted[2]]


def test_times_keep_their_zone() -> None:
    east = label(time=NOON.astimezone(timezone(timedelta(hours=9))))
    assert read_tasks(write_tasks([east]), "weapon", "there") == [label()]


def changed(path: str, value: Any) -> bytes:
    """An export of one label with a field, `task.data.sha256` say, changed; removed where the value is None."""
    tasks = json.loads(write_tasks([label()]))
    *above, last = path.split(".")
    place: Any = {"task": tasks[0], "annotation": tasks[0]["annotations"][0]}
    for step in above:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(tasks).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", r"^there: not JSON \("),
        (b"\xff", r"^there: not JSON \("),
        (b"[" * 200_000, r"^there: not JSON \("),
        (b"{}", "^there: not a list of tasks; export the project as JSON or JSON_MIN"),
        (b"[1]", "^there: not a list of tasks"),
        (b'[{"updated_at": 1}]', "^there: task 1, sha256: missing; only tasks made by prohibit_jax"),
        (changed("task.data", []), "^there: task 1, data: not an object"),
        (changed("task.annotations", None), "^there: task 1, annotations: not a list of annotations"),
        (changed("task.annotations", [1]), "^there: task 1, annotations: not a list of annotations"),
        (changed("task.data.sha256", None), "^there: task 1, sha256: missing"),
        (changed("task.data.sha256", "abc"), "^there: task 1, sha256 'abc': 64 of 0-9"),
        (changed("task.data.path", 7), "^there: task 1, path: '7' is not of type str"),
        (changed("task.data.class", "cash"), "^there: task 1, class: 'cash', not 'weapon'"),
        (changed("task.data.round", 1.5), "^there: task 1, round: '1.5' is not of type int"),
        (changed("task.data.round", True), "^there: task 1, round: 'True' is not of type int"),
        (changed("task.data.score", 10**400), "^there: task 1, score: 1000"),
        (changed("task.data.score", float("nan")), "^there: task 1, score: nan is not from 0 to 1"),
        (changed("task.data.head", "weapon@0"), "^there: task 1, head 'weapon@0'"),
        (changed("annotation.result", {}), "^there: task 1, result: not a list of objects"),
        (changed("annotation.result", [{"from_name": "kind"}]), "^there: task 1, result: no choices named 'label'"),
        (changed("annotation.completed_by", None), "^there: task 1, completed_by: nobody"),
        (changed("annotation.completed_by", {}), "^there: task 1, completed_by: nobody"),
        (changed("annotation.updated_at", None), "^there: task 1, updated_at: 'None' is not a time"),
        (changed("annotation.updated_at", "soon"), "^there: task 1, updated_at: 'soon' is not a time"),
        (changed("annotation.updated_at", "2026-01-31"), "^there: task 1, time 2026-01-31T00:00:00: needs its zone"),
    ],
)
def test_a_bad_export_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_tasks(data, "weapon", "there")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("choices", [[], ["yes", "no"], ["maybe"], [["yes"]], "yes", None])
def test_an_answer_that_is_none_of_ours_is_refused(choices: Any) -> None:
    region = {"from_name": "label", "type": "choices", "value": {"choices": choices}}
    with pytest.raises(InputError, match=r"^there: task 1, label: .* is not one of yes, no, unsure"):
        read_tasks(changed("annotation.result", [region]), "weapon", "there")
