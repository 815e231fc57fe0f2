"""Whatever is uploaded: a score or a 4xx, in bounded time and memory, and the next good photo is served as before."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.images.test_decode import encode
from tests.serve.conftest import Server
from tests.serve.hostile import hostile
from tests.tolerances import BATCHED_SCORE, SERVICE_MEMORY
from tests.waiting import TEST_TIMEOUT, TIMEOUT

pytestmark = pytest.mark.timeout(2 * TEST_TIMEOUT)

MOST_BYTES = 24 * 2**20  # of a form
LEAKS = (b"Traceback", b"site-packages", b".py", b"<module>", b"/tmp", b"/home", b"/work")
BOUNDARY = "a-boundary-that-no-photo-holds"

Files = Sequence[tuple[str, bytes]]
Found = list[dict[str, float] | None]
"""Each file's probabilities; None where it was refused."""


class Client:
    """One connection that is kept open; where the service drops it, the test fails."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT)

    def close(self) -> None:
        self._connection.close()

    def post(self, body: bytes, kind: str = "application/octet-stream") -> tuple[int, Any]:
        """The answer's status and JSON."""
        self._connection.request("POST", "/v1/score", body, {"Content-Type": kind})
        response = self._connection.getresponse()
        text = response.read()
        assert not [leak for leak in LEAKS if leak in text], text[:1000]
        return response.status, json.loads(text)

    def score(self, name: str, data: bytes) -> dict[str, float] | None:
        """The photo's probabilities, None where the service refused it as it should."""
        status, answer = self.post(data)
        if status == 200:
            (photo,) = answer["photos"]
            return probabilities(photo)
        assert 400 <= status < 500, (name, status, answer)
        assert one_line(answer["error"]), (name, answer)
        return None

    def score_form(self, files: Files) -> Found:
        """The same of several photos in one form."""
        status, answer = self.post(form(files), f"multipart/form-data; boundary={BOUNDARY}")
        assert status == 200, (status, answer)
        assert [photo["name"] for photo in answer["photos"]] == [name for name, _ in files]
        return [probabilities(photo) for photo in answer["photos"]]


def probabilities(photo: dict[str, Any]) -> dict[str, float] | None:
    """By class, or None for a photo with an error."""
    if photo["error"] is not None:
        assert one_line(photo["error"]["message"]), photo
        assert photo["classes"] == {}
        return None
    found = {name: scored["probability"] for name, scored in photo["classes"].items()}
    assert found
    assert all(0 <= value <= 1 for value in found.values())
    return found


def one_line(text: str) -> bool:
    """Whether it is a line that may stand in a log."""
    return 0 < len(text) < 1000 and text.isprintable()


def form(files: Files) -> bytes:
    """The files as multipart/form-data."""
    parts = []
    for name, data in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def forms(files: Files, photos: int = 31) -> Iterator[Files]:
    """Cuts the files into what fits into a form, with an honest photo behind them."""
    taken: list[tuple[str, bytes]] = []
    for file in files:
        if len(taken) == photos or sum(len(data) for _, data in taken) + len(file[1]) > MOST_BYTES:
            yield taken
            taken = []
        taken.append(file)
    yield taken


def good() -> bytes:
    """An honest photo."""
    return encode(np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8), "JPEG")


@cache
def generated() -> Files:
    """The hostile files, made once."""
    return list(hostile())


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """A client of the running service."""
    with closing(Client(server.url)) as client:
        yield client


@pytest.fixture(scope="module")
def alone(client: Client) -> Found:
    """What becomes of the generated files, one by one."""
    return post_all(client, generated())


@pytest.fixture(scope="module")
def together(client: Client, alone: Found) -> Found:
    """What becomes of them in forms, once all have been there alone."""
    return mixed_all(client, generated())


@pytest.fixture(scope="session")
def odd(shared: Path) -> Files:
    """The odd files of image libraries' own tests."""
    paths = sorted(path for path in (shared / "data" / "odd_images").rglob("*") if path.is_file())
    return [(f"odd_{number}{path.suffix}", path.read_bytes()) for number, path in enumerate(paths)]


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [pid, *(member for child in children for member in family(child))]


def memory(pid: int) -> int:
    """Bytes that the process and all that descend from it have in memory, what they share counted once."""
    texts = [Path(f"/proc/{member}/smaps_rollup").read_text() for member in family(pid)]
    return 1024 * sum(int(text.partition("\nPss:")[2].split()[0]) for text in texts)


def post_all(client: Client, files: Files) -> Found:
    """Every file alone, and an honest photo after every one, which is scored as ever."""
    expected = client.score("good", good())
    assert expected
    found = []
    for name, data in files:
        found.append(client.score(name, data))
        assert client.score(f"good after {name}", good()) == expected, name
    return found


def mixed(client: Client, files: Files) -> Found:
    """The files' scores in one form, whose last photo is an honest one: of errors alone, the answer would be 422."""
    *found, last = client.score_form([*files, ("good.jpg", good())])
    assert last == pytest.approx(client.score("good", good()), abs=BATCHED_SCORE)
    return found


def mixed_all(client: Client, files: Files) -> Found:
    """The same of any number of files, in as many forms as they need."""
    return [scores for some in forms(files) for scores in mixed(client, some)]


def same(alone: Found, together: Found) -> None:
    """Asserts that forms gave scores where single photos did; batches of other sizes may round otherwise."""
    assert [scores is None for scores in alone] == [scores is None for scores in together]
    for one, other in zip(alone, together, strict=True):
        assert one is None or one == pytest.approx(other, abs=BATCHED_SCORE)


def test_there_are_many_and_always_the_same() -> None:
    assert len(generated()) >= 250
    assert len({name for name, _ in generated()}) == len(generated())
    assert max(len(data) for _, data in generated()) < 16 * 2**20
    assert list(islice(hostile(), 300)) == list(generated()[:300])


def test_generated_files_alone_and_in_forms(alone: Found, together: Found) -> None:
    assert sum(scores is not None for scores in alone) >= 200
    same(alone, together)


def test_odd_files_alone_and_in_forms(client: Client, odd: Files) -> None:
    assert len(odd) >= 1025
    alone = post_all(client, odd)
    assert sum(scores is not None for scores in alone) >= 600
    same(alone, mixed_all(client, odd))


def test_the_log_stays_json_lines(server: Server, together: Found) -> None:
    """Whatever decoders have to say of a file, they say it in the answer."""
    lines = server.log.read_text(errors="replace").splitlines()
    assert len(lines) > len(together)
    assert not [line for line in lines if not line.startswith("{")]


def test_memory_returns_to_where_it_was(server: Server, client: Client, together: Found) -> None:
    """Scored once, everything that is ever kept has been allocated."""
    first = memory(server.pid)
    mixed_all(client, generated())
    assert memory(server.pid) <= first + SERVICE_MEMORY


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..\\..\\windows\\win.ini",
        "C:\\photo.jpg",
        "%2e%2e%2fphoto.jpg",
        "a" * 3000 + ".jpg",
        "<img src=x onerror=alert(1)>.jpg",
        "\x1b[31mred.jpg",
        "照片.jpg",
        "\u202egpj.exe",
        "",
    ],
)
def test_hostile_names_name_nothing(client: Client, name: str) -> None:
    """A file's name is text that comes back as text; it opens nothing, and is no reason to fail."""
    status, answer = client.post(form([(name, good())]), f"multipart/form-data; boundary={BOUNDARY}")
    assert status == 200 or 400 <= status < 500
    if status == 200:
        assert probabilities(answer["photos"][0])
    assert client.score("good", good())
