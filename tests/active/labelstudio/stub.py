"""A Label Studio of a hundred lines: what the SDK and an annotator ask of a server, answered as 1.23.2 answers it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.active.labelstudio.studio import PEOPLE, Studio
from tests.waiting import TIMEOUT

KEYS = {f"key-of-{email}": number for number, email in enumerate(PEOPLE, 1)}


class State:
    """What the server knows. Its clock moves on with every answer, so that no two have one time."""

    def __init__(self) -> None:
        self.projects: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.uploads: list[tuple[str, bytes]] = []
        self.clock = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def now(self) -> str:
        self.clock += timedelta(milliseconds=1)
        return self.clock.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def tasks_of(self, project: int) -> list[dict[str, Any]]:
        return [task for task in self.tasks if task["project"] == project]

    def answers(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        return [annotation for annotation in self.annotations if annotation["task"] == task["id"]]


class MissingError(Exception):
    """Answered with 404."""


class Handler(BaseHTTPRequestHandler):
    """Routes by method and path; `state` is the server's."""

    state: State
    lock: Lock

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do(self) -> None:
        self.parts = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(self.parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.user = KEYS.get(self.headers.get("Authorization", "").removeprefix("Token "))
        if self.user is None:
            return self.send(401, {"detail": "Invalid token."})
        for pattern, methods in ROUTES.items():
            found = re.fullmatch(pattern, self.parts.path)
            if found and self.command in methods:
                try:
                    with self.lock:
                        return self.send(*methods[self.command](self, *map(_number, found.groups())))
                except (MissingError, IndexError):
                    break
        return self.send(404, {"detail": "Not found."})

    do_GET = do_POST = do_PATCH = do_DELETE = do  # noqa: N815

    def send(self, status: int, answer: Any) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "image/jpeg" if isinstance(answer, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def json(self) -> Any:
        return json.loads(self.body)

    def projects(self) -> tuple[int, Any]:
        if int(self.query.get("page", 1)) > 1:
            raise MissingError
        wanted = self.query.get("title", "").lower()
        results = [project for project in self.state.projects if wanted in project["title"].lower()]
        return 200, {"count": len(results), "next": None, "previous": None, "results": results}

    def make_project(self) -> tuple[int, Any]:
        made = {"sampling": "Uniform sampling", **self.json(), "id": len(self.state.projects) + 1}
        self.state.projects.append(made)
        return 201, made

    def project(self, number: int) -> tuple[int, Any]:
        return 200, self.state.projects[number - 1]

    def change_project(self, number: int) -> tuple[int, Any]:
        self.state.projects[number - 1].update(self.json())
        return 200, self.state.projects[number - 1]

    def imported(self, project: int) -> tuple[int, Any]:
        if self.headers["Content-Type"].startswith("multipart/"):
            assert self.query["commit_to_project"] == "false"
            return 201, {"file_upload_ids": self._upload(project)}
        tasks = self.json()
        for task in tasks:
            self.state.tasks.append({**task, "id": len(self.state.tasks) + 1, "project": project})
        return 201, {"task_count": len(tasks), "annotation_count": 0, "prediction_count": len(tasks)}

    def _upload(self, project: int) -> list[int]:
        message = message_from_bytes(f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + self.body)
        parts: Any = message.get_payload()
        assert len(parts) <= 100
        first = len(self.state.uploads) + 1
        for number, part in enumerate(parts, first):
            name = f"upload/{project}/{number:08x}-{part.get_filename()}"
            self.state.uploads.append((name, part.get_payload(decode=True)))
        return list(range(first, first + len(parts)))

    def uploads(self, project: int) -> tuple[int, Any]:
        return 200, [{"id": n, "file": self.state.uploads[n - 1][0]} for n in json.loads(self.query["ids"])]

    def file(self, name: str) -> tuple[int, Any]:
        return 200, dict(self.state.uploads)[name]

    def tasks(self) -> tuple[int, Any]:
        if int(self.query["page"]) > 1:
            raise MissingError
        tasks = self.state.tasks_of(int(self.query["project"]))
        return 200, {"total": len(tasks), "tasks": [{"id": task["id"], "data": task["data"]} for task in tasks]}

    def next(self, project: int) -> tuple[int, Any]:
        """The oldest task without an answer, and not skipped by who asks, where the project goes by the order."""
        in_order = self.state.projects[project - 1]["sampling"] == "Sequential sampling"
        for task in self.state.tasks_of(project)[:: 1 if in_order else -1]:
            answers = self.state.answers(task)
            if all(answer["was_cancelled"] and answer["completed_by"] != self.user for answer in answers):
                return 200, task
        raise MissingError

    def export(self, project: int) -> tuple[int, Any]:
        return 200, [{**task, "annotations": self.state.answers(task)} for task in self.state.tasks_of(project)]

    def annotate(self, task: int) -> tuple[int, Any]:
        number, now = len(self.state.annotations) + 1, self.state.now()
        made = {"was_cancelled": False, **self.json(), "id": number, "task": task, "completed_by": self.user}
        self.state.annotations.append(made | {"created_at": now, "updated_at": now})
        return 201, self.state.annotations[-1]

    def reannotate(self, number: int) -> tuple[int, Any]:
        found = next(annotation for annotation in self.state.annotations if annotation["id"] == number)
        found.update(self.json(), updated_at=self.state.now())
        return 200, found

    def delete(self, number: int) -> tuple[int, Any]:
        self.state.annotations = [annotation for annotation in self.state.annotations if annotation["id"] != number]
        return 200, {}

    def users(self) -> tuple[int, Any]:
        return 200, [{"id": number, "email": email} for number, email in enumerate(PEOPLE, 1)]

    def version(self) -> tuple[int, Any]:
        return 200, {"release": "1.23.2", "edition": "Community"}


ROUTES: dict[str, dict[str, Any]] = {
    "/api/version/?": {"GET": Handler.version},
    "/api/users/?": {"GET": Handler.users},
    "/api/projects/?": {"GET": Handler.projects, "POST": Handler.make_project},
    r"/api/projects/(\d+)/?": {"GET": Handler.project, "PATCH": Handler.change_project},
    r"/api/projects/(\d+)/import": {"POST": Handler.imported},
    r"/api/projects/(\d+)/file-uploads": {"GET": Handler.uploads},
    r"/api/projects/(\d+)/next": {"GET": Handler.next},
    r"/api/projects/(\d+)/export": {"GET": Handler.export},
    "/api/tasks/?": {"GET": Handler.tasks},
    r"/api/tasks/(\d+)/annotations/?": {"POST": Handler.annotate},
    r"/api/annotations/(\d+)/?": {"PATCH": Handler.reannotate, "DELETE": Handler.delete},
    "/data/(upload/.*)": {"GET": Handler.file},
}


def _number(text: str) -> Any:
    return int(text) if text.isdigit() else text


@contextmanager
def stub() -> Iterator[Studio]:
    """A server on this machine, with legacy tokens."""
    handler = type("Bound", (Handler,), {"state": State(), "lock": Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})  # so that it ends at once
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {email: {"Authorization": f"Token key-of-{email}"} for email in PEOPLE}
    people = {email: httpx.Client(base_url=url, headers=key, timeout=TIMEOUT) for email, key in keys.items()}
    try:
        yield Studio(url, f"key-of-{PEOPLE[0]}", people)
    finally:
        for client in people.values():
            client.close()
        server.shutdown()
        thread.join()
        server.server_close()
