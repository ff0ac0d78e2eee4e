"""The step that a clinic's patients ask for, each of them shortened to the same length: what one patient can change of it
is bounded, however many embryos and images the patient has."""

import numpy as np
import numpy.typing as npt

ROUNDING = 1e-9  # a step that is within a length is also if it is measured again


def clipped_step(
    weights: npt.NDArray[np.float64],
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    embryos: npt.NDArray[np.int64],
    patients: npt.NDArray[np.int64],
    clip: float,
) -> npt.NDArray[np.float64]:
    """Minus the gradient of the log loss of a logistic regression: of the mean over an embryo's images, over a patient's
    embryos, clipped to `clip`, and over patients.

    The number of patients is taken as public. So with one patient's data left out (and counted as nothing), the result
    changes by at most ``clip / patients``, in Euclidean norm.

    Parameters
    ----------
    weights : ndarray of float64, (d + 1,)
        Of the features, and the bias.
    features : ndarray of float32, (n, d)
        Of images.
    labels : ndarray of int64, (n,)
        0 or 1.
    embryos, patients : ndarray of int64, (n,)
        Numbers from 0 without gaps. An embryo belongs to one patient.
    clip : float
        Greatest norm of a patient's gradient. One that is not finite counts as zero.

    Returns
    -------
    ndarray of float64, (d + 1,)
    """
    inputs = np.append(features.astype(np.float64), np.ones((len(features), 1)), axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        missing = labels - 1 / (1 + np.exp(-(inputs @ weights)))
        by_embryo = _means(missing[:, None] * inputs, embryos)
        owner = np.zeros(len(by_embryo), np.int64)
        owner[embryos] = patients
        by_patient = _means(by_embryo, owner)
        norms = np.sqrt(np.square(by_patient).sum(axis=1))
        by_patient[~np.isfinite(norms)] = 0.0
        factors = np.minimum(1.0, clip / np.where(np.isfinite(norms) & (norms > 0), norms, clip))
    step: npt.NDArray[np.float64] = (by_patient * factors[:, None]).mean(axis=0)
    return step


def within(step: npt.NDArray[np.float64], clip: float) -> npt.NDArray[np.float64]:
    """A step of at most this length. Two that are near each other come no further apart (a projection onto a ball)."""
    norm = float(np.sqrt(np.square(step).sum()))
    return step * min(1.0, clip * (1 - ROUNDING) / norm) if norm else step


def _means(rows: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The mean row of each group, in the order of their numbers."""
    sums = np.zeros((int(groups.max()) + 1, rows.shape[1]))
    np.add.at(sums, groups, rows)
    return sums / np.bincount(groups)[:, None]
