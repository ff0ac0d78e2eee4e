"""Choose among the frames and focal planes of a time-lapse."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embryofl.errors import UserError
from embryofl_data.importers.plan import CHECK_SIZE, Options, SkippedFile
from embryofl_data.importers.source import Source
from embryofl_data.reading.decode import DecodeError, decode_image

PICKS = ("last", "first", "middle", "all")


@dataclass(frozen=True)
class TimelapseFrame:
    """One picture of a time-lapse.

    Attributes
    ----------
    file : str
        Relative to the source.
    number : int
        Counted by the instrument.
    plane : str
        Focal plane, `0` in the middle.
    phase : str
        Phase that annotations give it, "" where none does.
    hours : float or None
        Since fertilisation, where known.
    """

    file: str
    number: int
    plane: str = "0"
    phase: str = ""
    hours: float | None = None


def choose(
    source: Source,
    frames: Iterable[TimelapseFrame],
    options: Options,
    order: Sequence[str],
    left_out: list[SkippedFile],
) -> list[TimelapseFrame]:
    """The frames of one embryo that the options ask for, each plane by itself, in the order of their numbers.

    A frame that cannot be decoded is left out and its neighbour taken.

    Parameters
    ----------
    source : Source
        Where the files are.
    frames : iterable of TimelapseFrame
        Of one embryo.
    options : Options
        `phases`, `planes`, `before` and `pick`.
    order : sequence of str
        The phases in their order.
    left_out : list of SkippedFile
        Damaged frames are added.
    """
    chosen: list[TimelapseFrame] = []
    for plane in options.planes:
        here = sorted((frame for frame in frames if frame.plane == plane), key=lambda frame: (frame.number, frame.file))
        here = _before(here, options.before, order)
        if options.phases:
            here = [frame for frame in here if frame.phase in options.phases]
        chosen += _picked(source, here, options.pick, left_out)
    return chosen


def _before(frames: list[TimelapseFrame], before: str, order: Sequence[str]) -> list[TimelapseFrame]:
    """Frames before a phase begins, or before so many hours; those of which it is not known are not taken."""
    if not before:
        return frames
    if before in order:
        begun = [frame.number for frame in frames if frame.phase and order.index(frame.phase) >= order.index(before)]
        return [frame for frame in frames if frame.number < min(begun)] if begun else frames
    try:
        hours = float(before.lower().removesuffix("h"))
    except ValueError:
        raise UserError(
            f"--before {before} was given. Expected a phase ({', '.join(order) or 'none are known here'}) or hours, such "
            "as 110h."
        ) from None
    return [frame for frame in frames if frame.hours is not None and frame.hours < hours]


def _picked(
    source: Source, frames: list[TimelapseFrame], pick: str, left_out: list[SkippedFile]
) -> list[TimelapseFrame]:
    if pick == "all":
        return [frame for frame in frames if _readable(source, frame, left_out)]
    if pick not in PICKS:
        raise UserError(f"--pick {pick} was given. Expected one of {', '.join(PICKS)}.")
    middle = len(frames) // 2
    ranked = {
        "last": frames[::-1],
        "first": frames,
        "middle": sorted(frames, key=lambda frame: abs(frames.index(frame) - middle)),
    }[pick]
    return next(([frame] for frame in ranked if _readable(source, frame, left_out)), [])


def _readable(source: Source, frame: TimelapseFrame, left_out: list[SkippedFile]) -> bool:
    try:
        decode_image(source.read(frame.file), CHECK_SIZE)
    except DecodeError as error:
        left_out.append(SkippedFile.of(frame.file, error))
        return False
    return True


def check_phases(options: Options, order: Sequence[str]) -> None:
    """Raise `UserError` when a phase was asked for that does not exist."""
    unknown = [phase for phase in options.phases if phase not in order]
    if unknown:
        raise UserError(f"--phases {','.join(unknown)} was given. Expected some of {', '.join(order)}.")
