"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from polymodal._version import __version__
from polymodal.report.templates import read_template
from polymodal.serve.desk import Desk
from polymodal.serve.guard import Guard
from polymodal.serve.openapi import HEALTH, METRICS, PREDICT
from polymodal.serve.pool import Pool
from polymodal.serve.refusal import answer_in_sentences
from polymodal.serve.scratch import Scratch
from polymodal.serve.settings import Settings
from polymodal.serve.worker import Predicts


def create_app(load: Callable[[], Predicts], settings: Settings, scratch: Scratch | None = None) -> FastAPI:
    """Return the service; its workers start and end with its lifespan.

    Args:
        load: makes the predictor in each worker process; must be picklable, for example
            ``functools.partial(load_predictor, "runs/mine", None, 1)``.
        settings: limits.
        scratch: where uploads live; by default a private folder, removed at the end.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = Pool(load, settings.workers)
        with scratch or Scratch() as place:
            try:
                await pool.start()
                desk = Desk(settings, pool, place)
                app.state.desk, app.state.pool = desk, pool
                yield
                await desk.close()
            finally:
                await pool.close()

    app = FastAPI(
        title="polymodal",
        version=__version__,
        description=f"What the run {settings.name} says about a clip. Errors are JSON: error, and a remedy if known.",
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from other hosts
        redoc_url=None,
    )
    app.add_middleware(Guard, settings=settings)
    answer_in_sentences(app)
    _add_routes(app, settings)
    return app


def _add_routes(app: FastAPI, settings: Settings) -> None:
    page = read_template("polymodal.serve").render(replies=settings.replies)

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page)

    @app.post("/predict", openapi_extra=PREDICT, summary="Predict a clip or features", response_class=JSONResponse)
    async def predict(request: Request) -> Response:
        desk: Desk = app.state.desk
        try:
            return await desk.answer(request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", openapi_extra=HEALTH, summary="Whether requests are taken", response_class=JSONResponse)
    async def health() -> JSONResponse:
        draining, alive = app.state.desk.draining, app.state.pool.alive
        status = "draining" if draining else "ready" if alive else "starting"
        about = {
            "status": status,
            "run": settings.name,
            "version": __version__,
            "workers": alive,
            "token": settings.token is not None,
            "limits": settings.stated,
        }
        return JSONResponse(about, 200 if status == "ready" else 503)

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", openapi_extra=METRICS, summary="Counters for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(app.state.desk.metrics.text, media_type=CONTENT_TYPE_LATEST)

    # The timeline is drawn by the script that `polymodal predict --html` puts into its page.
    statics = StaticFiles(packages=[("polymodal.serve", "static"), ("polymodal.predict", "static")])
    app.mount("/static", statics, name="static")
