"""Asks annotators through a Label Studio server, and fetches what they answered, with Label Studio's own SDK.

Its community edition cannot order tasks by a model's uncertainty (where that is set, it quietly picks at random), so
the queue decides: tasks are made in its order, and the project hands them out in the order in which they were made.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from prohibit_jax.active.label_studio import check_config, label_config, make_task, read_tasks
from prohibit_jax.active.queue import Ask
from prohibit_jax.data.label_store import Label
from prohibit_jax.types import InputError, Line, check_name, silent

KEY = "LABEL_STUDIO_API_KEY"
"""The environment's access token."""

IN_ORDER = "Sequential sampling"
"""Oldest task first."""

BATCH = 50
"""Tasks in a request. A server takes 100 files in one, and 250 MB."""

PATIENCE = 600.0
"""Seconds for one answer: exporting 5,000 tasks took Label Studio 1.23 on SQLite 20."""


Picture = Callable[[Ask], str | bytes]
"""Where annotators' browsers find the photo that is asked about, or a JPEG of it, which is uploaded.

Raises OSError or InputError where there is no such photo."""


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        project, title: of the project.
        tasks: how many were made.
        known: photos that the project had already.
        missing: a line for each photo that cannot be shown, its path and the reason.
    """

    project: int
    title: str
    tasks: int
    known: int
    missing: tuple[str, ...]


def push(
    url: str, name: str, asks: Sequence[Ask], picture: Picture, project: str | None = None, line: Line = silent
) -> Pushed:
    """Makes a task of each photo that the project does not have yet, best first.

    Args:
        url: of the server; its access token is in LABEL_STUDIO_API_KEY.
        name: the class, the same for all of `asks`.
        project: its number or its title, else `prohibit_jax NAME`; made where there is none of that title.

    Raises:
        InputError: the server refuses or cannot be reached, the project is of another shape, an ask of another class,
            or not one of the photos can be shown.
    """
    if other := next((ask.name for ask in asks if ask.name != name), None):
        raise InputError(f"the queue asks about {other!r}, not about {name!r}")
    advance = line("pushing")
    missing: list[str] = []
    with _server(url) as client:
        found = _project(client, url, name, project, create=True)
        there = client.tasks.list(project=found.id, include="id,data", page_size=1000)
        known = {task.data.get("sha256") for task in there}
        new = list({ask.sha256: ask for ask in asks if ask.sha256 not in known}.values())
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            pictures: dict[str, str | bytes] = {}
            for ask in batch:
                try:
                    pictures[ask.sha256] = picture(ask)
                except (OSError, InputError) as error:
                    missing.append(f"{ask.path}: {getattr(error, 'strerror', None) or error}")
            places = _uploaded(client, url, found.id, pictures)
            if tasks := [make_task(ask, places[ask.sha256]) for ask in batch if ask.sha256 in places]:
                client.projects.import_tasks(found.id, request=tasks)
            advance(start + len(batch), len(new))
    if missing and len(missing) == len(asks):
        raise InputError(f"none of {len(asks)} photos can be shown; {missing[0]}")
    return Pushed(found.id, found.title, len(new) - len(missing), len(asks) - len(new), tuple(missing))


def pull(url: str, name: str, project: str | None = None) -> list[Label]:
    """Every answer in a project, oldest first; annotators go by their e-mail address.

    An answer that was changed has the time of the change. One that was deleted is no answer, and takes nothing back: to
    take back what was pulled before, an annotator skips the task.

    Args and errors as for `push`; a project that does not exist is refused.
    """
    with _server(url) as client:
        found = _project(client, url, name, project, create=False)
        people = {user.id: user.email for user in client.users.list() if user.email}
        export = client.projects.exports.as_binary(found.id)
    return read_tasks(export, name, f"{url}: project {found.title!r}", people)


def served(prefix: str, root: str = "") -> Picture:
    """The pictures of a web server that has the folder `root`: at `prefix`, followed by the path below that folder."""
    above = f"{root.rstrip('/')}/" if root else ""

    def address(ask: Ask) -> str:
        if not ask.path.startswith(above):
            raise InputError(f"not below {above}, the folder that {prefix} stands for")
        return prefix + quote(ask.path.removeprefix(above).lstrip("/"))

    return address


@contextmanager
def _server(url: str) -> Iterator[Any]:
    """The SDK's client; what goes wrong on the way to the server and there becomes one line, without the token."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise InputError("--url: write the server's address as in http://127.0.0.1:8080, without a user")
    key = os.environ.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable() or not key:
        raise InputError(f"{KEY}: set it to an access token, which Label Studio gives under Account & Settings")
    with warnings.catch_warnings():
        # It uses names that pydantic has renamed, when it is imported and later.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="label_studio_sdk")
        try:
            import httpx
            from label_studio_sdk import LabelStudio
            from label_studio_sdk.core.api_error import ApiError
        except ModuleNotFoundError:
            raise InputError("Label Studio needs its SDK: pip install 'prohibit-jax[label-studio]'") from None
        try:
            with httpx.Client(timeout=PATIENCE, follow_redirects=True) as http:
                options: dict[str, Any] = {"base_url": url.rstrip("/"), "api_key": key, "httpx_client": http}
                yield LabelStudio(**options)  # type: ignore[no-untyped-call]
        except ApiError as error:
            raise InputError(_refusal(url, error.status_code, error.body)) from None
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise InputError(f"{url}: no answer as Label Studio gives it ({error or type(error).__name__})") from None


def _refusal(url: str, status: int | None, body: Any) -> str:
    """One line of what a server says with an error."""
    detail = body.get("validation_errors") or body.get("detail") if isinstance(body, dict) else body
    hint = f"; is {KEY} right?" if status in (401, 403) else ""
    return f"{url}: Label Studio answers {status} ({' '.join(str(detail).split())[:300]}){hint}"


def _project(client: Any, url: str, name: str, project: str | None, *, create: bool) -> Any:
    """The project by its number or title, in the shape that we need."""
    title = project or f"prohibit_jax {check_name(name)}"
    if project and project.isascii() and project.isdigit():
        found = client.projects.get(int(project))
    else:
        numbers = [there.id for there in client.projects.list(title=title) if there.title == title]
        if len(numbers) > 1:
            some = ", ".join(map(str, numbers[:5]))
            raise InputError(f"{url}: {len(numbers)} projects are called {title!r}; say which by its number: {some}")
        if not numbers and not create:
            raise InputError(f"{url}: no project {title!r}; make it with launch labels push, or name another --project")
        if not numbers:
            # What the model says is there for managers, but fills in nobody's answer.
            return client.projects.create(
                title=title, label_config=label_config(name), sampling=IN_ORDER, show_collab_predictions=False
            )
        found = client.projects.get(numbers[0])
    check_config(found.label_config or "", f"{url}: project {found.title!r}")
    if create and found.sampling != IN_ORDER:
        client.projects.update(found.id, sampling=IN_ORDER)
    return found


def _uploaded(client: Any, url: str, project: int, pictures: Mapping[str, str | bytes]) -> dict[str, str]:
    """The pictures' addresses by sha256, after an upload of those that have none."""
    places = {sha256: picture for sha256, picture in pictures.items() if isinstance(picture, str)}
    files = {
        sha256: (f"{sha256}.jpg", picture, "image/jpeg")
        for sha256, picture in pictures.items()
        if isinstance(picture, bytes)
    }
    if not files:
        return places
    # The SDK has no call of its own for this one. Uploads that are not committed make no tasks.
    target, quiet = f"api/projects/{project}/import", {"commit_to_project": "false"}
    response = client._client_wrapper.httpx_client.request(target, method="POST", params=quiet, files=files)
    if not response.is_success:
        raise InputError(_refusal(url, response.status_code, response.text))
    numbers = {"ids": json.dumps(response.json()["file_upload_ids"])}  # as the server reads it, unlike the SDK's `ids=`
    kept = client.files.list(project, request_options={"additional_query_parameters": numbers})
    prefix = f"{urlsplit(url).path.rstrip('/')}/data/"
    return places | {file.file.rpartition("-")[2].removesuffix(".jpg"): prefix + file.file for file in kept}
