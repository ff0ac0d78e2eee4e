"""Where idle clinics wait for work: they are told at once, once, and each holds one request."""

import asyncio

import pytest

from embryofl_server.federation.bell import Bell

LONG_S = 30.0


@pytest.fixture
def bell():
    return Bell()


def both(*waits):
    async def gathered():
        async with asyncio.timeout(5):
            return await asyncio.gather(*waits)

    return asyncio.run(gathered())


async def soon(action, *args):
    """Do something in another thread once the others wait."""
    await asyncio.sleep(0.02)
    await asyncio.to_thread(action, *args)


def test_clinic_that_waits_is_told_at_once_and_no_other(bell):
    told = both(bell.wait("anna", LONG_S), bell.wait("bert", 0.1), soon(bell.ring, "anna"))
    assert told == [True, False, None]
    assert both(bell.wait("anna", 0.01)) == [False]  # once


def test_clinic_that_did_not_wait_is_told_when_it_asks(bell):
    bell.ring("anna")
    assert both(bell.wait("anna", LONG_S)) == [True]


def test_later_request_of_a_clinic_ends_the_one_before_and_is_the_one_that_is_told(bell):
    told = both(bell.wait("anna", LONG_S), bell.wait("anna", LONG_S), soon(bell.ring, "anna"))
    assert told == [False, True, None]
    assert not bell._waiting


def test_end_of_the_server_ends_all_waits(bell):
    assert both(bell.wait("anna", LONG_S), bell.wait("bert", LONG_S), soon(bell.close)) == [False, False, None]
    assert both(bell.wait("anna", LONG_S)) == [False]
