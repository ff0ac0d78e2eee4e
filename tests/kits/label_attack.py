"""A hub that chooses the models and wants to know the label of one picture that it holds, by the metrics that clinics release.

The attacker aims the head at the picture by linear algebra, and decodes what comes back with a classifier that knows
population and rules: fitted on some tries, measured on others (shadow models: Shokri et al., IEEE S&P 2017). The label is a
coin's, so that 0.5 is chance. The clinics: `kits.head_clinics`.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embryofl.messages import Reply
from embryofl.metrics import BINS, CENTRES, DaySums, ScoreSums
from embryofl.metrics.bins import logit
from embryofl.metrics.day import MAX_LOG_LOSS
from embryofl.metrics.from_histogram import auroc
from kits.pictures import Floats, Pictures


class Aims:
    """Heads that tell one picture from the public ones.

    Parameters
    ----------
    pictures : Pictures
        The attacker's own ones are taken from it.
    """

    def __init__(self, pictures: Pictures) -> None:
        public, labels = pictures.public()
        self._mean = public.mean(axis=0)
        _, s, self._vt = np.linalg.svd(public - self._mean, full_matrices=False)
        self._spread = s**2 / len(public)
        honest = labels @ (public - self._mean)
        self._honest = honest / ((public - self._mean) @ honest).std()
        other = pictures.rng.normal(size=len(s)) @ self._vt
        self._other = other / ((public - self._mean) @ other).std()

    def head(self, shape: str, picture: Floats) -> tuple[Floats, float]:
        """Weights (1280,) and offset: the picture alone above one half, or on top of another ranking."""
        floor = float(np.median(self._spread))
        d = picture - self._mean
        a = d @ self._vt.T
        aim = (a / (self._spread + floor)) @ self._vt + (d - a @ self._vt) / floor
        aim /= aim @ d
        w, b = {
            "alone": (400 * aim, -200.0),
            "top": (0.7 * self._other + 8 * aim, -1.0),
            "sure": (1.2 * self._honest + 8 * aim, -1.0),
            "wide": (2.5 * self._other + 8 * aim, -1.0),
        }[shape]
        return w, float(b - w @ self._mean)

    def two_heads(self, picture: Floats) -> Iterator[tuple[Floats, float]]:
        """Weights and offsets of two heads that give everybody a score of 0 or 1, the same ones, but for the picture: it lies on
        the boundary, and a tilt of a thousandth moves it from 0 to 1."""
        aim, off = self.head("alone", picture)
        aim, off = aim / 400, (off + 200) / 400  # 1 for the picture, about 0 for others
        across = self._other - (self._other @ (picture - self._mean)) * aim
        for tilt in (-1e3, 1e3):
            yield 1e6 * across + tilt * aim, float(-1e6 * (across @ self._mean) + tilt * off)


def features(sums: DaySums) -> list[float]:
    """What the attacker looks at in released sums."""
    h = sums.histogram.astype(np.float64)
    if not h.sum():
        return []
    n = np.maximum(h.sum(axis=1), 1)
    filled = np.flatnonzero(h.sum(axis=0))
    at = np.concatenate([filled[::-1][:3], np.full(3, filled[-1])])[:3]
    total = np.cumsum(h[:, ::-1], axis=1)
    upto = min(int(np.searchsorted(total.sum(axis=0), 15)), BINS - 1)
    z = logit(CENTRES)
    loss = sums.log_loss / MAX_LOG_LOSS
    return [
        *h[:, at].T.reshape(-1),
        h[1, at[0]] / max(h[:, at[0]].sum(), 1),
        *h[:, filled[0]],
        *total[:, upto],
        *h[:, BINS // 2 :].sum(axis=1),
        auroc(sums.histogram)[0] or 0.5,
        *(h @ z / n),
        *z[at[:2]],
        *h.sum(axis=1),
        *loss,
        *(loss - n),
        *sums.squared_error,
        *(sums.squared_error - n),
    ]


METRICS = {"train_loss", "validation", "test", "personal", "grades", "audit"}
NO_METRICS = {
    *("protocol", "kind", "run", "round", "layout", "refused", "update", "examples"),
    *("seconds", "device", "memory_bytes", "reconnects", "masking"),
}
"""Of a reply. Another part must be named in one of these: what it tells of an embryo has to be read, too."""


def of_reply(reply: Reply) -> list[float]:
    """The same of everything that a reply says of metrics."""
    assert set(Reply.model_fields) == METRICS | NO_METRICS and not reply.grades
    seen = [] if reply.train_loss is None else [reply.train_loss]
    every = (reply.validation, reply.test, *reply.personal.values(), *reply.audit.values())
    return [*seen, *(x for s in every if s is not None for x in features(ScoreSums.from_dict(s).pooled()))]


def decoder(seen: Floats, truth: npt.NDArray[np.int64]) -> tuple[float, Any]:
    """A classifier fitted on tries, and how often it is right by cross-validation: linear or a forest, whichever is better.

    Parameters
    ----------
    seen : ndarray of float64, (n, k)
        Of each try what was released.
    truth : ndarray of int64, (n,)
        0 or 1.
    """
    forest = RandomForestClassifier(50, min_samples_leaf=5, random_state=0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rated = [(float(cross_val_score(m, seen, truth, cv=3).mean()), m) for m in (linear, forest)]
        rating, best = max(rated, key=lambda r: r[0])
        return rating, best.fit(seen, truth)


def label_accuracy(seen: Sequence[Sequence[float]], coins: Sequence[int]) -> float:
    """How often the label of a picture is told, on the half of the tries that the decoder was not fitted on.

    Parameters
    ----------
    seen : sequence of sequence of float
        Of each try what was released; all of the same length.
    coins : sequence of int
        The labels.
    """
    x, y, half = np.asarray(seen, np.float64), np.asarray(coins), len(coins) // 2
    if not x.shape[1]:
        return 0.5  # nothing was released: the attacker tosses a coin as well
    return float((decoder(x[:half], y[:half])[1].predict(x[half:]) == y[half:]).mean())
