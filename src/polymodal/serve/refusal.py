"""Answers that are not predictions: one sentence as JSON."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

WORDS = {
    404: "there is no such page; see /openapi.json for what there is",
    405: "this page does not take that method; see /openapi.json for what it takes",
}

log = logging.getLogger("polymodal.serve")


class Refusal(Exception):
    """A request that is not answered as asked.

    Attributes:
        status: of HTTP.
        sentence: what is wrong.
        remedy: what to do about it, where there is something.
        headers: of the response.
    """

    def __init__(
        self, status: int, sentence: str, remedy: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.remedy, self.headers = status, sentence, remedy, dict(headers or {})

    @property
    def body(self) -> dict[str, str]:
        """What the client reads."""
        return {"error": self.sentence} | ({"remedy": self.remedy} if self.remedy else {})

    @property
    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body, self.status, self.headers)


def unexpected(report: str, error: Exception | None = None) -> Refusal:
    """Log a defect and return what the client is told of it."""
    number = uuid.uuid4().hex[:8]
    log.error("error %s: %s", number, report, exc_info=error)
    return Refusal(500, f"something went wrong here (error {number})", "tell whoever runs this service that number")


def answer_in_sentences(app: FastAPI) -> None:
    """Let ``app`` answer refusals and HTTP errors with JSON."""

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return error.response

    async def http_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        sentence = WORDS.get(error.status_code) or HTTPStatus(error.status_code).phrase.lower()
        return Refusal(error.status_code, sentence, headers=error.headers).response

    async def defect(request: Request, error: Exception) -> JSONResponse:
        return unexpected(f"{request.method} {request.url.path} failed", error).response

    app.add_exception_handler(Refusal, refuse)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, defect)
