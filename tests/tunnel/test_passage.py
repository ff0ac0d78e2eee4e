"""The way to the institution's login: to the named machines, and to nothing else."""

import asyncio

import pytest
import yaml
from typer.testing import CliRunner

from embryofl_tunnel import passage
from embryofl_tunnel.cli import app
from kits.house import ROOT


async def asked(port: int, text: str) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """The status of the proxy's answer, and the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    status = (await reader.readline()).decode().strip()
    return status, reader, writer


async def shouting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readline()).upper())
    await writer.drain()


async def status_of(method_and_target: str) -> str:
    """Of a passage that leads to one machine, `{far}`; a second one, `{other}`, runs beside it."""
    far, other = [await asyncio.start_server(shouting, "127.0.0.1", 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in (far, other)]
    proxy = await passage.Passage([f"localhost:{ports[0]}"]).listen("127.0.0.1", 0)
    line = method_and_target.format(far=ports[0], other=ports[1])
    async with far, other, proxy:
        status, reader, writer = await asked(proxy.sockets[0].getsockname()[1], f"{line} HTTP/1.1\r\nHost: x\r\n\r\n")
        if "200" in status:
            writer.write(b"hello\n")
            assert (await reader.readline(), await reader.readline()) == (b"\r\n", b"HELLO\n")
        writer.close()
        await writer.wait_closed()
    return status


def test_passage_leads_to_the_named_machine():
    assert asyncio.run(status_of("CONNECT localhost:{far}")) == "HTTP/1.1 200 Connection established"


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT localhost:{other}",
        "CONNECT 127.0.0.1:{far}",
        "CONNECT LOCALHOST:{far}",
        "CONNECT localhost:{far}@127.0.0.1:{other}",
        "GET http://localhost:{far}/",
        "POST http://localhost:{other}/",
        "",
    ],
)
def test_passage_leads_nowhere_else(line):
    assert asyncio.run(status_of(line)) == "HTTP/1.1 403 Forbidden"


def test_only_the_passage_has_a_way_to_the_provider():
    services = yaml.safe_load((ROOT / "compose.oidc.yaml").read_text())["services"]
    before = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert (
        set(services) == {"server", "passage"}
        and "networks" not in services["server"]
        and "ports" not in services["passage"]
    )
    assert before["services"]["server"]["networks"] == ["fleet", "hub"]
    assert all(before["networks"][name]["internal"] for name in ("fleet", "hub"))
    listens = services["passage"]["command"][services["passage"]["command"].index("--host") + 1]
    assert listens in services["passage"]["networks"]["hub"]["aliases"] and services["passage"]["read_only"]
    assert services["server"]["environment"]["EMBRYOFL_OIDC_PROXY"] == f"http://{listens}:3128"
    used = '[ -z "${EMBRYOFL_OIDC_ISSUER:-}" ] || files+=(-f compose.oidc.yaml)'
    assert used in (ROOT / "scripts" / "compose.sh").read_text()


def test_silent_or_endless_request_is_dropped(monkeypatch):
    monkeypatch.setattr(passage, "HEAD_S", 0.1)

    async def replies() -> list[bytes]:
        async with await passage.Passage(["localhost:1"]).listen("127.0.0.1", 0) as proxy:
            port = proxy.sockets[0].getsockname()[1]
            found = []
            for text in (b"CONNECT", b"CONNECT " + b"x" * 9000):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(text)
                found.append(await reader.read())
                writer.close()
            return found

    assert asyncio.run(replies()) == [b"", b""]


def test_machine_without_a_port_is_rejected():
    result = CliRunner().invoke(app, ["passage", "login.hospital.example"])
    assert "Expected HOST:PORT" in str(result.exception)
