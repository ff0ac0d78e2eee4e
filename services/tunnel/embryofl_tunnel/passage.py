"""The way to the institution's login, for a hub that has none to other machines: an HTTP proxy that allows CONNECT to a few
named hosts and nothing else. It passes on ciphertext: TLS begins in the hub's server, which checks the other end itself.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection

log = logging.getLogger("embryofl.passage")

HEAD_S, CONNECT_S, OPEN_S = 10.0, 10.0, 60.0  # a login takes a few seconds
HEAD_BYTES = 1 << 13
MOST_AT_ONCE = 32


class Passage:
    """The proxy.

    Parameters
    ----------
    hosts : collection of str
        `host:port` of each machine that may be reached.
    """

    def __init__(self, hosts: Collection[str]) -> None:
        self._hosts, self._open = frozenset(hosts), 0

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Listen at an address; port 0 is any."""
        return await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES)

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            with contextlib.suppress(OSError, TimeoutError):  # either end has gone, or is too slow
                async with asyncio.timeout(OPEN_S):
                    await self._pass_on(near, back)
        finally:
            self._open -= 1
            back.close()

    async def _pass_on(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = await near.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        method, _, rest = head.decode("latin-1").partition(" ")
        target = rest.partition(" ")[0]
        if method != "CONNECT" or target not in self._hosts or self._open > MOST_AT_ONCE:
            log.warning("refused: %s %.100r", method[:10], target)
            back.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            await back.drain()
            return
        host, _, port = target.rpartition(":")
        try:
            async with asyncio.timeout(CONNECT_S):
                far, there = await asyncio.open_connection(host, int(port))
        except (OSError, TimeoutError) as exc:
            log.warning("%s cannot be reached: %s", target, exc)
            back.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await back.drain()
            return
        try:
            back.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ways = [asyncio.create_task(_copy(near, there)), asyncio.create_task(_copy(far, back))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        finally:
            there.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()


async def serve(hosts: Collection[str], host: str, port: int) -> None:
    """Serve until cancelled."""
    server = await Passage(hosts).listen(host, port)
    log.info("the hub may reach %s", ", ".join(sorted(hosts)))
    async with server:
        await server.serve_forever()
