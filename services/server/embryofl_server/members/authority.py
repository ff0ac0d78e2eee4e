"""The clinics' trust in this hub: renews certificates in time, and replaces the certificate authority (CA) gradually."""

import json
import logging
import threading
from typing import Any

from embryofl.clinic_keys import fingerprint
from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.membership import trust_mark
from embryofl_server.audit.log import AuditLog
from embryofl_server.members.identity import HubIdentity
from embryofl_server.members.store import GONE, ClinicStore

log = logging.getLogger("embryofl.authority")

CHECK_S = 3600.0  # between two checks of the gateway's certificate; shorter for certificates that last less than days


class Authority:
    """Renews the gateway's certificate, and records which clinics trust a new CA.

    Parameters
    ----------
    identity : HubIdentity
    store : ClinicStore
    audit : AuditLog
    days : float
        How long the gateway's certificate is valid.
    """

    def __init__(self, identity: HubIdentity, store: ClinicStore, audit: AuditLog, days: float) -> None:
        self._identity, self._store, self._audit = identity, store, audit
        self._check_s = min(CHECK_S, days * 86_400 / 12)
        self._path = identity.folder / "trusts.json"  # fingerprint of a clinic's key: mark of the CAs that it trusts
        self._trusts: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="certificates", daemon=True)

    def start(self) -> None:
        """Start the thread that renews."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()

    def _renew(self) -> None:
        while not self._closing.wait(self._check_s):
            try:
                if self._identity.refresh():
                    log.info("the gateway's certificate was renewed; clinics need do nothing")
                    self._audit.write("certificate_renewed")
            except Exception:  # retried; an alert fires when a certificate is about to expire
                log.exception("the gateway's certificate could not be renewed")

    def record_trust(self, public_key: str, mark: str) -> None:
        """Record what the clinic with this key trusts (`trust_mark`)."""
        key = fingerprint(public_key)
        if self._trusts.get(key) != mark:
            self._trusts[key] = mark
            write_atomic(self._path, json.dumps(self._trusts).encode(), mode=0o600)

    def missing(self) -> list[str]:
        """The clinics that do not trust the new CA yet."""
        mark = trust_mark(self._identity.ca.decode())
        clinics = [c for c in self._store.clinics().values() if c.state not in GONE]
        return sorted(c.name for c in clinics if self._trusts.get(fingerprint(c.public_key)) != mark)

    def state(self) -> dict[str, Any]:
        """For the status: when the certificates expire, why the signer does not answer ("": it does), whether the CA is
        being replaced, which clinics are missing."""
        rotating = self._identity.rotating
        return {
            "certificate_ends": self._identity.expires("gateway/gateway.crt"),
            "authority_ends": self._identity.expires("ca.crt"),
            "signer": self._identity.signer.trouble(),
            "rotating": rotating,
            "missing": self.missing() if rotating else [],
        }

    def begin(self, by: str) -> dict[str, Any]:
        """Make a new CA. From now on clinics are asked to trust both, and new invites carry both. `UserError` when a
        replacement is under way."""
        if self._identity.rotating:
            raise UserError("H5", "The certificate authority is already being replaced. " + self._next_step())
        self._identity.begin_rotation()
        self._audit.write("authority_change_begun", by=by)
        log.warning("the hub's certificate authority is being replaced: clinics receive the new one automatically")
        return self.state()

    def finish(self, by: str, without: list[str]) -> dict[str, Any]:
        """End the trust in the old CA: the gateway's certificate is now signed by the new one.

        Parameters
        ----------
        by : str
        without : list of str
            Clinics that may be left behind: they do not trust the new CA and can no longer connect.

        Raises
        ------
        UserError
            When no replacement was begun, or a clinic that is not named would be left behind.
        """
        if not self._identity.rotating:
            raise UserError(
                "H5", "The certificate authority is not being replaced. Begin with: embryofl-server rotate-ca"
            )
        missing = self.missing()
        if unnamed := sorted(set(missing) - set(without)):
            raise UserError(
                "H5",
                f"{', '.join(unnamed)} would be left behind: not connected since the new certificate authority was made. "
                + self._next_step(),
            )
        begun = (self._identity.folder / "ca-next.crt").stat().st_mtime
        old = [i.name for i in self._store.invites() if i.state == "open" and i.created < begun]
        self._identity.finish_rotation()
        for name in old:
            self._store.withdraw_invite(name, "It carries a certificate authority that is no longer trusted")
        self._audit.write("authority_changed", by=by, left_behind=missing, invites_withdrawn=old)
        log.warning(
            "the certificate authority was replaced%s", f"; left behind: {', '.join(missing)}" if missing else ""
        )
        return {**self.state(), "left_behind": missing, "withdrawn": old}

    def _next_step(self) -> str:
        missing = self.missing()
        if not missing:
            return "All clinics trust the new one. Finish with: embryofl-server rotate-ca --finish"
        without = " ".join(f"--without {n}" for n in missing)
        return (
            f"Wait until {', '.join(missing)} has connected once. To finish without it: embryofl-server rotate-ca --finish "
            f"{without}. It then needs a reconnect invite (embryofl-server invite NAME --reconnect); its key and "
            "membership stay."
        )
