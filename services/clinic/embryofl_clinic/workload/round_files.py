"""Files that a clinic keeps between the rounds of a run: one a round, only the newest. A missed round has no file."""

from pathlib import Path

from embryofl.files import write_atomic

KEEP_ROUNDS = 3


class RoundFiles:
    """Files of one kind in one run's folder.

    Parameters
    ----------
    folder : Path
        Of the run; created when first needed.
    kind, ending : str
        A round's file is called `<kind>-0007.<ending>`.
    """

    def __init__(self, folder: Path, kind: str, ending: str) -> None:
        self._folder, self._kind, self._ending = folder, kind, ending

    def _rounds(self) -> dict[int, Path]:
        paths = self._folder.glob(f"{self._kind}-*.{self._ending}")
        return {int(p.stem.removeprefix(f"{self._kind}-")): p for p in sorted(paths)}

    def newest(self, up_to: int) -> Path | None:
        """The file of the newest round that is not later than `up_to`, or None."""
        rounds = self._rounds()
        return rounds.get(max((number for number in rounds if number <= up_to), default=-1))

    def save(self, round_: int, data: bytes | memoryview) -> None:
        """Store a round's file; remove those of old rounds, and of later ones, which a repeated round makes obsolete."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._folder / f"{self._kind}-{round_:04d}.{self._ending}", data)
        rounds = self._rounds()
        until_now = [number for number in rounds if number <= round_]
        for number in {*rounds} - {*until_now[-KEEP_ROUNDS:]}:
            rounds[number].unlink()
