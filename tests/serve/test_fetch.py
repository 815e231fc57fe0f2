"""Photos from addresses: only public hosts that are allowed, one request, one answer, in bounded time and size."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from serve import fetch
from serve.errors import Refusal
from serve.fetch import Fetcher, is_public, resolve
from serve.settings import FetchConfig, LimitsConfig
from tests.serve.raw import LOOPS, forever
from tests.waiting import TIMEOUT, until_async

TLS = Path(__file__).with_name("tls")  # made by its make.sh
LIMITS = LimitsConfig(photo_bytes=10_000, headers=2048)
PHOTO = bytes(range(256)) * 20
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO
BRIEF = 0.1  # seconds, for what never comes


@pytest.fixture(autouse=True)
def authority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))


@pytest.fixture(params=LOOPS)
def get(request: pytest.FixtureRequest) -> Callable[..., tuple[bytes, list[bytes]]]:
    """A function that serves some bytes and fetches them: (what was fetched, the requests)."""

    def get(
        answer: bytes,
        path: str = "/a.jpg",
        host: str = "photos.test",
        seconds: float = TIMEOUT,
        closes: bool = True,
        tls: bool = True,
    ) -> tuple[bytes, list[bytes]]:
        async def main() -> tuple[bytes, list[bytes]]:
            before = sockets()
            requests: list[bytes] = []

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    requests.append(await (reader.readuntil(b"\r\n\r\n") if tls else reader.read(1)))
                    writer.write(answer)
                    if not closes:
                        await forever()
                except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    pass
                finally:
                    writer.close()

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(TLS / "photos.pem")
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if tls else None)
            port = server.sockets[0].getsockname()[1]
            config = FetchConfig(hosts=(f"{host}:{port}",), seconds=seconds)
            fetcher = Fetcher(config, LIMITS, resolve=lambda *_: ["127.0.0.1"], allowed=lambda ip: ip == "127.0.0.1")
            try:
                return await fetcher(f"https://{host}:{port}{path}"), requests
            finally:
                server.close()
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                await until_async(lambda: sockets() <= before)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main())

    return get


def sockets() -> int:
    """That this process has open."""
    found = 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the listing's own
            found += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return found


def refused(status: int, function: Callable[..., Any], *args: Any, **options: Any) -> str:
    with pytest.raises(Refusal) as caught:
        function(*args, **options)
    assert caught.value.status == status
    assert caught.value.text.isprintable()
    return caught.value.text


def fetch_from(url: str, *hosts: str, addresses: list[str] | None = None, **options: Any) -> bytes:
    """Of a fetcher with these hosts, all of which have these addresses; None: the name is not known."""

    def look_up(host: str, port: int) -> list[str]:
        if addresses is None:
            raise OSError("not known")
        return addresses

    options = {"resolve": look_up, **options}
    return asyncio.run(Fetcher(FetchConfig(hosts=hosts), LIMITS, **options)(url))


def chunked(data: bytes, size: int) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def test_photos(get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert get(WHOLE)[0] == PHOTO
    assert get(WHOLE, closes=False)[0] == PHOTO  # a host that does not close
    assert get(chunked(PHOTO, 700), closes=False)[0] == PHOTO
    assert get(OK + b"\r\n" + PHOTO)[0] == PHOTO
    assert get(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + WHOLE + b"more")[0] == PHOTO


def test_the_request(get: Callable[..., Any]) -> None:
    [request] = get(WHOLE, path="/a/../b.jpg;x?y=%20z&c#fragment")[1]
    first, *lines = request.decode().strip().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    assert first == "GET /a/../b.jpg;x?y=%20z&c HTTP/1.1"
    assert headers.pop("Host").startswith("photos.test:")
    assert headers == {
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "User-Agent": "prohibit_jax",
        "Connection": "close",
    }


@pytest.mark.parametrize("status", [101, 201, 204, 206, 301, 302, 304, 307, 404, 500])
def test_200_alone(status: int, get: Callable[..., Any]) -> None:
    text = refused(
        422, get, b"HTTP/1.1 %d X\r\nLocation: https://photos.test/\r\nContent-Length: 3\r\n\r\nabc" % status
    )
    assert text.startswith("https://photos.test:")
    assert str(status) in text or status == 101


ANSWERS = {
    "length beyond the limit": (OK + b"Content-Length: 10001\r\n\r\n", "10000 bytes"),
    "large": (OK + b"\r\n" + bytes(10_001), "10000 bytes"),
    "large in chunks": (chunked(bytes(10_001), 100), "10000 bytes"),
    "cut short": (WHOLE[:-1], "no valid answer"),
    "cut short in a chunk": (chunked(PHOTO, 700)[:-9], "no valid answer"),
    "cut short in headers": (OK, "no valid answer"),
    "nothing": (b"", "no valid answer"),
    "garbage": (b"hello\r\n\r\n" * 10, "no valid answer"),
    "large headers": (OK + b"X: y\r\n" * 10_000 + b"\r\n", "no valid answer"),
    "endless header": (OK + b"X: " + b"y" * 100_000, "no valid answer"),
    "two lengths": (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "no valid answer"),
    "gzip": (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "Content-Encoding"),
    "gzip, chunked": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "no valid answer"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_other_answers(case: str, get: Callable[..., Any]) -> None:
    answer, reason = ANSWERS[case]
    assert reason in refused(422, get, answer)


def test_many_chunks(get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CHUNKS", 100)
    assert get(chunked(bytes(100), 1))[0] == bytes(100)
    assert "100 chunks" in refused(422, get, chunked(bytes(101), 1))


@pytest.mark.parametrize("answer", [b"", OK, WHOLE[:-1], OK + b"\r\n" + PHOTO, b"HTTP/1.1 102 X\r\n\r\n"])
def test_slow(answer: bytes, get: Callable[..., Any]) -> None:
    assert "0.1 seconds" in refused(422, get, answer, closes=False, seconds=BRIEF)


def test_slow_handshake(get: Callable[..., Any]) -> None:
    assert "0.1 seconds" in refused(422, get, b"", tls=False, closes=False, seconds=BRIEF)


def test_slow_name_server() -> None:
    over = threading.Event()
    config = FetchConfig(hosts=("*",), seconds=BRIEF)
    fetcher = Fetcher(config, LIMITS, resolve=lambda *_: ["127.0.0.1"] if over.wait(TIMEOUT) else [])
    assert "0.1 seconds" in refused(422, asyncio.run, fetcher("https://photos.test/"))
    over.set()


def test_certificates(get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "certificate" in refused(422, get, WHOLE, host="other.test")
    assert "no valid answer" in refused(422, get, b"HTTP/1.1 200 OK\r\n\r\n", tls=False)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "certificate" in refused(422, get, WHOLE)


PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:80e::200e", "64:ff9b::808:808"]
NOT_PUBLIC = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
    *(
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
    ),
    *("240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1"),
    *("3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1"),
]


def test_public_addresses() -> None:
    assert [address for address in PUBLIC if not is_public(address)] == []
    assert [address for address in NOT_PUBLIC if is_public(address)] == []


def test_what_is_inside_all_reads_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "open_connection", lambda *_, **__: pytest.fail("connected"))
    found = [[address] for address in NOT_PUBLIC] + [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], []]
    texts = {refused(422, fetch_from, "https://inside.test/", "*", addresses=addresses) for addresses in [None, *found]}
    assert texts == {"https://inside.test/: no public host"}
    assert "no public host" in refused(422, fetch_from, "https://localhost/", "localhost", resolve=resolve)


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["8.8.8.8", "9.9.9.9"], ["127.0.0.1"]]
    connections: list[tuple[str, int, str]] = []

    async def connect(address: str, port: int, *, server_hostname: str, **_: Any) -> None:
        connections.append((address, port, server_hostname))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", connect)
    refused(422, fetch_from, "https://Photos.test/", "photos.TEST", resolve=lambda *_: answers.pop(0))
    assert connections == [("8.8.8.8", 443, "photos.test")]
    assert len(answers) == 1


@pytest.mark.parametrize(
    "url",
    [
        *("", "/", "photos.test", "//photos.test/", "http://photos.test/", "ftp://photos.test/", "file:///etc/passwd"),
        *("https:", "https://", "https:///a", "https:photos.test", "https://photos.test:80/", "https://photos.test:0/"),
        *("https://photos.test:99999/", "https://photos.test:x/", "https://photos.test:-443/", "https://[::1/"),
        *(
            "https://user@photos.test/",
            "https://user:pw@photos.test/",
            "https://@photos.test/",
            "https://a\\@photos.test/",
        ),
        *(
            "https://photos.test\\.evil.test/",
            "https://photos.test/a b",
            "https://photos.test/\r\nX: y",
            "https://pho\ttos.test/",
        ),
        *(
            " https://photos.test/",
            "https://photos.test/\0",
            "https://photos.test/\u00e9",
            "https://f\u00fc\u00df.test/",
        ),
        *(
            "https://photos.test./",
            "https://-a.test/",
            "https://a..test/",
            "https://*/",
            "https://" + "a." * 200 + "test/",
        ),
        *("https://127.0.0.1/", "https://127.1/", "https://0x7f.1/", "https://0x7f000001/", "https://2130706433/"),
        *(
            "https://0177.0.0.1/",
            "https://8.8.8.8/",
            "https://[::1]/",
            "https://[2606:4700::1111]/",
            "https://[::ffff:8.8.8.8]/",
        ),
        *(
            "https://\uff11\uff12\uff17.\uff11/",
            "https://photos\u3002test/",
            "https://photos.test%2f/",
            "https://\u2460.test/",
        ),
        "https://photos.test/" + "a" * 8000,
    ],
)
def test_addresses_that_are_not_fetched(url: str) -> None:
    for hosts in (("*",), ("photos.test",)):
        text = refused(400, fetch_from, url, *hosts, resolve=lambda *_: pytest.fail("looked up"))
        assert len(text) < 400


def test_hosts() -> None:
    looked_up: list[tuple[str, int]] = []

    def look_up(host: str, port: int) -> list[str]:
        looked_up.append((host, port))
        return []

    def fetched(url: str, *hosts: str) -> bool:
        before = len(looked_up)
        with pytest.raises(Refusal):
            fetch_from(url, *hosts, resolve=look_up)
        return len(looked_up) > before

    assert "not fetched here" in refused(400, fetch_from, "https://photos.test/")
    assert fetched("https://photos.test/", "photos.test")
    assert fetched("https://photos.test:443", "photos.test:443")
    assert fetched("https://PHOTOS.test:8443/a", "photos.test:8443")
    assert fetched("https://a-1.xn--p1ai/", "*")
    assert looked_up == [("photos.test", 443), ("photos.test", 443), ("photos.test", 8443), ("a-1.xn--p1ai", 443)]
    assert not fetched("https://other.test/", "photos.test")
    assert not fetched("https://a.photos.test/", "photos.test")
    assert not fetched("https://photos.test/", "photos.test:8443")
    assert not fetched("https://photos.test:8443/", "photos.test", "*")
