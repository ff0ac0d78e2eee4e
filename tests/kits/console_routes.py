"""Run by the console's own Python: every route of the application, as JSON lines of methods and path."""

import json
from typing import Any

from embryofl_console.app import create_app
from embryofl_console.hub import HubClient
from embryofl_console.settings import ConsoleSettings


def routes(found: Any) -> Any:
    """All routes below a router, an application or a mount, however FastAPI nests them."""
    if getattr(found, "path", None) and getattr(found, "methods", None):
        yield sorted(found.methods), found.path
    inside = [getattr(found, name, None) for name in ("app", "original_router")]
    for each in [*(getattr(found, "routes", None) or []), *(x for x in inside if hasattr(x, "routes"))]:
        yield from routes(each)


settings = ConsoleSettings()
for methods, path in routes(create_app(settings, HubClient(settings)).app):  # type: ignore[attr-defined]
    print(json.dumps([methods, path]))
