"""What may pass to the SuperLink, and that nothing of another request is read."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from embryofl_server.federation.guard import HEADER, Guard, token_of

TOKEN = token_of(b"the SuperExec secret")


@pytest.fixture
def superlink():
    """Replies to every path that passes; a clinic is who says so."""
    app = Starlette(
        routes=[Route("/{path:path}", lambda request: PlainTextResponse("REACHED"), methods=["GET", "POST"])],
        middleware=[Middleware(Guard, token=TOKEN, is_clinic=lambda request: "clinic" in request.headers)],
    )
    return TestClient(app)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/v1/control/register-node", "/v1/runtime/acquire-task"]
)
def test_everything_but_the_fleet_api_is_for_the_server(superlink, path):
    wrong = [{}, {"clinic": "yes"}, {HEADER: ""}, {HEADER: TOKEN[:-1]}, {HEADER: token_of(b"another")}]
    assert {superlink.post(path, headers=headers).status_code for headers in wrong} == {404}
    assert superlink.post(path, headers={HEADER: TOKEN}).text == "REACHED"


@pytest.mark.parametrize("path", ["/v1/fleet", "/v1/FLEET/x", "//v1/fleet/x", "/v1/fleetx/y", "/x/v1/fleet/y"])
def test_path_that_only_looks_like_the_fleet_api_is_not(superlink, path):
    assert superlink.post(path, headers={"clinic": "yes"}).status_code == 404


def test_fleet_api_is_for_clinics(superlink):
    assert superlink.post("/v1/fleet/pull-messages").status_code == 401
    assert superlink.post("/v1/fleet/pull-messages", headers={"clinic": "yes"}).text == "REACHED"


def test_body_of_a_stranger_is_not_read():
    async def never(*_):
        raise AssertionError("the body was read, or the request passed")

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/fleet/push-messages", "headers": [], "query_string": b""}

    def is_clinic(request: Request) -> bool:
        return False

    asyncio.run(Guard(never, TOKEN, is_clinic)(scope, never, send))
    assert sent[0]["status"] == 401
