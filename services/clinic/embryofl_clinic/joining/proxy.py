"""The clinic's proxy on the way to the hub."""

import contextlib
import ipaddress
import urllib.parse
import urllib.request

from embryofl.errors import UserError

_LOOPBACK = ("localhost", "127.", "::1", "[::1]")


def proxy_for(hub: str) -> str:
    """The proxy on the way to an address (host:port), from HTTPS_PROXY, ALL_PROXY and NO_PROXY; "" when there is none.
    This machine itself is never reached through a proxy.

    Raises
    ------
    UserError
        When it is not an HTTP proxy.
    """
    host = hub.rpartition(":")[0]
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all") or ""
    if not proxy or host.startswith(_LOOPBACK) or _bypassed(hub, proxies):
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    parts = urllib.parse.urlsplit(proxy)
    try:
        usable = parts.scheme == "http" and parts.hostname and (parts.port or 80)
    except ValueError:  # the port is not a number
        usable = None
    if not usable:
        raise UserError(
            "C3",
            f"HTTPS_PROXY is {shown(proxy)}, which cannot be used. Expected the address of an HTTP proxy, such as "
            "http://proxy.example:3128. List hosts to reach without it in NO_PROXY.",
        )
    return proxy


def _bypassed(hub: str, proxies: dict[str, str]) -> bool:
    """Whether NO_PROXY names an address (host:port): as the standard library reads it (names, domains with and without a
    leading dot, with a port, `*`), and also `*.domain` and ranges of IP addresses. No name is resolved for a range."""
    if urllib.request.proxy_bypass_environment(hub, proxies):  # type: ignore[attr-defined]
        return True
    host = hub.rpartition(":")[0].lower()
    for word in (w.strip().lower() for w in proxies.get("no", "").split(",")):
        if word.startswith("*.") and host.endswith(word[1:]):
            return True
        with contextlib.suppress(ValueError):  # not an address, or not a range
            if ipaddress.ip_address(host) in ipaddress.ip_network(word, strict=False):
                return True
    return False


def shown(proxy: str) -> str:
    """A proxy without its password."""
    parts = urllib.parse.urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
