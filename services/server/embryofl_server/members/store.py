"""Who is in the federation, in `clinics.db`: invites, clinics and their states, keys and names, rejected replies in a row.

The store holds public keys, what a clinic reported about its data, and hashes of invite secrets: no secret itself.
"""

import json
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from embryofl.data_statistics import DataStatistics
from embryofl.errors import UserError
from embryofl.membership import MAX_CHANGES, METRICS, PROGRAM, SHOWS, KeyChange, Releases, count_labelled
from embryofl.protocol import PROTOCOL, Program, why_not
from embryofl.states import MEMBER, label
from embryofl_server.members import invites
from embryofl_server.members.invites import EnrolmentRejected, InviteRecord
from embryofl_server.state.database import Database

_RETIRED = "SELECT public_key, clinic, state, time, reason FROM dead_keys"
GONE = ("revoked", "left", "refused")  # the membership has ended: the key never works again, the name is free


@dataclass(frozen=True)
class Clinic:
    """A clinic. `state`: enrolled, suspended, waiting (for approval), revoked, left or refused; `since` when and for what
    `reason`. `approved`: labelled images that the coordinator has confirmed; None while it waits. Times are Unix time in
    seconds."""

    name: str
    public_key: str
    state: str
    enrolled: float
    meaning: str
    summary: dict[str, Any]
    since: float = 0.0
    reason: str = ""
    approved: int | None = None

    @property
    def statistics(self) -> DataStatistics | None:
        """Its image statistics; None if not reported."""
        statistics = self.summary.get("statistics")
        return DataStatistics.model_validate(statistics) if statistics else None

    @property
    def shows_metrics(self) -> bool:
        """Whether other clinics may see its own metrics; False if not reported."""
        return self.summary.get(SHOWS) is True

    @property
    def metrics(self) -> Releases:
        """Which metrics it releases."""
        released: Releases = self.summary.get(METRICS, "own")
        return released

    @property
    def program(self) -> Program | None:
        """What it runs, as it said last; None if it never did."""
        program = self.summary.get(PROGRAM)
        return Program.model_validate(program) if program else None

    @property
    def protocol(self) -> int:
        """In which it is asked."""
        return self.program.protocol if self.program else PROTOCOL

    @property
    def outdated(self) -> str:
        """Why this hub does not work with what it runs; "" if it does."""
        return why_not(self.program) if self.program else ""

    @property
    def labelled(self) -> int | None:
        """See `count_labelled`. None for no clinic that has joined: an enrolment without counts is rejected."""
        return count_labelled(self.summary)

    @property
    def most_embryos(self) -> int | None:
        """Training and validation embryos that its replies may count: the images that were confirmed, and a fifth more, by
        which its data may grow. None where neither is known."""
        confirmed = self.labelled if self.approved is None else self.approved
        return None if confirmed is None else confirmed + confirmed // 5


def state_label(state: str) -> str:
    """A clinic's state inside a sentence."""
    return label(MEMBER, state).lower()


@dataclass(frozen=True)
class RetiredKey:
    """A key that never works again, whose it was, and why."""

    public_key: str
    clinic: str
    state: str
    time: float
    reason: str

    @property
    def message(self) -> str:
        """For a clinic that still uses the key."""
        return (
            f"This key never works again ({state_label(self.state)} on "
            f"{time.strftime('%d %B %Y', time.gmtime(self.time))}: {self.reason.rstrip('.')}). To join again, ask the "
            "coordinator for a new invite and start with an empty state folder, so that a new key is made."
        )


class ClinicStore(Database):
    """Invites and clinics; safe to use from several threads.

    What the coordinator asks for raises `UserError` when there is no such clinic or its state does not allow it; what a
    clinic asks for raises `EnrolmentRejected` with the reason that the clinic is given.
    """

    # -- invites and enrolment --------------------------------------------------------------------------------------
    def invite(self, name: str, days: float) -> str:
        """Make (or replace) the invite of `name`; returns its secret, which is not kept. `UserError` when a clinic has or
        had that name; one whose membership has ended may be invited again, with a new key."""
        with self.transaction():
            clinic = self.clinics().get(name)
            if clinic and clinic.state not in GONE:
                raise UserError(
                    "H6",
                    f"There is already a clinic {name!r}: {state_label(clinic.state)}. Choose another name for another "
                    f"clinic. If this one no longer finds or trusts the hub: embryofl-server invite {name} --reconnect, "
                    "with which its key and membership stay. If it has lost its key, revoke it first.",
                )
            if (present := self.current_name(name)) != name:
                raise UserError("H6", f"{name!r} is a former name of {present}. Choose another one.")
            return invites.make(self, name, days)

    def invites(self) -> list[InviteRecord]:
        """All invites, oldest first."""
        return invites.listing(self)

    def withdraw_invite(self, name: str, why: str) -> None:
        """Cancel the open invite of `name`; `UserError` when there is none."""
        if not invites.withdraw(self, name, why):
            raise UserError("H6", f"There is no unused invite for {name!r}. List all with: embryofl-server invites")

    def enrol(
        self, name: str, secret: str, public_key: str, meaning: str, summary: dict[str, Any], state: str = "enrolled"
    ) -> Clinic:
        """Turn a valid invite into a clinic. Repeating it with the same key is harmless. `EnrolmentRejected` when the
        invite is not valid, or the key is retired or another clinic's."""
        with self.transaction():
            self._reject_retired(public_key)
            invites.check(self, name, secret, public_key)
            clinics, owner = self.clinics(), self._owner(public_key)
            if owner == name:
                return clinics[name]
            if owner:
                raise EnrolmentRejected("J3", "This key belongs to another clinic: start with an empty state folder.")
            if name in clinics and clinics[name].state not in GONE:
                raise EnrolmentRejected("J3", f"A clinic called {name} has already joined, with another key.")
            now = time.time()
            approved = count_labelled(summary) if state == "enrolled" else None
            row = (name, public_key, state, now, meaning, json.dumps(summary), now, approved)
            self.change("INSERT OR REPLACE INTO clinics VALUES (?, ?, ?, ?, ?, ?, ?, '', ?)", *row)
            invites.use(self, secret, public_key)
            return self.clinics()[name]

    # -- clinics and their states -----------------------------------------------------------------------------------
    def clinics(self) -> dict[str, Clinic]:
        """All clinics by name."""
        rows = self.rows("SELECT * FROM clinics ORDER BY name")
        return {
            name: Clinic(name, key, state, enrolled, meaning, json.loads(summary), since, reason, approved)
            for name, key, state, enrolled, meaning, summary, since, reason, approved in rows
        }

    def clinic(self, name: str) -> Clinic:
        """One clinic; `UserError` when there is none of that name."""
        clinics = self.clinics()
        if name not in clinics:
            raise UserError(
                "H6", f"There is no clinic {name!r}. Clinics that have joined: {', '.join(clinics) or 'none yet'}."
            )
        return clinics[name]

    def member(self, name: str) -> Clinic:
        """One clinic whose membership has not ended; `UserError` when there is none of that name."""
        clinic = self.clinic(name)
        if clinic.state in GONE:
            raise UserError(
                "H6",
                f"{name} is {state_label(clinic.state)}, and its key never works again. To let it join with a new key: "
                f"embryofl-server invite {name}",
            )
        return clinic

    def keys(self) -> dict[str, str]:
        """Public keys by name, as the SuperLink should have them. A suspended clinic stays connected."""
        query = (
            "SELECT name, public_key FROM clinics WHERE state IN ('enrolled', 'suspended') "
            "AND public_key NOT IN (SELECT public_key FROM dead_keys) ORDER BY name"
        )
        return dict(self.rows(query))

    def known_keys(self) -> set[str]:
        """Public keys of all clinics that have ever enrolled, also those that never work again."""
        return {
            key for (key,) in self.rows("SELECT public_key FROM clinics UNION ALL SELECT public_key FROM dead_keys")
        }

    def admitted(self) -> set[str]:
        """The clinics that may take part in rounds."""
        return {c.name for c in self.clinics().values() if c.state == "enrolled" and not c.outdated}

    def releases(self, names: Collection[str] = ()) -> dict[str, Releases]:
        """Which metrics each enrolled clinic releases; of these `names`, if there are any."""
        enrolled = {c.name: c.metrics for c in self.clinics().values() if c.state == "enrolled"}
        return {name: metrics for name, metrics in enrolled.items() if not names or name in names}

    def set_state(self, name: str, state: str, reason: str) -> Clinic:
        """Suspend a clinic, enrol or reinstate it (which forgets its rejected replies), or end its membership (a state
        of `GONE`): then its key is retired for ever, also for an enrolment under another name."""
        with self.transaction():
            if self.clinic(name).state == state:
                raise UserError("H6", f"{name} is already {state_label(state)}.")
            clinic, now = self.member(name), time.time()
            if clinic.state == "waiting" and state == "suspended":
                raise UserError(
                    "H6", f"{name} is awaiting approval: embryofl-server approve {name} (or decline {name})."
                )
            self.change("UPDATE clinics SET state = ?, since = ?, reason = ? WHERE name = ?", state, now, reason, name)
            if state == "enrolled":
                self.change("DELETE FROM refusals WHERE clinic = ?", name)
            if state in GONE:
                self._retire_key(clinic, state, reason)
            return self.clinics()[name]

    def approve_images(self, name: str, count: int | None) -> None:
        """Note how many labelled images of a clinic the coordinator has confirmed."""
        self.change("UPDATE clinics SET approved = ? WHERE name = ?", count, name)

    def set_choices(self, name: str, choices: dict[str, Any]) -> None:
        """What a clinic's policy says, or what it runs: `SHOWS`, `METRICS` or `PROGRAM` to its value."""
        with self.lock:
            summary = {**self.clinic(name).summary, **choices}
            self.change("UPDATE clinics SET summary = ? WHERE name = ?", json.dumps(summary), name)

    # -- keys and names ---------------------------------------------------------------------------------------------
    def change_key(self, name: str, before: str, public_key: str, change: KeyChange) -> Clinic:
        """Replace a clinic's key, `before`, which never works again, and keep the `change` that both keys have signed.
        `EnrolmentRejected` when the clinic is gone or already has another key; when the new key is retired or another
        clinic's."""
        with self.transaction():
            clinic = self.clinic(name)
            if clinic.state in GONE or clinic.public_key != before:
                raise EnrolmentRejected("J4", "The hub does not recognise this clinic's name and key.")
            self._reject_retired(public_key)
            if self._owner(public_key):
                raise EnrolmentRejected("J3", "This key belongs to another clinic.")
            self._retire_key(clinic, "replaced", "The clinic has changed its key", change.model_dump_json())
            self.change("UPDATE clinics SET public_key = ? WHERE name = ?", public_key, name)
            return self.clinics()[name]

    def retired_keys(self, clinic: str) -> list[RetiredKey]:
        """The keys of a clinic that never work again."""
        return [RetiredKey(*row) for row in self.rows(f"{_RETIRED} WHERE clinic = ?", clinic)]

    def key_changes(self, names: Collection[str]) -> dict[str, list[KeyChange]]:
        """The newest changes of these clinics' keys, oldest first: for other clinics, which know an older key."""
        changes: dict[str, list[KeyChange]] = {}
        for name, change in self.rows("SELECT clinic, change FROM dead_keys WHERE change != '' ORDER BY rowid"):
            if name in names:
                changes.setdefault(name, []).append(KeyChange.model_validate_json(change))
        return {name: of_clinic[-MAX_CHANGES:] for name, of_clinic in changes.items()}

    def _owner(self, public_key: str) -> str:
        return next((name for (name,) in self.rows("SELECT name FROM clinics WHERE public_key = ?", public_key)), "")

    def _reject_retired(self, public_key: str) -> None:
        for row in self.rows(f"{_RETIRED} WHERE public_key = ?", public_key):
            raise EnrolmentRejected("J7", RetiredKey(*row).message)

    def _retire_key(self, clinic: Clinic, state: str, reason: str, change: str = "") -> None:
        row = (clinic.public_key, clinic.name, state, time.time(), reason, change)
        self.change("INSERT OR IGNORE INTO dead_keys VALUES (?, ?, ?, ?, ?, ?)", *row)

    def rename(self, old: str, new: str) -> Clinic:
        """Give a clinic another name; the old one leads to it for ever. `UserError` when the new name is or was another
        clinic's."""
        with self.transaction():
            state = self.clinic(old).state
            if state in GONE:
                raise UserError("H6", f"{old} is {state_label(state)}, so it would never learn its new name.")
            taken = "SELECT name FROM clinics UNION SELECT name FROM former_names UNION SELECT name FROM invites"
            if (new,) in self.rows(taken):
                raise UserError("H6", f"{new!r} is or was the name of a clinic or of an invite. Choose another one.")
            self.change("UPDATE clinics SET name = ? WHERE name = ?", new, old)
            for follow in (
                "UPDATE refusals SET clinic = ? WHERE clinic = ?",
                "UPDATE dead_keys SET clinic = ? WHERE clinic = ?",
                "UPDATE former_names SET clinic = ? WHERE clinic = ?",
            ):
                self.change(follow, new, old)
            self.change("INSERT INTO former_names VALUES (?, ?)", old, new)
            return self.clinics()[new]

    def current_name(self, name: str) -> str:
        """The present name of a clinic that is or was called `name`."""
        return next((new for (new,) in self.rows("SELECT clinic FROM former_names WHERE name = ?", name)), name)

    # -- rejected replies -------------------------------------------------------------------------------------------
    def record_replies(
        self, run: str, round_: int, accepted: Iterable[str], rejected: dict[str, tuple[str, str]]
    ) -> None:
        """Record whose replies a round accepted and rejected. Recording a round again, after a resume, changes nothing.

        Parameters
        ----------
        run : str
        round_ : int
        accepted : iterable of str
            Clinics whose rejections in a row end here.
        rejected : dict of str to (str, str)
            Short reason and message, by clinic.
        """
        with self.transaction():
            for name in accepted:
                self.change("DELETE FROM refusals WHERE clinic = ?", name)
            for name, (reason, message) in rejected.items():
                row = (name, run, round_, reason, message, time.time())
                self.change("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?)", *row)

    def rejections(self, clinic: str) -> list[dict[str, Any]]:
        """Rejected replies since the last accepted one, oldest first: run, round, reason, words, time."""
        rows = self.rows(
            "SELECT run, round, reason, words, time FROM refusals WHERE clinic = ? ORDER BY time, run, round", clinic
        )
        return [dict(zip(("run", "round", "reason", "words", "time"), row, strict=True)) for row in rows]
