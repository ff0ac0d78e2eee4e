"""The list of clinics for the coordinator: state, last seen, what the data is said to be, key, certificate."""

from typing import TYPE_CHECKING, Any

from embryofl_server.proofs import fingerprint

if TYPE_CHECKING:
    from embryofl_server.hub import HubService


def roster(hub: "HubService", now: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """All clinics that ever joined, by name. Times are Unix time in seconds; `last_seen` 0 is never.

    A clinic has a key and no certificate of its own: `certificate_expires` is when the hub's, which it trusts, ends.
    `now` are the clinics of a status that the caller has already.
    """
    now = hub.status(newest=True)["clinics"] if now is None else now
    seen, present = hub.last_seen(), hub.presence()
    expires = hub.identity.expires("gateway/gateway.crt")
    return [
        {
            "name": c.name,
            "state": c.state,
            "online": bool(present.get(c.name)),
            "does": now[c.name]["state"] if c.name in now else "",
            "since": c.since or c.enrolled,
            "reason": c.reason,
            "enrolled": c.enrolled,
            "last_seen": seen.get(c.name, 0.0),
            "meaning": c.meaning,
            "labelled": c.labelled,
            "patients": c.summary.get("patients"),
            "summary": c.summary,
            "key": fingerprint(c.public_key),
            "certificate_expires": expires,
        }
        for c in hub.store.clinics().values()
    ]
