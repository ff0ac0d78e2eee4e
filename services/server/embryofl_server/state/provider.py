"""Login by the institution's provider (OpenID Connect): the authorization code flow with PKCE, state and nonce.

The server itself asks the provider, over TLS, and checks what it says; the console only sends browsers there and back. What
is believed is the ID token: its signature by the provider's keys, issuer, audience, times and nonce, checked by Authlib. It
says which account has logged in. Whether that is a person of this hub, `People` decides.
"""

import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from embryofl.errors import UserError
from embryofl_server.settings import HubSettings

if TYPE_CHECKING:
    from authlib.integrations.requests_client import OAuth2Session

ALGORITHMS = [f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)] + ["EdDSA"]
"""Of signatures: by the provider's own key alone. Neither `none` nor one with a secret that this hub has, too."""
KINDS = ("RSA", "EC", "OKP")  # of keys with which these are made
LEEWAY_S = 60  # between the clocks
UNDER_WAY_S, MOST_UNDER_WAY = 600.0, 100
ANSWER_S = 10.0
BACK = "/login/back"
"""The console's path to which the provider sends browsers back."""


@dataclass(frozen=True)
class Account:
    """Who has logged in at the provider. `email`: "" unless the provider has verified it."""

    issuer: str
    sub: str
    email: str

    @property
    def name(self) -> str:
        """Issuer and `sub`: what a person is bound to."""
        return f"{self.issuer} {self.sub}"


@dataclass(frozen=True)
class _UnderWay:
    """A login at the provider from which the browser has not come back yet."""

    nonce: str
    verifier: str
    ends: float


def provider_of(settings: HubSettings) -> "Provider | None":
    """The institution's provider, None where none is set. `UserError` for settings that do not fit."""
    if not settings.oidc_issuer:
        if settings.oidc_only:
            raise UserError(
                "S7", "EMBRYOFL_OIDC_ONLY is set without a provider: nobody could log in. Set EMBRYOFL_OIDC_ISSUER."
            )
        return None
    if not settings.oidc_issuer.startswith("https://") or not settings.oidc_client_id:
        raise UserError(
            "S7",
            f"The institution's login cannot be used: EMBRYOFL_OIDC_ISSUER is {settings.oidc_issuer!r} and "
            f"EMBRYOFL_OIDC_CLIENT_ID {settings.oidc_client_id!r}. Expected an address with https:// and the id that the "
            "provider gave this hub.",
        )
    console = urlsplit(settings.oidc_console)
    if console.scheme not in ("http", "https") or not console.hostname or console.path.strip("/") or console.query:
        raise UserError(
            "S7",
            f"EMBRYOFL_OIDC_CONSOLE is {settings.oidc_console!r}. Expected the console's address as browsers have it, such "
            "as http://localhost:7860.",
        )
    for path in (settings.oidc_client_secret_file, settings.oidc_ca):
        if path and not path.is_file():
            raise UserError(
                "S7",
                f"{path}, which a setting EMBRYOFL_OIDC_ names, is not a file. Expected one that the hub may read.",
            )
    return Provider(settings)


class Provider:
    """The institution's provider; safe to use from several threads.

    Parameters
    ----------
    settings : HubSettings
        Of these: those that begin with `oidc_`, which `provider_of` has checked.
    """

    def __init__(self, settings: HubSettings) -> None:
        self.issuer = settings.oidc_issuer
        self._settings, self._lock = settings, threading.Lock()
        self._under_way: dict[str, _UnderWay] = {}  # by state, in memory: a restart of the hub ends them

    def begin(self) -> tuple[str, str]:
        """Begin a login: where the browser is to go, and the state with which it comes back, once, within ten minutes.
        `UserError` when the provider cannot be reached."""
        metadata = self._metadata()
        state, now = secrets.token_urlsafe(32), time.monotonic()
        login = _UnderWay(secrets.token_urlsafe(32), secrets.token_urlsafe(48), now + UNDER_WAY_S)
        address, _ = self._session(metadata).create_authorization_url(
            metadata["authorization_endpoint"], state=state, nonce=login.nonce, code_verifier=login.verifier
        )
        with self._lock:
            self._under_way = {key: other for key, other in self._under_way.items() if other.ends > now}
            while len(self._under_way) >= MOST_UNDER_WAY:
                del self._under_way[next(iter(self._under_way))]
            self._under_way[state] = login
        return str(address), state

    def finish(self, state: str, code: str) -> Account:
        """Who has logged in, by what the browser brings back. `UserError` for a state that was not given out, was used or
        is too old, and for whatever the provider does not vouch for."""
        from authlib.common.errors import AuthlibBaseError
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet
        from requests import RequestException

        with self._lock:
            login = self._under_way.pop(state, None)
        if login is None or login.ends < time.monotonic():
            raise UserError(
                "H9", "This login was not begun here, was used, or took longer than ten minutes. Log in again."
            )
        metadata = self._metadata()
        published = self._read(metadata["jwks_uri"])
        try:
            keys = [key for key in published["keys"] if key["kty"] in KINDS]
            token = self._session(metadata).fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=login.verifier,
                allow_redirects=False,  # what goes there is a secret
            )
            read = jwt.decode(token["id_token"], KeySet.import_key_set({"keys": keys}), algorithms=ALGORITHMS)
            wanted = {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self._settings.oidc_client_id},
                "sub": {"essential": True},
            }
            known = {
                "nonce": login.nonce,
                "client_id": self._settings.oidc_client_id,
                "access_token": token.get("access_token"),
            }
            claims = CodeIDToken(read.claims, read.header, wanted, known)
            claims.validate(leeway=LEEWAY_S)
        except RequestException as exc:
            raise self._away(exc) from exc
        except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError) as exc:
            why = f"{type(exc).__name__}: {exc}"[:300]
            raise UserError(
                "H9", f"The institution's login was not accepted ({why}). Nobody was logged in. Log in again."
            ) from exc
        sub, email = claims["sub"], claims.get("email")
        if not isinstance(sub, str) or not 0 < len(sub) <= 255 or not sub.isprintable():
            raise UserError("H9", "The institution's login names no account (sub). Nobody was logged in.")
        verified = claims.get("email_verified") is True and isinstance(email, str) and " " not in email
        return Account(self.issuer, sub, email if verified else "")

    def _session(self, metadata: dict[str, Any]) -> "OAuth2Session":
        from authlib.integrations.requests_client import OAuth2Session

        secret = self._settings.oidc_client_secret_file
        accepted = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        by_secret = "client_secret_basic" if "client_secret_basic" in accepted else "client_secret_post"
        session = OAuth2Session(
            self._settings.oidc_client_id,
            secret.read_text().strip() if secret else None,
            token_endpoint_auth_method=by_secret if secret else "none",
            scope="openid email",
            redirect_uri=self._settings.oidc_console.rstrip("/") + BACK,
            code_challenge_method="S256",
            default_timeout=ANSWER_S,
        )
        session.trust_env, session.verify = False, str(self._settings.oidc_ca) if self._settings.oidc_ca else True
        session.proxies = {"https": self._settings.oidc_proxy} if self._settings.oidc_proxy else {}
        return session

    def _metadata(self) -> dict[str, Any]:
        """What the provider says of itself: asked each time, as logins are rare. `UserError` unless it is this issuer, and
        all that is asked of it goes over TLS."""
        metadata = self._read(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if metadata.get("issuer") != self.issuer:
            raise UserError(
                "H9",
                f"The institution's login calls itself {str(metadata.get('issuer'))[:200]!r}. Expected {self.issuer!r}: "
                "compare EMBRYOFL_OIDC_ISSUER.",
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not str(metadata.get(name)).startswith("https://"):
                raise UserError("H9", f"The institution's login has no {name} with https://. Expected one.")
        return metadata

    def _read(self, address: str) -> dict[str, Any]:
        from requests import RequestException

        try:
            response = self._session({}).request("GET", address, withhold_token=True, allow_redirects=False)
            response.raise_for_status()
            found = response.json()
        except (RequestException, ValueError) as exc:
            raise self._away(exc) from exc
        if not isinstance(found, dict):
            raise UserError(
                "H9", f"{address} does not answer as the institution's login. Compare EMBRYOFL_OIDC_ISSUER."
            )
        return found

    def _away(self, why: Exception) -> UserError:
        return UserError(
            "H9",
            f"The institution's login at {self.issuer} does not answer ({type(why).__name__}). In containers the hub has "
            "no way to other machines but the one that EMBRYOFL_OIDC_PROXY names: see docs/operations.md. On the hub's "
            "machine commands work without a login.",
        )
