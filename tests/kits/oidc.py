"""A small OpenID Connect provider over TLS: authorization code flow with PKCE, one client, and any lie that a test asks for."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from kits.answering import answering, reply
from kits.proxy import Proxy
from kits.tls import Authority

HOST, CLIENT, SECRET, CONSOLE = (
    "login.hospital.example",
    "embryofl",
    "a secret of the client's",
    "http://localhost:7860",
)
Claims = dict[str, Any]


class OpenIdProvider:
    """Everybody who comes logs in as `claims` say.

    Attributes
    ----------
    claims : dict
        Of the account: `sub`, and what else there is.
    lie : callable
        Makes of the true claims those of the token; None is the truth.
    sign : callable
        Makes a token of claims; None is an honest signature.
    discovery : dict
        What its description says other than the truth.
    redirects : set of str
        Addresses to which it sends browsers back.
    """

    def __init__(self) -> None:
        self.issuer = ""
        self.key = ECKey.generate_key("P-256", {"kid": "1", "use": "sig"})
        self.forget()
        self._codes: dict[str, dict[str, str]] = {}

    def forget(self) -> None:
        """Be honest again, with one account."""
        self.claims: Claims = {"sub": "7f3a"}
        self.lie: Callable[[Claims], Claims] = dict
        self.sign: Callable[[Claims], str] = self.signed
        self.discovery: dict[str, str] = {}
        self.redirects = {f"{CONSOLE}/login/back"}

    def signed(self, claims: Claims, key: Any = None, algorithm: str = "ES256") -> str:
        """A token."""
        return jwt.encode({"alg": algorithm, "kid": "1"}, claims, key or self.key, algorithms=[algorithm])

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        asked = urlsplit(handler.path)
        if asked.path == "/authorize":
            self._authorize(handler, {name: values[0] for name, values in parse_qs(asked.query).items()})
        elif asked.path == "/token":
            self._token(handler)
        else:
            places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            truth = {"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in places.items()}}
            keys = {"keys": [self.key.as_dict(private=False)]}
            reply(handler, json.dumps(keys if asked.path == "/keys" else {**truth, **self.discovery}).encode())

    def _authorize(self, handler: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        if (
            asked["client_id"] != CLIENT
            or asked["redirect_uri"] not in self.redirects
            or asked["response_type"] != "code"
        ):
            reply(handler, b"not a client of ours", 400)
            return
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        handler.send_response(302)
        handler.send_header("Location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _token(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        form = {name: values[0] for name, values in parse_qs(handler.rfile.read(length).decode()).items()}
        handler.headers.replace_header("Content-Length", "0")  # it is read
        begun = self._codes.pop(form["code"], None)
        login = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            begun is None
            or handler.headers["Authorization"] != login
            or form["redirect_uri"] != begun["redirect_uri"]
            or (begun["code_challenge_method"], begun["code_challenge"]) != ("S256", challenge)
        ):
            reply(handler, b'{"error": "invalid_grant"}', 400)
            return
        now = int(time.time())
        truth = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": begun["nonce"],
            **self.claims,
        }
        token = {"access_token": "a", "token_type": "Bearer", "id_token": self.sign(self.lie(truth))}
        reply(handler, json.dumps(token).encode())

    def browse(self, address: str, authority: Path, proxy: str) -> dict[str, str]:
        """What a browser that was sent to the provider comes back with."""
        with httpx.Client(verify=str(authority), proxy=proxy, trust_env=False) as browser:
            response = browser.get(address)
        assert response.status_code == 302, response.text
        return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}

    def unsigned(self, claims: Claims) -> str:
        """A token with the algorithm `none`."""
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."

    def signed_with_the_clients_secret(self, claims: Claims) -> str:
        """A token that everybody who has the client's secret can make."""
        return self.signed(claims, OctKey.import_key(SECRET + " " * 8), "HS256")

    def signed_with_another_key(self, claims: Claims) -> str:
        """A token of a key that the provider does not publish."""
        return self.signed(claims, ECKey.generate_key("P-256", {"kid": "1"}))


@contextmanager
def provider_at(folder: Path) -> Iterator[tuple[OpenIdProvider, dict[str, Any], Proxy]]:
    """A provider, the settings of a hub that uses it, and the proxy that is the only way to it: no name server knows its
    name."""
    provider, authority = OpenIdProvider(), Authority()
    (folder / "ca.pem").write_text(authority.pem)
    (folder / "secret").write_text(SECRET + "\n")
    with answering(provider.answer, authority.context(folder, HOST)) as server, Proxy({HOST: "127.0.0.1"}) as proxy:
        provider.issuer = f"https://{HOST}:{server.server_port}"
        settings = {
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret_file": folder / "secret",
            "oidc_console": CONSOLE,
            "oidc_proxy": f"http://127.0.0.1:{proxy.port}",
            "oidc_ca": folder / "ca.pem",
        }
        yield provider, settings, proxy
