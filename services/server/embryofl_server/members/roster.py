"""The list of clinics for the coordinator: state, last seen, what the data is said to be, key, certificate."""

from typing import TYPE_CHECKING, Any

from embryofl_server.members.proofs import fingerprint

if TYPE_CHECKING:
    from embryofl_server.hub import Hub


def roster(hub: "Hub", now: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """All clinics that ever joined, by name. Times are Unix time in seconds; `last_seen` 0 is never.

    A clinic has a key and no certificate of its own: `certificate` is the SHA-256 fingerprint of the hub's, which it
    trusts, and `certificate_expires` when that ends. `now` are the clinics of a status that the caller has already.
    """
    now = hub.status(newest=True)["clinics"] if now is None else now
    seen, present = hub.last_seen(), hub.presence()
    expires, shown = hub.identity.expires("gateway/gateway.crt"), hub.identity.fingerprint("gateway/gateway.crt")
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
            "shows_metrics": c.shows_metrics,
            "key": fingerprint(c.public_key),
            "certificate": shown,
            "certificate_expires": expires,
        }
        for c in hub.store.clinics().values()
    ]
