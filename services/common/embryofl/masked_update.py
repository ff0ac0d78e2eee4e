"""What hub and clinics make of an update under masks: its vector, its weight and its bound. See `embryofl.secagg`."""

import io
import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from embryofl.errors import UserError
from embryofl.local_work import local_steps
from embryofl.secagg.fixed_point import ONE, Ring, from_ring, to_ring
from embryofl.secagg.messages import MAX_WEIGHT, Roster
from embryofl.secagg.noise import add_noise
from embryofl.secagg.threshold import capped
from embryofl.settings import RunSettings, SumWeights
from embryofl.wire import Layout

ASSUMED_EMBRYOS = 1000  # of a clinic, for the bound
WANDER = 12.0  # so many times the root of their number is how far many steps lead
PATIENT_CLIP = 0.5  # the norm to which a patient's gradient is clipped in a run with `dp_epsilon`
SLOTS = 2  # behind the update in a vector: 1 if it was clipped, or was not finite; 1 for an alarm
ROUNDING = 1e-6  # a mean may be this much longer than the bound
BLOCK = 1 << 16  # numbers at a time: they stay in a core's cache
WEIGHT_UNIT = MAX_WEIGHT // 1024  # whole numbers in place of embryos per step, of which there are at most a batch


def vector_length(layout: Layout) -> int:
    """Numbers in a vector."""
    return layout.floats + SLOTS


def sum_weight(settings: RunSettings, examples: int) -> int:
    """A clinic's weight in the sum, from its training embryos."""
    return _weight(settings, settings.masked_weights, examples)


def _weight(settings: RunSettings, kind: SumWeights, examples: int) -> int:
    if kind == "examples_per_step":
        return max(1, round(WEIGHT_UNIT * examples / local_steps(settings.training, examples)))
    return examples


def counted_examples(settings: RunSettings, kind: SumWeights, examples: Mapping[str, int]) -> dict[str, float]:
    """The embryos that count of each clinic of a round without masks: as many as give none more than the part `share_cap`
    of the weights that they would have under masks, of this `kind`."""
    weights = {name: _weight(settings, kind, count) for name, count in examples.items()}
    kept = capped(weights, settings.share_cap)
    return {name: count * kept[name] / weights[name] for name, count in examples.items()}


def mean_scale(settings: RunSettings, examples: list[int], counted: list[float]) -> float:
    """What the strategy multiplies the weighted mean of updates by: 1, but for FedNova its mean number of steps times the
    mean of 1 / steps, both by the examples that are counted (see `embryofl_server.federation.strategies.fednova`)."""
    if settings.masked_weights != "examples_per_step":
        return 1.0
    total, steps = sum(counted), [local_steps(settings.training, n) for n in examples]
    return (
        sum(n * s for n, s in zip(counted, steps, strict=True))
        * sum(n / s for n, s in zip(counted, steps, strict=True))
        / (total * total)
    )


def update_bound(settings: RunSettings, round_: int, layout: Layout, longest: float) -> float:
    """The norm to which clinics clip their updates, the same in all attempts at a round.

    AdamW moves each number by about its learning rate at most, and after some steps to and fro: measured for 42 to 180
    embryos, updates of `lite0`, `lite0_head` and `small_cnn` have a tenth to a hundredth of this norm. A wider bound would
    cost precision, as it is the unit of the fixed point.

    Parameters
    ----------
    settings : RunSettings
    round_ : int
    layout : Layout
    longest : float
        The strategy's own bound; infinite if it has none.
    """
    if settings.dp_epsilon:
        return settings.learning_rate * PATIENT_CLIP
    steps = settings.training.steps(ASSUMED_EMBRYOS)
    travel = min(steps, WANDER * math.sqrt(steps)) * settings.learning_rate * settings.rate_scale(round_)
    return min(max(min(travel * math.sqrt(layout.floats), longest), 1e-6), 1e6)


def difference(new: np.ndarray, old: np.ndarray, layout: Layout) -> npt.NDArray[np.float32]:
    """A packed model's update: its floating-point numbers less those of the packed global model, float32 (floats,)."""
    out, at = np.empty(layout.floats, np.float32), 0
    for section, before in zip(layout.section_views(new), layout.section_views(old), strict=True):
        if section.dtype.kind == "f":
            np.subtract(section, before, out=out[at : at + section.size], dtype=np.float64, casting="same_kind")
            at += section.size
    return out


def noise_deviation(noise: float, needed: int, floats: int) -> float:
    """Standard deviation of one clinic's noise, in steps of the fixed point.

    Parameters
    ----------
    noise : float
        `RunSettings.update_noise`.
    needed : int
        The roster's threshold. So many less one, which may be the hub's, have the noise of the whole mean.
    floats : int
        Numbers of an update, of which the mean's noise has the root of their number times this deviation as its norm.
    """
    return noise * ONE / math.sqrt(floats * (needed - 1))


def private_deviation(settings: RunSettings, bound: float, patient: float, adders: int, floats: int) -> float:
    """Standard deviation of one clinic's noise in a run with `dp_epsilon`, in steps of the fixed point.

    Rounding to whole steps can add to what a patient changes: one step of each number at most. The noise itself is rounded,
    too. That takes nothing from it: a sum of rounded normal numbers with deviations above three steps is distributed as
    the rounded sum of normal numbers and others between -1/2 and 1/2, up to ``exp(-2 * (pi * 3) ** 2)`` (by Poisson's
    summation formula), and what is done to the whole sum afterwards proves no less.

    Parameters
    ----------
    settings : RunSettings
    bound : float
        Of the fixed point.
    patient : float
        The largest part of the mean that one patient of any clinic is.
    adders : int
        So many clinics' noise together is the whole.
    floats : int
        Numbers of an update.
    """
    changed = settings.learning_rate * PATIENT_CLIP / bound * patient * ONE + math.sqrt(floats) + 1
    return changed / settings.private_mu / math.sqrt(adders)


def roster_deviation(settings: RunSettings, roster: Roster, floats: int) -> float:
    """Standard deviation of the noise of each clinic of a masked round, in steps of the fixed point.

    As many clinics as the sum needs, less one, have the whole noise together: that one may be the hub's, and each clinic
    can take its own noise out of what it reads.
    """
    if not settings.dp_epsilon:
        return noise_deviation(settings.update_noise, roster.threshold, floats)
    kept = roster.weights(settings.share_cap)
    patient = max(kept[advert.clinic] / advert.weight for advert in roster.adverts) / sum(kept.values())
    return private_deviation(settings, roster.terms.bound, patient, roster.threshold - 1, floats)


def with_noise(
    settings: RunSettings, update: npt.NDArray[np.float64], patients: int, key: bytes, model: np.ndarray, layout: Layout
) -> np.ndarray:
    """A clinic's packed model in a run with `dp_epsilon` and without masks: the global model moved by the clinic's update,
    with all of the noise.

    Parameters
    ----------
    update : ndarray of float64, (floats,)
    patients : int
        Of the clinic.
    key : bytes
        See `embryofl.secagg.noise.add_noise`.
    model : ndarray of uint8, (layout.size,)
    layout : Layout
    """
    bound = update_bound(settings, 1, layout, math.inf)
    vector = to_vector(update, 1.0, bound)
    add_noise(vector[:-SLOTS], key, private_deviation(settings, bound, 1 / patients, 1, layout.floats))
    packed = io.BytesIO()
    write_mean(vector, 1.0, bound, model, layout, packed)
    return np.frombuffer(packed.getvalue(), np.uint8)


def longest_mean(settings: RunSettings, roster: Roster, survivors: int, share: float, floats: int) -> float:
    """The norm above which a mean cannot be one of clipped updates with their noise.

    Parameters
    ----------
    settings : RunSettings
    roster : Roster
    survivors : int
        Clinics in the sum.
    share : float
        The part of the roster's weights that is in the sum.
    floats : int
        Numbers of an update. The noise's norm is that of so many normal numbers, within six standard errors.
    """
    bound = roster.terms.bound
    noise = roster_deviation(settings, roster, floats) * math.sqrt(survivors * floats) * bound / ONE / share
    return bound * (1 + ROUNDING) + noise * (1 + 6 / math.sqrt(2 * floats))


def to_vector(update: npt.NDArray[np.floating[Any]], share: float, bound: float, *, alarm: bool = False) -> Ring:
    """An update and its slots as a vector that can be masked: uint32 (floats + SLOTS,). `alarm`: the clinic finds that the
    model is worse than the one before.

    Raises
    ------
    ProtocolError
        As `to_ring`.
    """
    vector, clipped = to_ring(update, share, bound, SLOTS)
    vector[-SLOTS:] = clipped, alarm
    return vector


def write_mean(total: Ring, share: float, bound: float, model: np.ndarray, layout: Layout, file: IO[bytes]) -> float:
    """Write the packed model moved by the mean of the updates, block by block; integer tensors stay as they are.

    Parameters
    ----------
    total : ndarray of uint32, (floats + SLOTS,)
        Sum of the vectors, without masks.
    share : float
        The part of the roster's weights that is in the sum.
    bound : float
    model : ndarray of uint8, (layout.size,)
    layout : Layout
    file : binary file

    Returns
    -------
    float
        Euclidean norm of the mean.
    """
    if layout.floats + SLOTS != total.size:
        raise UserError("R8", f"A sum of {total.size} numbers, expected {layout.floats + SLOTS} of this model.")
    at, squares = 0, 0.0
    file.write(model[: len(layout.header)].data)
    for section in layout.section_views(model):
        if section.dtype.kind != "f":
            file.write(section.data)
            continue
        for begin in range(0, section.size, BLOCK):
            part = section[begin : begin + BLOCK]
            mean = from_ring(total[at : at + part.size], share, bound)
            squares += float(np.square(mean).sum())
            file.write((part + mean).astype(part.dtype).data)
            at += part.size
    return math.sqrt(squares)


def count_clipped(total: Ring) -> int:
    """How many clinics in a sum clipped their updates, or had none that was finite."""
    return int(total[-2])


def count_alarms(total: Ring) -> int:
    """How many clinics in a sum find the model worse than the one before; if more than there are, one breaks the rules."""
    return int(total[-1])
