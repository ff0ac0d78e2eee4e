"""`python -m embryofl.probe URL`: whether a service replies, for container health checks.

It imports the standard library alone: a check runs every few seconds in every container, and it must not fail only because
training keeps the machine busy.
"""

import argparse
import http.client
import ssl
import sys
from http import HTTPStatus
from urllib.parse import urlsplit

_TIMEOUT_S = 20.0


def find_fault(url: str, ca: str = "", host: str = "") -> str:
    """Say what is wrong with the reply of `url`: no reply, or a status of 500 and above; "" when nothing is.

    `ca` is a file with the certificate authority of an https address, `host` a Host header other than the address's.
    """
    parts = urlsplit(url)
    try:
        where = (parts.hostname or "", parts.port)
        connection = (
            http.client.HTTPSConnection(*where, timeout=_TIMEOUT_S, context=ssl.create_default_context(cafile=ca))
            if parts.scheme == "https"
            else http.client.HTTPConnection(*where, timeout=_TIMEOUT_S)
        )
        connection.request("GET", parts.path or "/", headers={"Host": host} if host else {})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        return f"{url} does not reply: {exc}."
    return f"{url} replies with status {status}." if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ""


def main() -> None:
    """Entry point: exit code 0, or 1 with the fault in one line."""
    parser = argparse.ArgumentParser(prog="python -m embryofl.probe", description="Check that a service replies.")
    parser.add_argument("url")
    parser.add_argument("--ca", default="", help="the certificate authority of an https address")
    parser.add_argument("--host", default="", help="the Host header, if it is not the address")
    options = parser.parse_args()
    sys.exit(find_fault(options.url, options.ca, options.host) or None)


if __name__ == "__main__":
    main()
