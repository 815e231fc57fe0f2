"""Photos from addresses that strangers name, without lending them our place in the network.

Off unless the configuration names hosts. Names are resolved once, every address must be public, and the connection goes
to the address that was looked at, so that a second answer of the name server (rebinding) changes nothing. All failures
before there is a public address read alike, since a difference would tell what exists inside.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from serve.errors import Refusal
from serve.settings import FetchConfig, LimitsConfig

# Names only. The last label starts with a letter, as no spelling of an IPv4 address does (127.1, 0x7f.1, 2130706433).
HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")

LENGTH = 8000
"""Characters of an address, as of a request's target."""

AT_ONCE = 32
"""Photos that are fetched at a time, for all requests."""

PIECE = 8 * 2**10
CHUNKS = 20_000
"""That an answer may come in. Each takes h11 some 20 µs on the event loop, however small, and a piece holds 1,300."""

# https://www.iana.org/assignments/iana-ipv6-special-registry: all of 2000::/3 that is no ordinary address. Teredo
# (2001::/32) and 6to4 (2002::/16) wrap IPv4 addresses.
PUBLIC6 = IPv6Network("2000::/3")
SPECIAL6 = [IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
NAT64 = IPv6Network("64:ff9b::/96")
SPECIAL4 = [IPv4Network(net) for net in ("192.0.0.0/24", "192.88.99.0/24")]


class Target(NamedTuple):
    host: str
    port: int
    path: str  # with the query


def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, in the order in which to try them. Blocks. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]


def is_public(address: str) -> bool:
    """Whether `address` is a single host's on the public Internet: neither inside, nor special, nor wrapping such."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip in NAT64:
        ip = IPv4Address(int(ip) & 0xFFFFFFFF)
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in net for net in SPECIAL4)
    return ip in PUBLIC6 and not any(ip in net for net in SPECIAL6)


class Fetcher:
    """`await fetcher(url)` gives the bytes of the photo there; at most `limits.photo_bytes`, in `config.seconds`.

    `config.hosts` are names ("img.example.com"), names with a port ("img.example.com:8443"), or "*" for every public
    host at port 443. Certificates are checked against the system's, or against those of SSL_CERT_FILE. Raises Refusal
    400 for an address that may not be fetched, 422 for one that gives no photo.
    """

    def __init__(
        self,
        config: FetchConfig,
        limits: LimitsConfig,
        *,
        resolve: Callable[[str, int], Sequence[str]] = resolve,
        allowed: Callable[[str], bool] = is_public,
    ) -> None:
        self.config = config
        self.limits = limits
        self.resolve = resolve
        self.allowed = allowed
        self.hosts = {host.lower() for host in config.hosts}
        self.tls = ssl.create_default_context()
        # Looking up a name cannot be stopped: threads of its own, so that slow name servers hold up nothing else.
        self.threads = ThreadPoolExecutor(4, "resolve")
        self.at_once = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, url: str) -> bytes:
        target = self._target(url)
        try:
            async with asyncio.timeout(self.config.seconds), self.at_once:
                return await self._get(target, await self._address(target))
        except TimeoutError:
            reason = f"no photo within {self.config.seconds:g} seconds"
        except ssl.SSLCertVerificationError:
            reason = "its certificate is not valid"
        except (OSError, h11.ProtocolError):
            reason = "no valid answer"
        except _NoPhotoError as error:
            reason = str(error)
        raise Refusal(422, f"{_shown(url)}: {reason}")

    def _target(self, url: str) -> Target:
        if not self.hosts:
            raise Refusal(400, "addresses are not fetched here: send the photo itself")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", 443 if parts.port is None else parts.port
        except ValueError:
            raise Refusal(400, f"{_shown(url)}: no valid address") from None
        # urlsplit drops control characters, and takes what browsers and resolvers read otherwise.
        if len(url) > LENGTH or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
            raise Refusal(400, f"{_shown(url)}: no valid address")
        if parts.scheme != "https" or "@" in parts.netloc or len(host) > 253 or not HOST.fullmatch(host):
            raise Refusal(400, f"{_shown(url)}: only https addresses of a named host, without user or password")
        if f"{host}:{port}" not in self.hosts and (port != 443 or not self.hosts & {host, "*"}):
            raise Refusal(400, f"{_shown(url)}: not a host and port whose photos are fetched here")
        return Target(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    async def _address(self, target: Target) -> str:
        loop = asyncio.get_running_loop()
        try:
            addresses = await loop.run_in_executor(self.threads, self.resolve, target.host, target.port)
        except OSError:
            addresses = []
        if not addresses or not all(self.allowed(address) for address in addresses):
            raise _NoPhotoError("no public host")
        return addresses[0]

    async def _get(self, target: Target, address: str) -> bytes:
        reader, writer = await asyncio.open_connection(
            address,
            target.port,
            flags=socket.AI_NUMERICHOST,
            ssl=self.tls,
            server_hostname=target.host,
            ssl_handshake_timeout=self.config.seconds,
        )
        try:
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=self.limits.headers)
            headers = {
                "Host": target.host if target.port == 443 else f"{target.host}:{target.port}",
                "Accept": "image/*",
                "Accept-Encoding": "identity",
                "User-Agent": "prohibit_jax",
                "Connection": "close",
            }
            writer.write(connection.send(h11.Request(method="GET", target=target.path, headers=[*headers.items()])))
            connection.send(h11.EndOfMessage())
            return await self._photo(connection, reader)
        finally:
            writer.transport.abort()  # `close` would wait for the host

    async def _photo(self, connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
        photo = bytearray()
        chunks = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(PIECE))
                await asyncio.sleep(0)  # `read` lets nobody else run where there are data
            elif isinstance(event, h11.Response):
                self._check(event)
            elif isinstance(event, h11.Data):
                photo += event.data
                chunks += event.chunk_start
                if len(photo) > self.limits.photo_bytes or chunks > CHUNKS:
                    raise self._too_large()
            elif isinstance(event, h11.EndOfMessage):
                return bytes(photo)
            elif not isinstance(event, h11.InformationalResponse):
                raise _NoPhotoError("no valid answer")

    def _check(self, response: h11.Response) -> None:
        headers = dict(response.headers)
        if response.status_code != 200:
            raise _NoPhotoError(f"answers {response.status_code}, and only 200 is taken (redirects are not followed)")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise _NoPhotoError("answers with a Content-Encoding, which was not asked for")
        if int(headers.get(b"content-length", b"0")) > self.limits.photo_bytes:
            raise self._too_large()

    def _too_large(self) -> _NoPhotoError:
        return _NoPhotoError(f"more than {self.limits.photo_bytes} bytes, or in more than {CHUNKS} chunks")


class _NoPhotoError(Exception):
    """Why there is no photo, in words that may go out."""


def _shown(url: str) -> str:
    return "".join(letter for letter in url[:200] if letter.isprintable())
