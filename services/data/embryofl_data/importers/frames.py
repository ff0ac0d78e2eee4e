"""Choose among the frames and focal planes of a time-lapse."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embryofl.errors import UserError
from embryofl_data.importers.plan import CHECK_SIZE, Options, Plan, PlannedImage
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.decode import decode_image
from embryofl_data.reading.sandbox import DecodeError

PICKS = ("last", "first", "middle", "all")


@dataclass(frozen=True)
class TimelapseFrame:
    """One image of a time-lapse.

    Attributes
    ----------
    number : int
        As counted by the instrument.
    plane : str
        Focal plane, `0` in the middle.
    phase : str
        As annotated, "" where it is not.
    hours : float or None
        Since fertilisation, where known.
    """

    file: str
    number: int
    plane: str = "0"
    phase: str = ""
    hours: float | None = None


def add_embryo(
    plan: Plan,
    source: Source,
    options: Options,
    frames: Iterable[TimelapseFrame],
    facts: Facts,
    patient: str,
    embryo: str,
    order: Sequence[str] = (),
) -> int:
    """Plan the frames of one embryo that the options ask for, each focal plane separately, in the order of their numbers.

    A frame that cannot be decoded is skipped and its neighbour used. `order`: the phases. Returns the number of frames.
    """
    count = len(plan.images)
    for plane in options.planes:
        ordered = sorted((frame for frame in frames if frame.plane == plane), key=lambda each: (each.number, each.file))
        ordered = _before(ordered, options.before, order)
        if options.phases:
            ordered = [frame for frame in ordered if frame.phase in options.phases]
        for frame in _picked(source, ordered, options.pick, plan):
            number = str(frame.number)
            image = PlannedImage(frame.file, facts, patient, embryo, frame=number, focal_plane=frame.plane)
            plan.images.append(image)
    return len(plan.images) - count


def _before(frames: list[TimelapseFrame], before: str, order: Sequence[str]) -> list[TimelapseFrame]:
    """Frames before a phase begins, or before a number of hours; frames of unknown time are not included."""
    if not before:
        return frames
    if before in order:
        begun = [frame.number for frame in frames if frame.phase and order.index(frame.phase) >= order.index(before)]
        return [frame for frame in frames if frame.number < min(begun)] if begun else frames
    try:
        hours = float(before.lower().removesuffix("h"))
    except ValueError:
        raise UserError(
            "S7",
            f"--before {before} was given. Expected a phase ({', '.join(order) or 'this layout has none'}) or hours, such "
            "as 110h.",
        ) from None
    return [frame for frame in frames if frame.hours is not None and frame.hours < hours]


def _picked(source: Source, frames: list[TimelapseFrame], pick: str, plan: Plan) -> list[TimelapseFrame]:
    if pick == "all":
        return [frame for frame in frames if _readable(source, frame, plan)]
    if pick not in PICKS:
        raise UserError("S7", f"--pick {pick} was given. Expected one of {', '.join(PICKS)}.")
    middle = len(frames) // 2
    ranked = {
        "last": frames[::-1],
        "first": frames,
        "middle": sorted(frames, key=lambda frame: abs(frames.index(frame) - middle)),
    }[pick]
    return next(([frame] for frame in ranked if _readable(source, frame, plan)), [])


def _readable(source: Source, frame: TimelapseFrame, plan: Plan) -> bool:
    try:
        decode_image(source.read(frame.file), CHECK_SIZE)
    except DecodeError as error:
        plan.skip_damaged(frame.file, error)
        return False
    return True
