"""The HTTP interface: a few routes over one model, JSON only, and the page at /.

    /  /healthz  /openapi.json  /v1/sample  /v1/score  /v1/next  /v1/explain  /v1/train

It serves no files, runs no regular expression that a client sends, and keeps nothing between
requests.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from .. import __version__, corpus, explaining, sampling, scoring
from ..config import Config
from ..engines import Stop
from ..errors import ConfigError, DataError, MicrogptError, NotFittedError, StoppedError
from ..model import MicroGPT
from ..page import assembly
from ..randomness import Draws, fresh_seed
from ..recipes import recipe
from ..training import Session
from .jobs import Jobs, OverloadedError, Watch
from .schemas import (
    ErrorAnswer,
    ExplainAnswer,
    ExplainRequest,
    Health,
    NextAnswer,
    NextRequest,
    SampleAnswer,
    SampleRequest,
    ScoreAnswer,
    ScoreRequest,
    TrainRequest,
)

Body = TypeVar("Body", bound=BaseModel)
TRAIN_SECONDS = 600.0  # the longest that one /v1/train may take
RETRY_AFTER = "1"  # seconds
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer, "description": says}
    for code, says in {
        400: "The body is not JSON",
        401: "A token is required",
        403: "The request comes from another page",
        409: "There is no model, or its list is gone",
        413: "The body is too large",
        415: "The body is not JSON",
        421: "The request names another host",
        422: "A value is out of its range",
        503: "Too busy",
    }.items()
}


def create_app(model: MicroGPT | None, page: str) -> FastAPI:
    """The routes over a model (or none: then only the page and training answer)."""
    app = FastAPI(
        title="microgpt",
        version=__version__,
        description="A tiny GPT for lists of short strings. Log-probabilities are in nats.",
        docs_url=None,
        redoc_url=None,
        responses=_REFUSALS,
    )
    jobs = app.state.jobs = Jobs()
    _add_error_handlers(app)
    _add_page(app, page, model is not None)
    _add_model_routes(app, model, jobs)
    _add_training(app, jobs)
    return app


def _add_page(app: FastAPI, page: str, has_model: bool) -> None:
    policy = f"{assembly.content_security_policy()}; frame-ancestors 'none'"
    content = page.encode()  # once: many may ask for it

    @app.get("/", include_in_schema=False)
    async def page_route() -> HTMLResponse:
        return HTMLResponse(content, headers={"content-security-policy": policy})

    @app.get("/healthz", response_model=Health)
    async def healthz() -> Health:
        return Health(status="ok", model=has_model)


def _add_model_routes(app: FastAPI, loaded: MicroGPT | None, jobs: Jobs) -> None:
    def model() -> MicroGPT:
        if loaded is None:
            raise NotFittedError(
                "no model is loaded", fix="start the server with one: microgpt serve MODEL"
            )
        return loaded

    @app.post("/v1/sample", response_model=SampleAnswer)
    async def sample(wanted: SampleRequest, request: Request) -> SampleAnswer:
        seed = fresh_seed() if wanted.seed is None else wanted.seed
        strings = await jobs.run(request, lambda stop: _sample(model(), wanted, seed, stop))
        return SampleAnswer(strings=strings, seed=seed)

    @app.post("/v1/score", response_model=ScoreAnswer, openapi_extra=_takes(ScoreRequest))
    async def score(request: Request) -> Response:
        body = await request.body()  # parsed in the thread; ten thousand strings wait as bytes
        content = await jobs.run(
            request, lambda stop: _score(model(), _unpacked(ScoreRequest, body).strings, stop)
        )
        return Response(content, media_type="application/json")

    @app.post("/v1/next", response_model=NextAnswer)
    async def next_token(wanted: NextRequest, request: Request) -> JSONResponse:
        row = await jobs.run(request, lambda stop: _next(model(), wanted.prefix, stop))
        return JSONResponse({"tokens": model().classes_, "probabilities": row})

    @app.post("/v1/explain", response_model=ExplainAnswer)
    async def explain(wanted: ExplainRequest, request: Request) -> Response:
        content = await jobs.run(request, lambda stop: _explain(model(), wanted.text, stop))
        return Response(content, media_type="application/json")


def _sample(model: MicroGPT, wanted: SampleRequest, seed: int, stop: Stop) -> list[str]:
    filters = wanted.model_dump(exclude={"n", "seed", "novel"})
    rules = sampling.Wanted(**filters, novel=_known(model) if wanted.novel else ())
    return list(sampling.sample(model.gpt_, wanted.n, rules, Draws(seed), stop))


def _known(model: MicroGPT) -> frozenset[str]:
    """The training set, or an error that does not say where it was."""
    try:
        return model.known()
    except MicrogptError:
        raise NotFittedError(
            "the model's training set is not available", fix="leave novel out"
        ) from None


def _takes(kind: type[BaseModel]) -> dict[str, Any]:
    """What FastAPI writes into /openapi.json for a route that takes a body of this kind."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": kind.model_json_schema()}},
        }
    }


def _unpacked(kind: type[Body], body: bytes) -> Body:
    """A body, parsed as FastAPI would parse it. Raises RequestValidationError as it would."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        ) from None


def _score(model: MicroGPT, strings: list[str], stop: Stop) -> memoryview:
    """The answer as JSON, written as the scores come.

    Ten thousand scores as objects would take ten times as much memory.
    """
    texts = map(corpus.one_line, strings)
    written = bytearray(b'{"scores":[')
    for score in scoring.score(model.gpt_, texts, stop):
        row = {
            "text": score.text,
            "log_probability": _finite(score.log_probability),
            "tokens": score.tokens,
            "cut": score.cut,
        }
        if not written.endswith(b"["):
            written += b","
        written += _JSON.encode(row).encode()
    written += b"]}"
    return memoryview(written)  # no copy


def _next(model: MicroGPT, prefix: str, stop: Stop) -> list[float]:
    return explaining.next_probabilities(model.gpt_, prefix, stop)


def _explain(model: MicroGPT, text: str, stop: Stop) -> memoryview:
    """The answer as JSON, row by row: a large model's attention has millions of numbers."""
    explanation = explaining.explain(model.gpt_, text, False, stop)
    losses, loss = [_finite(loss) for loss in explanation.losses], _finite(explanation.loss)
    fields = {name: value for name, value in vars(explanation).items() if name != "gradients"}
    written = bytearray()
    _write(fields | {"losses": losses, "loss": loss}, written, stop)
    return memoryview(written)


def _write(value: Any, written: bytearray, stop: Stop) -> None:
    """Append a value as JSON. Raises StoppedError when `stop` says so between rows of numbers."""
    if isinstance(value, dict):
        pairs: Iterable[tuple[bytes, Any]] = (
            (_JSON.encode(name).encode() + b":", item) for name, item in value.items()
        )
    elif isinstance(value, list) and value and isinstance(value[0], list):
        pairs = ((b"", item) for item in value)
    else:
        if stop():
            raise StoppedError
        written += _JSON.encode(value).encode()
        return
    written += b"{" if isinstance(value, dict) else b"["
    for i, (name, item) in enumerate(pairs):
        written += b"," * (i > 0) + name
        _write(item, written, stop)
    written += b"}" if isinstance(value, dict) else b"]"


def _finite(number: float) -> float | None:
    """The number, or None where it is infinite: JSON has no infinity."""
    return number if math.isfinite(number) else None


def _add_training(app: FastAPI, jobs: Jobs) -> None:
    stream = {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "step ..., done",
    }

    @app.post("/v1/train", response_class=StreamingResponse, responses={200: stream})
    async def train(wanted: TrainRequest, request: Request) -> StreamingResponse:
        documents = corpus.from_iterable(wanted.documents)
        given = wanted.model_dump(exclude={"documents", "preset"}, exclude_unset=True)
        config = Config(
            **recipe(wanted.preset, documents.documents, given.get("num_steps")) | given
        )
        jobs.require_place()  # once the stream begins, the status can no longer say 503

        async def events() -> AsyncIterator[str]:
            try:
                async with jobs.place(), jobs.watch(request, TRAIN_SECONDS) as stop:
                    async for event, data in _progress(
                        lambda put: _train(config, documents, stop, put)
                    ):
                        yield f"event: {event}\ndata: {json.dumps(data)}\n\n"
            except OverloadedError as error:
                yield f"event: error\ndata: {json.dumps(_problem(str(error)))}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


Event = tuple[str, dict[str, Any]]


async def _progress(work: Callable[[Callable[[Event], None]], None]) -> AsyncIterator[Event]:
    """The events that `work` puts, as they come. `work` runs in a thread of its own."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(event: Event | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, event)

    def run() -> None:
        try:
            work(put)
        except MicrogptError as error:
            put(("error", _problem(error.what, error.where, error.fix)))
        finally:
            put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while (event := await queue.get()) is not None:
        yield event


def _train(
    config: Config, documents: corpus.Corpus, stop: Watch, put: Callable[[Event], None]
) -> None:
    """Train and sample as `microgpt train` does; puts an event for every block of steps."""
    losses: list[float] = []
    with suppress(StoppedError):
        session = Session.start(config, documents, "auto", stop=stop)
        for block in session.run(stop):
            losses = [step.loss for step in block]
            put(("step", {"step": block[-1].step, "num_steps": config.num_steps, "losses": losses}))
    if stop():
        what = "training took too long" if stop.late() else "training was stopped"
        put(("error", _problem(what)))
        return
    samples = list(sampling.sample(session.gpt, 20, sampling.Wanted(), session.draws, stop))
    put(("done", {"step": session.step, "loss": losses[-1], "samples": samples}))


def _problem(what: str, where: str = "", fix: str = "") -> dict[str, Any]:
    return {"error": {"what": what, "where": where, "fix": fix}}


def _add_error_handlers(app: FastAPI) -> None:
    """Every error has the same form. None shows a path of this machine or repeats the request."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, OverloadedError):
            return JSONResponse(_problem(str(error)), 503, {"retry-after": RETRY_AFTER})
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            broken = first["type"] == "json_invalid"
            where = "" if broken else ".".join(map(str, first["loc"]))
            return JSONResponse(
                _problem("the body is not JSON" if broken else first["msg"], where),
                400 if broken else 422,
            )
        if isinstance(error, HTTPException):
            return JSONResponse(_problem(str(error.detail)), error.status_code, error.headers)
        problem = cast(MicrogptError, error)
        if isinstance(error, NotFittedError):
            return JSONResponse(_problem(problem.what, fix=problem.fix), 409)
        if isinstance(error, (ConfigError, DataError)):
            return JSONResponse(_problem(problem.what, problem.where, problem.fix), 422)
        return JSONResponse(_problem("the request failed"), 500)

    handler = cast(Callable[[Request, Exception], Awaitable[JSONResponse]], refused)
    for kind in (OverloadedError, RequestValidationError, HTTPException, MicrogptError):
        app.add_exception_handler(kind, handler)
