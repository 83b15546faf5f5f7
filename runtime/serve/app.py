"""The paths of the server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from lorair.runtime.serve import page, problems
from lorair.runtime.serve.body import FORM, PICTURES, read_picture
from lorair.runtime.serve.observe import METRICS_TYPE, Metrics, Observed
from lorair.runtime.serve.outcome import PatientResponse, outcome
from lorair.runtime.serve.places import Place, Places
from lorair.runtime.serve.schema import (
    MEDIA,
    ModelsReply,
    ProgressReply,
    RequestId,
    RestoreQuery,
    RouteReply,
    StatusReply,
)
from lorair.runtime.serve.service import Answer, Service
from lorair.runtime.serve.settings import Settings
from lorair.runtime.serve.work import Work
from lorair.runtime.system.console import lorair_version

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_REFUSALS: Final = problems.answers(400, 401, 403, 408, 413, 415, 421, 422, 503)
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A picture: the body itself, or the one file of a form.",
        "content": {
            **dict.fromkeys(filter(None, PICTURES), _BINARY),
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {"picture": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
_PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The restored picture, its pixels' size and depth those of the input.",
        "content": dict.fromkeys(MEDIA.values(), _BINARY),
        "headers": {
            "X-Lorair-Route": {
                "description": "JSON, as `/v1/route` answers: under which gates it was restored.",
                "schema": {"type": "string"},
            },
            "Server-Timing": {
                "description": "Milliseconds of each stage.",
                "schema": {"type": "string"},
            },
        },
    }
}


def create_app(service: Service, settings: Settings) -> FastAPI:
    """The server's app.

    Args:
        service: does the work. Close it yourself, after the app has ended.
        settings: names, token and limits; those of the service.
    """
    app = FastAPI(
        title="lorair",
        summary="Restores pictures: snow, rain, raindrops and whatever the bundle knows.",
        version=lorair_version(),
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    metrics = Metrics(service)
    problems.install(app)
    page.install(app)
    _add_pictures(app, service, settings, metrics)
    _add_questions(app, service, metrics)
    app.add_middleware(Observed, settings=settings, metrics=metrics)
    return app


def _add_pictures(app: FastAPI, service: Service, settings: Settings, metrics: Metrics) -> None:
    tickets, places = _Tickets(), Places(service.queue, settings)

    async def find_place(request: Request) -> AsyncIterator[Place]:
        with places.of(request.client.host if request.client else "") as place:
            yield place  # until the answer is sent

    its_place = Depends(find_place)

    @app.post("/v1/restore", response_class=Response, openapi_extra=_BODY,
              responses={**_PICTURE, **_REFUSALS},
              operation_id="restore", summary="Restore a picture")  # fmt: skip
    async def restore(
        request: Request,
        query: Annotated[RestoreQuery, Query()],
        place: Annotated[Place, its_place],
    ) -> Response:
        wishes = query.wishes(service)
        with tickets.of(query.id) as ticket:
            content = await read_picture(request, settings, place)
            work = ticket.work = service.restore(content, wishes)
            del content  # the work has it, until it runs or is dropped
            answer = await outcome(service.queue, work, settings.timeout, request)
        width, height = answer.file.size
        metrics.restored(answer.file.seconds, width * height)
        request.state.entry = {"pixels": width * height}
        return _picture(answer, MEDIA[query.format], place, settings.patience)

    @app.post("/v1/route", openapi_extra=_BODY, responses=_REFUSALS, operation_id="route",
              summary="Ask what the router sees in a picture")  # fmt: skip
    async def route(request: Request, place: Annotated[Place, its_place]) -> RouteReply:
        content = await read_picture(request, settings, place)
        work = service.route(content)
        del content
        routed = await outcome(service.queue, work, settings.timeout, request)
        request.state.entry = {"pixels": routed.size[0] * routed.size[1]}
        return RouteReply.of(routed.route, routed.size, routed.notes)

    @app.get("/v1/progress/{id}", responses=problems.answers(401, 421, 422),
             operation_id="progress", summary="Ask how far a request is")  # fmt: skip
    async def progress(id: Annotated[RequestId, Path()]) -> ProgressReply:
        return tickets.progress(id, service)


def _add_questions(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/v1/models", responses=problems.answers(401, 421), operation_id="models",
             summary="Ask what is served")  # fmt: skip
    async def models() -> ModelsReply:
        return ModelsReply.of(service)

    @app.get("/healthz", operation_id="healthz", summary="Whether the process lives")
    async def healthz() -> StatusReply:
        return StatusReply(status="ok")

    @app.get("/readyz", operation_id="readyz", summary="Whether it takes pictures",
             responses={503: {"model": StatusReply,
                              "description": "It is shutting down."}})  # fmt: skip
    async def readyz() -> JSONResponse:
        closing = service.queue.is_closing
        status = "shutting down" if closing else "ok"
        return JSONResponse({"status": status}, 503 if closing else 200)

    @app.get("/metrics", operation_id="metrics", summary="For Prometheus",
             response_class=Response,
             responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}},
                              "description": "Prometheus' text format."},
                        **problems.answers(401, 421)})  # fmt: skip
    async def metrics_text() -> Response:
        return Response(metrics.text(), media_type=METRICS_TYPE)


def _picture(answer: Answer, media: str, place: Place, patience: float) -> Response:
    done = answer.file
    reply = RouteReply.of(done.route, done.size, done.notes)
    timing = ", ".join(f"{stage};dur={s * 1000:.1f}" for stage, s in done.seconds.items() if s)
    headers = {"X-Lorair-Route": reply.to_header(), "Server-Timing": timing}
    return PatientResponse(answer.content, place, patience, headers, media)


class _Ticket:
    """Of a request that has a name: its work, once the body is there."""

    work: Work[Answer] | None = None


class _Tickets:
    """Requests in progress by the names that their clients gave them."""

    def __init__(self) -> None:
        self._by_id: dict[str, _Ticket] = {}

    @contextmanager
    def of(self, id: str | None) -> Iterator[_Ticket]:
        """A ticket for the time of the block. Of two of one name the later is found."""
        ticket = _Ticket()
        if id is not None:
            self._by_id[id] = ticket
        try:
            yield ticket
        finally:
            if id is not None and self._by_id.get(id) is ticket:
                del self._by_id[id]

    def progress(self, id: str, service: Service) -> ProgressReply:
        """How far it is."""
        ticket = self._by_id.get(id)
        if ticket is None:
            return ProgressReply(state="unknown", ahead=0, fraction=0)
        work = ticket.work
        if work is None:
            return ProgressReply(state="receiving", ahead=0, fraction=0)
        ahead = service.queue.ahead_of(work)
        return ProgressReply(
            state=work.state, ahead=ahead, fraction=work.fraction, detail=work.detail
        )
