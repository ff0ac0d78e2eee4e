"""Every route of an application, however FastAPI nests them."""

import re
from collections.abc import Iterator
from typing import Any


def routes(node: Any) -> Iterator[tuple[str, str]]:
    """Method and path of all routes below a router, an application or a mount."""
    if getattr(node, "path", None) and getattr(node, "methods", None):
        yield from ((method, node.path) for method in sorted(node.methods))
    inside = [getattr(node, name, None) for name in ("app", "original_router")]
    for child in [*(getattr(node, "routes", None) or []), *(x for x in inside if hasattr(x, "routes"))]:
        yield from routes(child)


def filled(path: str) -> str:
    """A path with something for each of its parameters."""
    return re.sub(r"{[^}]+}", "x", path)
