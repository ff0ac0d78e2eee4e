"""Status requests that the hub holds until there is work: they cost no thread, and nothing is told of a moment that is over."""

import asyncio

import anyio.to_thread
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from embryofl_server.api.app import create_app
from kits.enrolment import ask_status, join


@pytest.fixture
def keys(hub):
    keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("anna", "bert")}
    for name, key in keys.items():
        join(hub, name, key)
    return keys


class Api:
    """The hub's API in the loop of a test, with one worker thread; `held` says when a clinic's request is held."""

    def __init__(self, hub, keys):
        self.hub, self._keys = hub, keys
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(create_app(hub)), base_url="https://hub")

    async def ask(self, name, **options):
        body = ask_status(self._keys[name], name, **options).model_dump()
        return (await self._http.post("/v1/standing", json=body)).json()

    def hold(self, name, session=""):
        return asyncio.create_task(self.ask(name, session=session, hold=30.0))

    async def held(self, *names):
        while {*self.hub.bell._waiting} != {*names}:
            await asyncio.sleep(0.01)


def run(hub, keys, story):
    async def timed():
        threads = anyio.to_thread.current_default_thread_limiter()
        for number in range(int(threads.total_tokens) - 1):
            threads.acquire_on_behalf_of_nowait(number)
        async with asyncio.timeout(20):
            await story(Api(hub, keys))

    asyncio.run(timed())


def test_held_requests_keep_no_thread_and_are_answered_for_the_clinic_that_has_work(hub, keys):
    async def story(api):
        anna, bert = api.hold("anna"), api.hold("bert")
        await api.held("anna", "bert")
        assert (await api.ask("anna"))["work"] is False  # the only thread is free
        hub.bell.ring("bert")
        assert (await bert)["work"] is True and not anna.done()
        hub.bell.close()
        assert (await anna)["work"] is False

    run(hub, keys, story)


def test_what_happened_while_a_request_was_held_is_in_its_answer(hub, keys):
    async def story(api):
        anna, bert = api.hold("anna"), api.hold("bert")
        await api.held("anna", "bert")
        hub.membership.suspend("anna", "three wild replies", by="me")
        hub.membership.revoke("bert", "lost", by="me")
        hub.bell.ring("anna")
        hub.bell.ring("bert")
        told = await anna
        assert (told["state"], told["reason"]) == ("suspended", "three wild replies")
        told = await bert
        assert (told["state"], told["link"], told["finished"]) == ("revoked", None, None)

    run(hub, keys, story)


def test_trainer_that_was_restarted_while_its_request_was_held_is_no_second_place(hub, keys):
    async def story(api):
        before = api.hold("anna", "a" * 16)
        await api.held("anna")
        after = api.hold("anna", "b" * 16)
        await before
        hub.bell.ring("anna")
        assert (await after)["work"] is True

    run(hub, keys, story)
    assert hub.membership.sessions.twice() == {}


def test_retired_key_is_answered_at_once(hub, keys):
    hub.membership.revoke("anna", "lost", by="me")

    async def story(api):
        assert (await api.ask("anna", hold=30.0))["state"] == "revoked"

    run(hub, keys, story)
