"""The routes of the Open Inference Protocol, version 2, and of those of Triton's extensions that its clients call.

A model is a class that decides, its version that of its head; `ensemble` is all of them, always version 1. `GET
/v2/models/stats` is everybody's, so that a class of that name has no metadata.
"""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prohibit_jax.bundle.card import library_versions
from prohibit_jax.score.bands import band
from prohibit_jax.types import check_name
from serve import oip
from serve.body import read_body
from serve.edition import Edition
from serve.errors import Refusal
from serve.gone import unless_gone
from serve.service import Answer, Service

VERSION = library_versions().get("prohibit-jax", "0")
COMPRESSED = 1024
"""Bytes from which on an answer is compressed for those who accept it."""


async def server(request: Request) -> Response:
    """Name, version and extensions."""
    return JSONResponse(oip.server_metadata(VERSION))


async def live(request: Request) -> Response:
    """Always 200: a process that answers lives."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """200, or 503 while it starts or drains."""
    fit = _service(request).ready
    return JSONResponse({"live": True, "ready": fit}, 200 if fit else 503)


async def model_metadata(request: Request) -> Response:
    """A model's inputs and outputs."""
    return JSONResponse(oip.model_metadata(*_described(request)))


async def model_config(request: Request) -> Response:
    """The same in Triton's form."""
    return JSONResponse(oip.model_config(*_described(request)))


async def model_ready(request: Request) -> Response:
    """200 where this model serves; 404 where it does not, 503 while nothing does."""
    service = _service(request)
    name, version = _served(request, service.repository.edition)
    return JSONResponse({"name": name, "version": version, "ready": service.ready}, 200 if service.ready else 503)


async def statistics(request: Request) -> Response:
    """A model's, or every serving model's."""
    service = _service(request)
    edition = service.repository.edition
    every = "model" not in request.path_params
    return JSONResponse(service.statistics.report(_models(edition) if every else [_served(request, edition)]))


async def infer(request: Request) -> Response:
    """Scores a request's photos."""
    service = _service(request)
    model, version = _served(request, service.repository.edition)
    began, ok, photos, timing = time.monotonic(), False, 0, None
    try:
        service.check_room()
        body = await read_body(request, service.settings.limits)
        began = time.monotonic()
        wanted = await _parse(service, request.headers.get(oip.HEADER), body, model)
        answer = await unless_gone(request, service.score(wanted.photos, wanted.timeout_ms))
        # Heads may have been swapped since: what is said is who has scored.
        model, version = _served(request, answer.edition)
        content, length = oip.encode_infer(wanted, _result(answer, model, version))
        ok, photos, timing = True, len(answer.errors), answer.timing
    finally:
        service.statistics.record(model, version, photos, timing, ok, time.monotonic() - began)
    headers = {"Content-Type": "application/json"}
    if length is not None:
        headers = {"Content-Type": "application/octet-stream", oip.HEADER: str(length)}
    return await _compressed(request, content, headers)


async def index(request: Request) -> Response:
    """Every head of the store, and the ensemble."""
    service = _service(request)
    only_ready = oip.parse_index(await read_body(request, service.settings.limits))
    entries = [asdict(entry) | {"version": str(entry.version)} for entry in await service.repository.index()]
    ensemble = {"name": oip.ENSEMBLE, "version": oip.ENSEMBLE_VERSION, "state": "READY", "reason": ""}
    return JSONResponse([entry for entry in (*entries, ensemble) if entry["state"] == "READY" or not only_ready])


async def load(request: Request) -> Response:
    """Puts a head in its class's place, or beside it as its shadow; `ensemble` reads the bundle's file again."""
    service, name = _service(request), request.path_params["model"]
    wanted = oip.parse_load(await read_body(request, service.settings.limits), request.query_params)
    if name == oip.ENSEMBLE:
        if wanted != oip.LoadRequest(None, False):
            raise Refusal(400, "ensemble: has no versions and no shadow, its bundle's file says what serves")
        return _changed(name, await service.repository.reload())
    return _changed(name, await service.repository.load(check_name(name), wanted.version, shadow=wanted.shadow))


async def unload(request: Request) -> Response:
    """Takes a class, or only its shadow, out of service."""
    service, name = _service(request), request.path_params["model"]
    shadow = oip.parse_unload(await read_body(request, service.settings.limits), request.query_params)
    if name == oip.ENSEMBLE:
        raise Refusal(400, "ensemble: is all classes that serve, unload those")
    return _changed(name, await service.repository.unload(check_name(name), shadow=shadow))


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _models(edition: Edition) -> list[tuple[str, str]]:
    """Name and version of every model that serves."""
    heads = ((name, str(card.version)) for name, card in edition.cards.items())
    return [*heads, (oip.ENSEMBLE, oip.ENSEMBLE_VERSION)]


def _served(request: Request, edition: Edition) -> tuple[str, str]:
    """Name and version of the model that the path names. Raises Refusal 404 unless it serves."""
    name, version = request.path_params["model"], request.path_params.get("version")
    serving = dict(_models(edition))
    if name not in serving:
        raise Refusal(404, f"model {name[:80]!r}: does not serve; {', '.join(serving)} do")
    if version not in (None, serving[name]):
        raise Refusal(404, f"model {name!r}: version {version[:80]!r} does not serve, version {serving[name]} does")
    return name, serving[name]


def _described(request: Request) -> tuple[str, str, int]:
    """Name and version of the path's model, and its number of classes."""
    edition = _service(request).repository.edition
    name, version = _served(request, edition)
    return name, version, len(edition.classes) if name == oip.ENSEMBLE else 1


async def _parse(service: Service, header: str | None, body: bytes, model: str) -> oip.InferRequest:
    length = oip.json_length(header, body)
    limits = oip.Limits(service.settings.limits.photos, service.settings.limits.pixels)
    if length <= oip.SMALL:
        return oip.parse_infer(body, length, model, limits)
    return await service.work(oip.parse_infer, body, length, model, limits)


def _result(answer: Answer, model: str, version: str) -> oip.Result:
    edition = answer.edition
    classes = edition.classes if model == oip.ENSEMBLE else (model,)
    cards = [edition.cards[name] for name in classes]
    scores = answer.scores[:, [edition.classes.index(name) for name in classes]]
    bands = [
        [band(score, card.thresholds) if error is None else "" for score, card in zip(row, cards, strict=True)]
        for row, error in zip(scores.tolist(), answer.errors, strict=True)
    ]
    errors = [None if error is None else str(error) for error in answer.errors]
    return oip.Result(model, version, classes, [card.version for card in cards], scores, bands, errors)


def _changed(name: str, edition: Edition) -> Response:
    """What serves of a model after a change, and beside it."""
    decides, shadow = edition.cards.get(name), edition.shadows.get(name)
    return JSONResponse(
        {
            "name": name,
            "version": str(decides.version) if decides else None,
            "shadow": str(shadow.version) if shadow else None,
            "edition": edition.number,
        }
    )


async def _compressed(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    encoding = _accepted(request.headers.get("Accept-Encoding", ""))
    headers = headers | {"Vary": "Accept-Encoding"}
    if len(content) < COMPRESSED or encoding is None:
        return Response(content, headers=headers)
    compress = zlib.compress if encoding == "deflate" else gzip.compress
    small = len(content) <= oip.SMALL
    return Response(
        compress(content) if small else await asyncio.to_thread(compress, content),
        headers=headers | {"Content-Encoding": encoding},
    )


def _accepted(header: str) -> str | None:
    """gzip or, of those who do not take it, deflate (in zlib's format), by a header such as `br;q=1.0, gzip;q=0.8`."""
    accepted = set()
    for part in header.lower().split(","):
        encoding, _, quality = part.replace(" ", "").partition(";q=")
        if quality.strip("0.") or not quality:
            accepted.add(encoding)
    return next((encoding for encoding in ("gzip", "deflate") if encoding in accepted), None)


def _of_model(suffix: str, endpoint: Any, method: str = "GET") -> list[Route]:
    paths = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    return [Route(path + suffix, endpoint, methods=[method]) for path in paths]


ROUTES = [
    Route("/v2", server, methods=["GET"]),
    Route("/v2/health/live", live, methods=["GET"]),
    Route("/v2/health/ready", ready, methods=["GET"]),
    Route("/v2/models/stats", statistics, methods=["GET"]),
    *_of_model("", model_metadata),
    *_of_model("/ready", model_ready),
    *_of_model("/config", model_config),
    *_of_model("/stats", statistics),
    *_of_model("/infer", infer, "POST"),
    Route("/v2/repository/index", index, methods=["POST"]),
    Route("/v2/repository/models/{model}/load", load, methods=["POST"]),
    Route("/v2/repository/models/{model}/unload", unload, methods=["POST"]),
]
