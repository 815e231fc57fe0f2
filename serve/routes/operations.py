"""What machines ask a service that runs: whether it lives, whether it wants requests, and how it fares."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve.service import Service


async def healthz(request: Request) -> Response:
    """GET /healthz: 503 asks for a restart, since the device has been at one batch for too long."""
    alive = request.app.state.service.alive
    return JSONResponse({"alive": alive}, 200 if alive else 503)


async def readyz(request: Request) -> Response:
    """GET /readyz: 503 while heads are loaded and compiled, and from SIGTERM on."""
    ready = request.app.state.service.ready
    return JSONResponse({"ready": ready}, 200 if ready else 503)


async def metrics(request: Request) -> Response:
    """GET /metrics, in Prometheus' text format."""
    service: Service = request.app.state.service
    return Response(await asyncio.to_thread(service.metrics.text), headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = [
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
]
