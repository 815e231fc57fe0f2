"""What a test sees of a Label Studio server, stub or real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

PEOPLE = ("lead@example.com", "ann@example.com", "bob@example.com")


@dataclass(frozen=True)
class Studio:
    """A running server: its address, the lead's access token, and each person's browser by e-mail address."""

    url: str
    key: str
    people: Mapping[str, httpx.Client]

    def next(self, who: str, project: int) -> dict[str, Any] | None:
        """The task that an annotator gets when asking for the next one."""
        response = self.people[who].get(f"/api/projects/{project}/next")
        return None if response.status_code == 404 else checked(response)

    def answer(self, who: str, task: dict[str, Any], choice: str | None) -> int:
        """Answers a task, or skips it, as the page does; returns the annotation's number."""
        target = f"/api/tasks/{task['id']}/annotations/"
        response = self.people[who].post(target, json={"result": result(choice), "was_cancelled": choice is None})
        return int(checked(response)["id"])

    def change(self, who: str, annotation: int, choice: str) -> None:
        """Answers anew."""
        checked(self.people[who].patch(f"/api/annotations/{annotation}/", json={"result": result(choice)}))

    def delete(self, who: str, annotation: int) -> None:
        """Deletes an answer."""
        self.people[who].delete(f"/api/annotations/{annotation}/").raise_for_status()


def result(choice: str | None) -> list[dict[str, Any]]:
    """What the page sends for a choice."""
    if choice is None:
        return []
    return [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}]


def checked(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer."""
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found
