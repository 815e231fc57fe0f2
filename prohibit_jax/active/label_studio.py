"""Label Studio's JSON: tasks that ask about a photo, and exports that hold what annotators answered.

A task carries in its data what the queue said of its photo, so that an export alone makes whole labels again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

from prohibit_jax.active.queue import Ask
from prohibit_jax.data.label_store import Label, check_label
from prohibit_jax.types import InputError

CONTROL = "label"
PICTURE = "image"
CHOICES = {"yes": "y", "no": "n", "unsure": "u"}
"""The answers and their keys. Label Studio has its own button to skip."""

FACTS: dict[str, type] = {
    "sha256": str,
    "path": str,
    "class": str,
    "round": int,
    "head": str,
    "score": float,
    "strategy": str,
    "reason": str,
}
"""What a task's data says of its photo beside the picture, and its type."""

People = Mapping[int, str]
"""Annotators' e-mail addresses by Label Studio's number; exports have only the numbers."""

NOBODY: People = MappingProxyType({})


def label_config(name: str) -> str:
    """The labelling interface of a project: one choice by key or click, above the photo, which may be tall."""
    choices = "".join(f'\n    <Choice value="{answer}" hotkey="{key}"/>' for answer, key in CHOICES.items())
    return f"""<View>
  <Header value="Is this prohibited: {name}?"/>
  <Choices name="{CONTROL}" toName="{PICTURE}" choice="single-radio" showInline="true" required="true">{choices}
  </Choices>
  <Image name="{PICTURE}" value="${PICTURE}"/>
</View>"""


def check_config(config: str, source: str) -> None:
    """Raises InputError unless a project's labelling interface shows our pictures and takes our answers."""
    try:
        elements = list(ElementTree.fromstring(config).iter())
    except ElementTree.ParseError:
        elements = []
    pictures = {e.get("name") for e in elements if e.tag == "Image" and e.get("value") == f"${PICTURE}"}
    controls = [e for e in elements if e.tag == "Choices" and e.get("name") == CONTROL and e.get("toName") in pictures]
    if not any({choice.get("value") for choice in control.iter("Choice")} == set(CHOICES) for control in controls):
        wanted = f"Choices named {CONTROL!r} of {', '.join(CHOICES)} on an Image of ${PICTURE}"
        raise InputError(f"{source}: its labelling interface lacks {wanted}; name another project")


def make_task(ask: Ask, picture: str) -> dict[str, Any]:
    """The task that asks about a photo, with what the head that scored it says.

    Args:
        picture: where Label Studio's page finds the photo.
    """
    facts = {field: getattr(ask, "name" if field == "class" else field) for field in FACTS}
    task: dict[str, Any] = {"data": {PICTURE: picture, **facts}}
    if ask.score is not None:
        said = "yes" if ask.score >= 0.5 else "no"
        task["predictions"] = [{"model_version": ask.head, "score": ask.score, "result": _result(said)}]
    return task


def write_tasks(labels: Sequence[Label]) -> bytes:
    """Labels as a JSON export: a task for each photo and what was known when it was asked, an annotation a label.

    Label Studio imports the file where its members have the annotators' names for e-mail addresses.
    """
    tasks: dict[tuple[Any, ...], dict[str, Any]] = {}
    for label in labels:
        facts = {field: getattr(label, "name" if field == "class" else field) for field in FACTS}
        task = tasks.setdefault(
            tuple(facts.values()),
            {"id": len(tasks) + 1, "data": {PICTURE: label.path, **facts}, "annotations": []},
        )
        skipped = label.answer == "skip"
        task["annotations"].append(
            {
                "completed_by": {"email": label.annotator},
                "result": [] if skipped else _result(label.answer),
                "was_cancelled": skipped,
                "created_at": label.time.isoformat(),
                "updated_at": label.time.isoformat(),
            }
        )
    return json.dumps(list(tasks.values()), ensure_ascii=False, indent=1).encode()


def read_tasks(data: bytes, name: str, source: str, people: People = NOBODY) -> list[Label]:
    """The labels in an export, JSON or JSON_MIN, oldest first.

    A skipped task is a `skip`, and so is an annotation without an answer; JSON_MIN has no skipped tasks. Drafts are not
    answers. "Ground truth" is Label Studio's own mark and means nothing here: the label store has adjudicators.

    Args:
        name: the class; a task of another is refused.
        source: what messages call the export.
        people: names the annotators, who else are called by their number.

    Raises:
        InputError: one line that names the source, the task and the field.
    """
    try:
        tasks = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON ({error})") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError(f"{source}: not a list of tasks; export the project as JSON or JSON_MIN")
    labels = [label for number, task in enumerate(tasks, 1) for label in _labels(task, number, name, source, people)]
    return sorted(labels, key=lambda label: label.time)


def _labels(task: dict[str, Any], number: int, name: str, source: str, people: People) -> Iterator[Label]:
    place = f"{source}: task {task.get('id', number)}"
    short = "data" not in task  # JSON_MIN: the data and one annotation side by side
    facts = task if short else task["data"]
    annotations = [task] if short and task.get("updated_at") is not None else [] if short else task.get("annotations")
    if not isinstance(facts, dict):
        raise InputError(f"{place}, data: not an object")
    if not isinstance(annotations, list) or not all(isinstance(annotation, dict) for annotation in annotations):
        raise InputError(f"{place}, annotations: not a list of annotations; export the project as JSON")
    if not annotations:
        return
    known = _facts(facts, name, place)
    for annotation in annotations:
        answer = _answer([annotation.get(CONTROL)], place) if short else _chosen(annotation, place)
        label = Label(
            answer=answer,
            annotator=_annotator(annotation.get("annotator" if short else "completed_by"), people, place),
            time=_time(annotation.get("updated_at"), place),
            **known,
        )
        try:
            check_label(label)
        except InputError as error:
            raise InputError(f"{place}, {error}") from None
        yield label


def _facts(data: dict[str, Any], name: str, place: str) -> dict[str, Any]:
    """A label's fields that a task's data holds. A fact that is absent takes the field's default."""
    facts = {field: data[field] for field in FACTS if data.get(field) is not None}
    for field, fact in facts.items():
        wanted = (int, float) if FACTS[field] is float else FACTS[field]
        if isinstance(fact, bool) or not isinstance(fact, wanted):
            raise InputError(f"{place}, {field}: {str(fact)[:80]!r} is not of type {FACTS[field].__name__}")
    for field in ("sha256", "path"):
        if field not in facts:
            raise InputError(f"{place}, {field}: missing; only tasks made by prohibit_jax say which photo they show")
    if facts.pop("class", name) != name:
        raise InputError(f"{place}, class: {data['class'][:80]!r}, not {name!r}")
    if "score" in facts:
        if not 0 <= facts["score"] <= 1:
            raise InputError(f"{place}, score: {str(facts['score'])[:80]} is not from 0 to 1")
        facts["score"] = float(facts["score"])
    return {**facts, "name": name}


def _chosen(annotation: dict[str, Any], place: str) -> str:
    result = annotation.get("result")
    if annotation.get("was_cancelled") or result == []:
        return "skip"
    if not isinstance(result, list) or not all(isinstance(region, dict) for region in result):
        raise InputError(f"{place}, result: not a list of objects")
    for region in result:
        if region.get("from_name") == CONTROL and region.get("type") == "choices":
            value = region.get("value")
            return _answer(value.get("choices") if isinstance(value, dict) else None, place)
    raise InputError(f"{place}, result: no choices named {CONTROL!r}; export a project made by launch labels push")


def _answer(choices: Any, place: str) -> str:
    if choices == [None]:  # JSON_MIN leaves out what was not answered
        return "skip"
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], str) and choices[0] in CHOICES:
        return choices[0]
    raise InputError(f"{place}, {CONTROL}: {str(choices)[:80]} is not one of {', '.join(CHOICES)}")


def _annotator(who: Any, people: People, place: str) -> str:
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    if isinstance(who, int) and not isinstance(who, bool):
        return people.get(who, str(who))
    if isinstance(who, str):
        return who
    raise InputError(f"{place}, completed_by: nobody")


def _time(text: Any, place: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise InputError(f"{place}, updated_at: {str(text)[:80]!r} is not a time as in 2026-01-31T12:00:00Z") from None


def _result(answer: str) -> list[dict[str, Any]]:
    return [{"from_name": CONTROL, "to_name": PICTURE, "type": "choices", "value": {"choices": [answer]}}]
