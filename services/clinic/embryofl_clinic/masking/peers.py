"""The other clinics' keys as this clinic has pinned them: without them, the hub could invent clinics to mask with."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pydantic import Field, RootModel, ValidationError

from embryofl.clinic_keys import canonical, fingerprint, public_key, signed_by
from embryofl.errors import ProtocolError, UserError
from embryofl.files import in_turn, write_atomic
from embryofl.membership import KeyChange
from embryofl.schema import Name, Strict

log = logging.getLogger("embryofl.clinic")

FILE = "masking/peers.json"


class Peer(Strict):
    """Another clinic's key.

    Attributes
    ----------
    key : str
        OpenSSH line.
    first_seen : float
        Unix time in seconds.
    compared : bool
        Whether people of both clinics have compared the fingerprint, of this key or of one that it has replaced.
    changed : float
        When the key last replaced one that has signed it; 0.0 if it never did.
    other_key : str
        A different key that the hub has shown since; "" if there is none. Nothing is masked with it.
    """

    key: str = Field(max_length=1000)
    first_seen: float
    compared: bool = False
    changed: float = 0.0
    other_key: str = Field(default="", max_length=1000)

    @property
    def newest(self) -> str:
        """The key to compare: the one that the hub shows."""
        return self.other_key or self.key


class _Peers(RootModel[dict[Name, Peer]]):
    pass


class Peers:
    """`masking/peers.json` in the clinic's state folder. Trainer and commands take turns.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def read(self) -> dict[str, Peer]:
        """All peers by name.

        Raises
        ------
        UserError
            When the file is damaged.
        """
        try:
            return _Peers.model_validate_json(self._path.read_text()).root if self._path.exists() else {}
        except (OSError, ValidationError, ValueError) as exc:
            raise UserError(
                "J8",
                f"{self._path} cannot be read ({type(exc).__name__}). Expected the keys of other clinics. Restore it from "
                "a backup, or remove it and compare all keys again.",
            ) from exc

    def pin(
        self,
        shown: Mapping[str, str],
        changes: Mapping[str, Iterable[KeyChange]],
        hub: Collection[str] = (),
        *,
        ask: bool,
    ) -> str:
        """Record the keys that the hub shows. A key that the pinned one has signed takes its place; it is the same clinic.

        Parameters
        ----------
        shown : mapping of str to str
            OpenSSH lines by clinic, without this clinic's.
        changes : mapping of str to iterable of KeyChange
            How clinics came to these keys, oldest first.
        hub : collection of str
            The authorities by which this clinic knows its hub. A change that was signed for another one counts for nothing.
        ask : bool
            Whether people must compare a key before it is used (`Rules.peers`).

        Returns
        -------
        str
            Why nothing can be masked with these clinics yet, in words that may leave the clinic; "" if it can.

        Raises
        ------
        ProtocolError
            When a key is not one.
        """
        for name, line in shown.items():
            try:
                public_key(line)
            except ValueError:
                raise ProtocolError(
                    f"the hub shows no key of {name} that can be used, expected an OpenSSH line"
                ) from None
        with in_turn(self._path):
            peers = before = self.read()
            for name, key in sorted(shown.items()):
                known = peers.get(name)
                if known is None:
                    peers = peers | {name: Peer(key=key, first_seen=time.time())}
                elif known.key != key and _has_signed(known.key, key, name, changes.get(name, ()), hub):
                    log.warning("%s has changed its key: now %s, signed with the one before", name, fingerprint(key))
                    now = {"key": key, "other_key": "", "changed": time.time()}
                    peers = peers | {name: known.model_copy(update=now)}
                elif known.newest != key:
                    other = "" if known.key == key else key
                    peers = peers | {name: known.model_copy(update={"other_key": other})}
            if peers != before:
                self._write(peers)
        changed = sorted(name for name in shown if peers[name].other_key)
        new = sorted(name for name in shown if ask and not peers[name].compared and name not in changed)
        if not (changed or new):
            return ""
        return (
            f"the keys of {', '.join(new + changed)} have not been compared at this clinic"
            f"{' (changed: ' + ', '.join(changed) + ')' if changed else ''}; compare them with embryofl-clinic peers"
        )

    def compare(self, name: str, fingerprint_: str) -> None:
        """People have compared a clinic's fingerprint: its key is used from now on.

        Raises
        ------
        UserError
            When there is no such clinic, or its key has another fingerprint.
        """
        with in_turn(self._path):
            peers = self.read()
            if name not in peers:
                raise UserError(
                    "J10",
                    f"The hub has shown no clinic {name!r} yet. It has shown: {', '.join(peers) or 'none'}. It shows names "
                    "when a run with masks begins.",
                )
            found = fingerprint(peers[name].newest)
            if found != fingerprint_:
                raise UserError(
                    "J10",
                    f"The hub shows {found} for {name}, and the fingerprint given is {fingerprint_}. Nothing was changed. "
                    f"If {name} itself reads out the second one, take part in no run with masks, and tell the coordinator.",
                )
            changes = {"key": peers[name].newest, "other_key": "", "compared": True}
            self._write(peers | {name: peers[name].model_copy(update=changes)})

    def forget(self, name: str) -> None:
        """A clinic has left the federation. If the hub shows it again, it is a new one.

        Raises
        ------
        UserError
            When there is no such clinic.
        """
        with in_turn(self._path):
            peers = self.read()
            if name not in peers:
                raise UserError("J10", f"There is no clinic {name!r} here. There are: {', '.join(peers) or 'none'}.")
            self._write({other: peer for other, peer in peers.items() if other != name})

    def _write(self, peers: dict[str, Peer]) -> None:
        write_atomic(self._path, _Peers(dict(sorted(peers.items()))).model_dump_json(indent=1).encode(), 0o600)


def _has_signed(old: str, new: str, name: str, changes: Iterable[KeyChange], hub: Collection[str]) -> bool:
    """Whether the old key of a clinic has signed the new one for this hub: by one change, or by several, each by the key
    before it."""
    key = old
    for change in changes:
        text = change.text()
        both = signed_by(key, change.proof, text) and signed_by(change.public_key, change.new_proof, text)
        if change.name == name and change.authority in hub and both:
            key = canonical(change.public_key)
        if key == new:
            return True
    return False


def describe_peers(peers: Mapping[str, Peer]) -> str:
    """A line for each peer, for people."""
    if not peers:
        return "The hub has shown no other clinics yet. It shows them when a run with masks begins."
    return "\n".join(f"{name}  {fingerprint(peer.newest)}  {_state(peer)}" for name, peer in peers.items())


def _state(peer: Peer) -> str:
    since = _date(peer.first_seen)
    if peer.other_key:
        return f"known since {since}, with a new key that was not compared: nothing is masked with it"
    changed = f"; changed its key on {_date(peer.changed)}, signed with the one before" if peer.changed else ""
    return f"known since {since}, {'compared' if peer.compared else 'not compared'}{changed}"


def _date(at: float) -> str:
    return time.strftime("%d %B %Y", time.gmtime(at))
