"""The SuperLink's own process: flwr's SuperLink behind a `Guard`.

flwr asks an extension for further middleware, for which its open-source build has no place: its question is answered here.
"""

import base64
import sys
from pathlib import Path

from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from flwr.superlink import extensions
from flwr.superlink.cli import flower_superlink
from starlette.middleware import Middleware
from starlette.requests import Request

from embryofl_server.federation.guard import Guard, token_of


def _is_clinic(request: Request) -> bool:
    """Whether an enrolled key has signed the request's time. flwr checks time and node once it has read the body."""
    try:
        key = base64.b64decode(request.headers[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
        signature = base64.b64decode(request.headers[FLEET_HTTP_SIGNATURE_HEADER], validate=True)
        time_ = request.headers[TIMESTAMP_HEADER].encode()
        known = request.app.state.linkstate_factory.state().get_node_id_by_public_key(key) is not None
        return known and verify_signature(bytes_to_public_key(key), time_, signature)
    except (KeyError, ValueError):
        return False


def serve(host: str, port: int, folder: Path) -> None:
    """Be the SuperLink until SIGTERM: flwr's own, behind a `Guard`. `folder` has its certificate and SuperExec secret."""
    secret = folder / "superexec.secret"
    guard = Middleware(Guard, token=token_of(secret.read_bytes()), is_clinic=_is_clinic)
    extensions.get_middleware = lambda: (guard,)
    sys.argv = [
        "flower-superlink",
        f"--host={host}",
        f"--port={port}",
        f"--ssl-ca-certfile={folder}/ca.crt",
        f"--ssl-certfile={folder}/superlink.crt",
        f"--ssl-keyfile={folder}/superlink.key",
        "--enable-supernode-auth",
        "--isolation=process",
        "--disable-runtime-dependency-installation",
        f"--superexec-auth-secret-file={secret}",
    ]
    flower_superlink()
