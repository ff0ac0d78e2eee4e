"""Run by the console's own Python: every route of the application, as JSON lines of methods and path."""

import json
from typing import Any

from embryofl_console.app import create_app
from embryofl_console.hub import HubClient
from embryofl_console.settings import ConsoleSettings


def routes(node: Any) -> Any:
    """All routes below a router, an application or a mount, however FastAPI nests them."""
    if getattr(node, "path", None) and getattr(node, "methods", None):
        yield sorted(node.methods), node.path
    inside = [getattr(node, name, None) for name in ("app", "original_router")]
    for child in [*(getattr(node, "routes", None) or []), *(x for x in inside if hasattr(x, "routes"))]:
        yield from routes(child)


settings = ConsoleSettings()
for methods, path in routes(create_app(settings, HubClient(settings)).app):  # type: ignore[attr-defined]
    print(json.dumps([methods, path]))
