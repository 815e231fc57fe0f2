"""The routes of our own: photos in, probabilities and bands out."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prohibit_jax.bundle.card import Card
from prohibit_jax.images.decode import ImageError
from prohibit_jax.score.bands import Band, band
from serve.body import hold, photos_of_form, read_body
from serve.errors import Refusal
from serve.gone import unless_gone
from serve.service import Answer, Service
from serve.work import Given

SEVERITY: tuple[Band, ...] = ("pass", "review", "block")


async def score(request: Request) -> Response:
    """POST /v1/score: one photo as the body, several as a form, or, where it is switched on, their addresses."""
    service: Service = request.app.state.service
    service.check_room()
    budget = _budget(request)
    body = await read_body(request, service.settings.limits)
    photos = await _photos(request, body)
    answer = await unless_gone(request, service.score([photo for _, photo in photos], budget))
    service.statistics.record("ensemble", "1", len(photos), answer.timing, ok=True)
    found = [_photo(answer, row, name) for row, (name, _) in enumerate(photos)]
    if all(answer.errors):
        return JSONResponse({"error": f"{_called(photos[0][0])}{answer.errors[0]}", "photos": found}, 422)
    timing = {stage: round(1e3 * seconds, 3) for stage, seconds in vars(answer.timing).items()}
    edition = answer.edition
    return JSONResponse({"bundle": edition.bundle, "edition": edition.number, "milliseconds": timing, "photos": found})


async def classes(request: Request) -> Response:
    """GET /v1/classes: which heads score, with their thresholds."""
    edition = request.app.state.service.repository.edition
    return JSONResponse(
        {
            "bundle": edition.bundle,
            "edition": edition.number,
            "classes": {name: _card(card) for name, card in edition.cards.items()},
            "shadows": {name: _card(card) for name, card in edition.shadows.items()},
        }
    )


ROUTES = [Route("/v1/score", score, methods=["POST"]), Route("/v1/classes", classes, methods=["GET"])]


def _budget(request: Request) -> float | None:
    text = request.query_params.get("budget_ms")
    if text is None:
        return None
    try:
        budget = float(text)
    except ValueError:
        budget = math.nan
    if not 0 < budget < math.inf:
        raise Refusal(400, f"budget_ms {text[:40]!r}: give milliseconds above 0")
    return budget


async def _photos(request: Request, body: bytes) -> list[tuple[str, Given]]:
    """The request's photos, each with the name that it was sent under."""
    kind = request.headers.get("content-type", "")
    limits = request.app.state.service.settings.limits
    media = kind.partition(";")[0].strip().lower()
    photos: list[tuple[str, Given]]
    if media == "multipart/form-data":
        photos = [*await photos_of_form(kind, body, limits)]
    elif media == "application/json":
        photos = await _fetched(request, body)
    else:
        photos = [("", body)]
    if not photos:
        raise Refusal(400, "no photo: send one as the body, or several as form fields named files")
    if len(photos) > limits.photos:
        raise Refusal(413, f"{len(photos)} photos; a request may have {limits.photos}")
    return photos


async def _fetched(request: Request, body: bytes) -> list[tuple[str, Given]]:
    fetch, limits = request.app.state.fetcher, request.app.state.service.settings.limits
    if not request.app.state.service.settings.fetch.hosts:
        raise Refusal(415, "photos by address are switched off; send the photo itself")
    try:
        content = json.loads(body) if len(body) < 2**16 else None
    except (ValueError, RecursionError):
        content = None
    urls = content.get("urls") if isinstance(content, dict) and content.keys() == {"urls"} else None
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise Refusal(400, 'body: send {"urls": ["https://…", …]}')
    if len(urls) > limits.photos:
        raise Refusal(413, f"{len(urls)} photos; a request may have {limits.photos}")

    async def photo(url: str) -> tuple[str, Given]:
        name = url.encode(errors="replace").decode()  # JSON may hold halves of characters, which no answer can
        try:
            found = await fetch(url)
        except Refusal as refusal:
            return name, ImageError("fetch", refusal.text)
        hold(request, len(found))
        return name, found

    return await unless_gone(request, asyncio.gather(*map(photo, urls)))


def _photo(answer: Answer, row: int, name: str) -> dict[str, Any]:
    error = answer.errors[row]
    if error is not None:
        return {"name": name, "error": _error(error), "band": None, "classes": {}}
    found = {}
    for (label, card), score in zip(answer.edition.cards.items(), answer.scores[row].tolist(), strict=True):
        probability = score if math.isfinite(score) else None
        found[label] = {
            "probability": probability,
            "band": band(score, card.thresholds),
            "version": card.version,
        }
    worst = max((entry["band"] for entry in found.values()), key=SEVERITY.index)
    return {"name": name, "error": None, "band": worst, "classes": found}


def _error(error: ImageError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message}


def _called(name: str) -> str:
    return f"{name}: " if name else ""


def _card(card: Card) -> dict[str, Any]:
    return {
        "version": card.version,
        "review": card.thresholds.review,
        "block": card.thresholds.block,
        "size": card.preprocessing.size,
        "sha256": card.params_sha256,
        "metrics": card.metrics,
    }
