"""What is checked before a request reaches a route, and the headers that every answer carries."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polymodal.serve.refusal import Refusal
from polymodal.serve.settings import Settings, is_loopback

PUBLIC = ("/", "/healthz", "/openapi.json", "/static/")
"""Paths that need no token: the page, which asks for it, and what a load balancer must see. Folders end in a slash."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cache-Control": "no-cache",
}


class Guard:
    """ASGI middleware.

    Refuses a Host that is not this machine on a loopback address (DNS rebinding: a foreign page whose name was made to
    lead here), a request that a page of another site makes, and one without the token where there is a token.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope["path"], scope["method"], Headers(scope=scope))
        except Refusal as refusal:
            if scope["path"] == "/predict":
                scope["app"].state.desk.metrics.count(refusal.status)
            await refusal.response(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _check(self, path: str, method: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._settings.loopback and not is_loopback(_without_port(host)):
            sentence = f"this service is for its own machine, not for {host[:100]!r}"
            raise Refusal(421, sentence, "open it as http://127.0.0.1, or let the proxy set Host to localhost")
        if method not in ("GET", "HEAD") and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            raise Refusal(403, "pages of other sites may not use this service", "use its own page, or a program")
        if not _is_public(path):
            self._check_token(headers.get("authorization", ""))

    def _check_token(self, authorization: str) -> None:
        if self._settings.token is None:
            return
        scheme, _, token = authorization.partition(" ")
        right = hmac.compare_digest(token.strip().encode(), self._settings.token.encode())
        if scheme.lower() != "bearer" or not right:
            told = "the token is wrong" if authorization else "this service needs a token"
            raise Refusal(401, told, "send the header 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"})


def _without_port(host: str) -> str:
    return host[: host.rindex("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


def _is_public(path: str) -> bool:
    return path in PUBLIC or any(p.endswith("/") and p != "/" and path.startswith(p) for p in PUBLIC)
