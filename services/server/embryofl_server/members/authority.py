"""The clinics' trust in this hub: certificates renewed in time, an authority changed without leaving anybody behind."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.membership import trust_mark
from embryofl_server.members.identity import HubIdentity
from embryofl_server.members.proofs import fingerprint
from embryofl_server.members.store import GONE, ClinicStore

log = logging.getLogger("embryofl.authority")

LOOK_S = (
    3600.0  # between two looks whether the certificate has to be renewed; sooner where it is made for less than days
)


class Authority:
    """Renews the gateway's certificate, and knows which clinics have taken a new authority.

    Parameters
    ----------
    identity : HubIdentity
    store : ClinicStore
    audit : callable
        Writes to the audit log.
    days : float
        For which the gateway's certificate is made.
    """

    def __init__(self, identity: HubIdentity, store: ClinicStore, audit: Callable[..., None], days: float) -> None:
        self._identity, self._store, self._audit = identity, store, audit
        self._look_s = min(LOOK_S, days * 86_400 / 12)
        self._path = identity.folder / "trusts.json"  # by fingerprint of a clinic's key: the mark of what it trusts
        self._trusts = _read(self._path)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="certificates", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()

    def _renew(self) -> None:
        while not self._closing.wait(self._look_s):
            try:
                if self._identity.refresh():
                    log.info("the gateway's certificate was renewed; clinics need do nothing")
                    self._audit("certificate_renewed")
            except Exception:  # tried again; an alert tells of a certificate that comes to its end
                log.exception("the gateway's certificate could not be renewed")

    def heard(self, public_key: str, mark: str) -> None:
        """A clinic says what it trusts."""
        key = fingerprint(public_key)
        if mark and self._trusts.get(key) != mark:
            self._trusts[key] = mark
            write_atomic(self._path, json.dumps(self._trusts).encode(), mode=0o600)

    def missing(self) -> list[str]:
        """The clinics that have not taken the new authority yet."""
        mark = trust_mark(self._identity.ca.decode())
        clinics = [c for c in self._store.clinics().values() if c.state not in GONE]
        return sorted(c.name for c in clinics if self._trusts.get(fingerprint(c.public_key)) != mark)

    def state(self) -> dict[str, Any]:
        """For the status: when the gateway's certificate ends, whether the authority is being changed, who is missing."""
        rotating = self._identity.rotating
        return {
            "certificate_ends": self._identity.expires("gateway/gateway.crt"),
            "authority_ends": self._identity.expires("ca.crt"),
            "rotating": rotating,
            "missing": self.missing() if rotating else [],
        }

    def begin(self, by: str) -> dict[str, Any]:
        """Make a new authority. From now on clinics are told to trust both, and new invites carry both.

        Raises
        ------
        UserError
            When this has begun already.
        """
        if self._identity.rotating:
            raise UserError("The authority is being changed already. " + self._next_step())
        self._identity.begin_rotation()
        self._audit("authority_change_begun", by=by)
        log.warning("the hub's authority is being changed: clinics learn of the new one by themselves")
        return self.state()

    def finish(self, by: str, without: list[str]) -> dict[str, Any]:
        """End the trust in the old authority: the gateway shows a certificate of the new one.

        Parameters
        ----------
        by : str
        without : list of str
            Clinics that may be left behind: they have not taken the new authority and cannot reach the hub any more.

        Raises
        ------
        UserError
            When nothing was begun, or a clinic would be left behind that is not named.
        """
        if not self._identity.rotating:
            raise UserError("The authority is not being changed. Begin with: embryofl-server rotate-ca")
        missing = self.missing()
        if set(missing) - set(without):
            raise UserError(
                f"{', '.join(sorted(set(missing) - set(without)))} would be left behind: not seen since the new authority "
                "was made. " + self._next_step()
            )
        begun = (self._identity.folder / "ca-next.crt").stat().st_mtime
        old = [i for i in self._store.invites() if i.state == "open" and i.created < begun]
        self._identity.finish_rotation()
        for invite in old:
            self._store.withdraw_invite(invite.name, "It carries an authority of the hub that is trusted no more")
        self._audit("authority_changed", by=by, left_behind=missing, invites_withdrawn=[i.name for i in old])
        log.warning("the hub's authority is changed%s", f"; left behind: {', '.join(missing)}" if missing else "")
        return {**self.state(), "left_behind": missing, "withdrawn": [i.name for i in old]}

    def _next_step(self) -> str:
        missing = self.missing()
        if not missing:
            return "All clinics have taken the new one. End it with: embryofl-server rotate-ca --finish"
        without = " ".join(f"--without {n}" for n in missing)
        return (
            f"Wait until {', '.join(missing)} has been connected once, or leave behind by name, which then needs a new "
            f"invite (embryofl-server invite NAME --again; its key and membership stay): embryofl-server rotate-ca "
            f"--finish {without}"
        )


def _read(path: Path) -> dict[str, str]:
    try:
        return {str(k): str(v) for k, v in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}
