"""The HTTP endpoints over a recommender: a FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from recalign import __version__
from recalign.errors import UserError
from recalign.serve.batching import Batcher, Full
from recalign.serve.layers import BoundedBodies, Monitoring, TokenNeeded, Watched, failure
from recalign.serve.messages import (
    Answer,
    AnswerMany,
    Asked,
    AskedMany,
    Failure,
    Item,
    Named,
    Sizes,
    State,
)
from recalign.serve.subsets import Subsets

if TYPE_CHECKING:
    import numpy as np

    from recalign.trainer.item_index import Query
    from recalign.trainer.recommend import Recommendation, Recommender

_RETRY_WHILE_STARTING_S = 5
_STARTING = "the server is starting: it compiles what requests need"
# For Kubernetes and Prometheus, which bring no token: they show whether it is there, and counts.
_OPEN_PATHS = ("/health", "/ready", "/metrics")
_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure} for status in (400, 401, 408, 413, 500, 503)
}
_FAILURES["4XX"] = {"model": Failure, "description": "No such path, method or type of content"}


class Limits(NamedTuple):
    """How much is done at once, and how much may be asked."""

    longest_wait_ms: float = 5.0  # how long a history waits for others to be decoded with it
    largest_batch: int = 16  # histories that are decoded together
    most_waiting: int = 1_024  # histories that wait; beyond them a request gets 503
    most_bytes: int = 2**20  # of a body
    longest_body_s: float = 30.0  # until a body has to be there
    posted_subsets: int = 0  # sets of items that POST /subsets may add; 0 for no such endpoint


def make_app(
    recommender: Recommender,
    *,
    k: int = 10,
    subsets: Mapping[str, Sequence[str]] | None = None,
    token: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    say: Callable[[str], None] = lambda line: None,
) -> FastAPI:
    """The application; it warms up when it is started, and is ready then.

    Args:
      k: how many items where a request does not say so; what is compiled before the first one.
      subsets: IDs to choose from by the name that `only` may say; all must be items'.
      token: what a request has to bring as `Authorization: Bearer TOKEN`; None for nothing.
    """
    named = Subsets(recommender.items, subsets or {}, limits.posted_subsets)
    batcher: Batcher[Query, list[Recommendation]] = Batcher(
        recommender.answer,
        largest_batch=limits.largest_batch,
        longest_wait_s=limits.longest_wait_ms / 1e3,
        most_waiting=limits.most_waiting,
        answered=lambda size, seconds: monitoring.batch_answered(size, seconds),
        failed=lambda size, error: say(
            f"{size} histories failed together, and are decoded one by one: {_told(error)}"
        ),
    )
    monitoring = Monitoring(lambda: batcher.waiting)
    is_ready, is_ending = asyncio.Event(), threading.Event()

    async def start() -> None:
        begun = time.perf_counter()
        try:
            lengths = await asyncio.to_thread(
                recommender.warm_up, k, together=True, until=is_ending.is_set
            )
        except Exception as error:
            say(f"never ready: {_told(error)}")
            raise
        say(f"ready: {lengths} prompt lengths compiled in {time.perf_counter() - begun:.1f} s")
        is_ready.set()
        await batcher.run()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(start())
        try:
            yield
        finally:
            is_ending.set()  # a warm-up ends after the program that it compiles now
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    app = FastAPI(
        title="recalign",
        version=__version__,
        description="The items that a user is most likely to want next.",
        lifespan=lifespan,
        responses=_FAILURES,
    )

    def understood(asked: Asked, where: str) -> Query:
        only: list[str] | np.ndarray | None = None
        user = str(asked.user) if isinstance(asked.user, str | int) else None
        try:
            if isinstance(asked.only, str):
                only = named.mask(asked.only)
            elif asked.only is not None:
                only = [str(item) for item in asked.only]
            return recommender.query(
                [str(item) for item in asked.history],
                k if asked.k is None else asked.k,
                only,
                exclude=[str(item) for item in asked.exclude],
                user=user,
                untrained=asked.untrained,
            )
        except UserError as error:
            raise UserError(f"{where}{error}") from error

    @app.post("/recommend", summary="The next items after a history, or after each of several")
    async def recommend(asked: Asked | AskedMany) -> Answer | AnswerMany:
        if not is_ready.is_set():
            raise Full(_RETRY_WHILE_STARTING_S, _STARTING)
        requests = [asked] if isinstance(asked, Asked) else asked.requests
        queries = [
            understood(request, "" if isinstance(asked, Asked) else f"requests[{number}]: ")
            for number, request in enumerate(requests)
        ]
        answers = [
            Answer(items=[Item(**item._asdict()) for item in items], user=request.user)
            for request, items in zip(requests, await batcher.ask(queries), strict=True)
        ]
        return answers[0] if isinstance(asked, Asked) else AnswerMany(answers=answers)

    if limits.posted_subsets:

        @app.post("/subsets", summary="Makes, replaces or (null) removes sets of items")
        async def change(asked: Named) -> Sizes:
            changes = {
                name: None if ids is None else [str(it) for it in ids]
                for name, ids in asked.subsets.items()
            }
            # A list of all items takes a while, in which other requests are answered.
            return Sizes(subsets=await asyncio.to_thread(named.change, changes))

    @app.get("/health", summary="Whether the process is alive")
    async def health() -> State:
        return State(status="alive")

    @app.get("/ready", summary="Whether all is compiled, so that requests are answered")
    async def ready() -> State:
        if not is_ready.is_set():
            raise Full(_RETRY_WHILE_STARTING_S, _STARTING)
        return State(status="ready")

    @app.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(monitoring.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    _handle_errors(app, say)
    paths = {route.path for route in app.routes}  # type: ignore[attr-defined]
    # The last one added is asked first: all is counted, and without the token no body is read.
    app.add_middleware(BoundedBodies, most_bytes=limits.most_bytes, longest_s=limits.longest_body_s)
    if token is not None:
        app.add_middleware(TokenNeeded, token=token, open_paths=_OPEN_PATHS)
    app.add_middleware(Watched, monitoring=monitoring, paths=paths)
    return app


def _handle_errors(app: FastAPI, say: Callable[[str], None]) -> None:
    """Every error is an object with one line, which says nothing of the machine."""

    @app.exception_handler(UserError)
    async def bad(request: Request, error: UserError) -> JSONResponse:
        return failure(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def no_request(request: Request, error: RequestValidationError) -> JSONResponse:
        return failure(400, _first(error.errors()))

    @app.exception_handler(Full)
    async def full(request: Request, error: Full) -> JSONResponse:
        return failure(503, str(error), {"Retry-After": str(error.retry_after_s)})

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return failure(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        say(_told(error))
        return failure(500, "the request failed")


def _told(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).strip()


def _first(errors: Sequence[Any]) -> str:
    """What is wrong with a body, of the reading of it that got furthest."""
    no_such_fields = ("missing", "extra_forbidden")
    error = max(errors, key=lambda error: (error["type"] not in no_such_fields, len(error["loc"])))
    fields = {*Asked.model_fields, *AskedMany.model_fields, *Named.model_fields}
    place = [str(part) for part in error["loc"] if isinstance(part, int) or part in fields]
    return f"{'.'.join(place)}: {error['msg']}" if place else str(error["msg"])
