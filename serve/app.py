"""The routes around a service, as one ASGI application."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from prohibit_jax.types import InputError
from serve.calm import Calm
from serve.errors import Refusal
from serve.fetch import Fetcher
from serve.guard import Guard, Keys, no_route, refused
from serve.routes import operations, pages, v1, v2
from serve.service import Service


def create_app(service: Service, keys: Keys = Keys()) -> Starlette:  # noqa: B008 - frozen
    """All routes. The service is started and stopped by whoever runs the application."""
    app = Starlette(
        routes=[*v1.ROUTES, *v2.ROUTES, *operations.ROUTES, *pages.ROUTES],
        middleware=[Middleware(Guard, keys, service.metrics, service.settings.limits.bodies)],
        exception_handlers={Refusal: _refused, InputError: _bad_input, HTTPException: no_route},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.calm = Calm(service.settings.service.budget_ms / 4e3)
    app.state.fetcher = Fetcher(service.settings.fetch, service.settings.limits)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    if error.status == 503:
        await asyncio.sleep(request.app.state.calm.refused())
    return refused(error)


async def _bad_input(_: Request, error: Exception) -> Response:
    return refused(Refusal(400, str(error)))
