"""Files of a run, passed on from the hub to who is logged in."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from embryofl.errors import UserError
from embryofl_console import texts
from embryofl_console.hub import HubClient

KINDS = {
    "results.json": "application/json",
    "model-card.json": "application/json",
    "model-card.md": "text/markdown; charset=utf-8",
    "model-card.html": "text/html; charset=utf-8",
    "model.json": "application/json",
    "model.safetensors": "application/octet-stream",
}
"""What may be had. Always as a file to keep and never as a page: the card's HTML is shown in a frame of its own."""


def routes(client: HubClient) -> APIRouter:
    """The route; the guard sees to the login."""
    router = APIRouter()

    @router.get("/download/{run}/{name}")
    def download(run: Annotated[str, Path(pattern=r"^run-[0-9]{4,9}$")], name: str) -> Response:
        if name not in KINDS:
            return PlainTextResponse(texts.NO_FILE.format(names=", ".join(KINDS)), 404)
        try:
            length, chunks = client.stream(f"/control/runs/{run}/files/{name}")
        except UserError as exc:
            return PlainTextResponse(str(exc), 404)
        headers = {"Content-Disposition": f'attachment; filename="{run}-{name}"', "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(chunks, media_type=KINDS[name], headers=headers | length)

    return router
