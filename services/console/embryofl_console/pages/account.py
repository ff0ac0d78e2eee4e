"""The page Account: one's own password, one-time codes and sessions. For every role."""

from typing import Any

from fastapi import APIRouter, Request, Response

from embryofl.errors import UserError
from embryofl_console.context import Fields, PageContext, Typed
from embryofl_console.texts import texts

t = texts.account


def routes(context: PageContext) -> APIRouter:
    """The page and what it posts."""
    router = APIRouter()

    def page(request: Request, **values: Any) -> Response:
        try:
            account = context.get("account")
        except UserError as exc:
            return context.done(request, "/", str(exc), "bad")
        return context.show(request, "account", account=account, **{"made": None, **values})

    @router.get("/account")
    def account(request: Request) -> Response:
        return page(request)

    @router.post("/account/password")
    def password(request: Request, typed: Typed) -> Response:
        if typed.get("new") != typed.get("again"):
            return context.done(request, "/account", t.not_the_same, "bad")
        body = {"password": typed.get("password", ""), "new": typed.get("new", "")}
        return context.act(request, "/account", "account/password", body)

    @router.post("/account/codes")
    def begin(request: Request) -> Response:
        """Not followed by a redirect: the key is shown only now."""
        try:
            made = context.client.call("POST", "/control/account/codes")
        except UserError as exc:
            return context.done(request, "/account", str(exc), "bad")
        return page(request, made=made)

    @router.post("/account/codes/confirm")
    def confirm(request: Request, fields: Fields) -> Response:
        return context.act(request, "/account", "account/codes/confirm", {"code": fields.get("code", "")}, t.codes_on)

    @router.post("/account/codes/end")
    def end_codes(request: Request, typed: Typed) -> Response:
        body = {"password": typed.get("password", "")}
        return context.act(request, "/account", "account/codes/end", body, t.codes_off)

    @router.post("/account/sessions/end")
    def end(request: Request, fields: Fields) -> Response:
        return context.act(request, "/account", "account/sessions/end", {"number": fields.get("number", "")})

    return router
