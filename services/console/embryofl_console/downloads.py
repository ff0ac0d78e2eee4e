"""Files of a run, passed on from the hub to a logged-in coordinator."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from embryofl.errors import UserError
from embryofl_console.hub import HubClient
from embryofl_console.texts import texts

_MEDIA = {
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "safetensors": "application/octet-stream",
}
KINDS = {name: _MEDIA[name.rpartition(".")[2]] for name in texts.file}
"""Served as attachments and never as pages: the card's HTML is shown in a sandboxed frame."""


def routes(client: HubClient) -> APIRouter:
    """The route; the guard checks the login."""
    router = APIRouter()

    @router.get("/download/{run}/{name}")
    def download(run: Annotated[str, Path(pattern=r"^run-[0-9]{4,9}$")], name: str) -> Response:
        if name not in KINDS:
            return PlainTextResponse(texts.access.no_file.format(names=", ".join(KINDS)), 404)
        try:
            length, chunks = client.stream(f"/control/runs/{run}/files/{name}")
        except UserError as exc:
            return PlainTextResponse(str(exc), 404)
        headers = {"Content-Disposition": f'attachment; filename="{run}-{name}"', "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(chunks, media_type=KINDS[name], headers=headers | length)

    return router
