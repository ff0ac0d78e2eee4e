"""The other clinics' keys as this clinic has pinned them: without them, the hub could invent clinics to mask with."""

import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, RootModel, ValidationError

from embryofl.clinic_keys import fingerprint, public_key
from embryofl.errors import ProtocolError, UserError
from embryofl.files import in_turn, write_atomic
from embryofl.schema import Name, Strict

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
        Whether people of both clinics have compared the fingerprint.
    other_key : str
        A different key that the hub has shown since; "" if there is none. Nothing is masked with it.
    """

    key: str = Field(max_length=1000)
    first_seen: float
    compared: bool = False
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

    def pin(self, shown: Mapping[str, str], *, ask: bool) -> str:
        """Record the keys that the hub shows.

        Parameters
        ----------
        shown : mapping of str to str
            OpenSSH lines by clinic, without this clinic's.
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


def describe_peers(peers: Mapping[str, Peer]) -> str:
    """A line for each peer, for people."""
    if not peers:
        return "The hub has shown no other clinics yet. It shows them when a run with masks begins."
    return "\n".join(f"{name}  {fingerprint(peer.newest)}  {_state(peer)}" for name, peer in peers.items())


def _state(peer: Peer) -> str:
    since = time.strftime("%d %B %Y", time.gmtime(peer.first_seen))
    if peer.other_key:
        return f"known since {since}, with a new key that was not compared: nothing is masked with it"
    return f"known since {since}, {'compared' if peer.compared else 'not compared'}"
