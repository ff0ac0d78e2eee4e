"""What a hub may tell a clinic in a masked round that is not so, and the words by which the clinic refuses it."""

from collections.abc import Callable, Collection
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from embryofl.clinic_keys import sign
from embryofl.messages import MaskingRequest, Request
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.messages import Advert, Roster, Statement

STEPS = ("keys", "letters", "train", "survivors", "shares")


def changed(request: Request, **parts: Any) -> Request:
    """With other parts in what is asked of secure aggregation."""
    assert request.masking is not None
    return request.model_copy(update={"masking": request.masking.model_copy(update=parts)})


class Lies:
    """One lie of a hub, in one round, to bert or to all; it hears of each request, as it needs what others were told.

    Parameters
    ----------
    lie : str
        Of `LIES`. There are three clinics, or four: anna, bert, cleo and dora.
    round_ : int
    """

    def __init__(self, lie: str, round_: int) -> None:
        self._tell: Callable[[Request], Request | None] = getattr(self, lie)
        self._to = ("anna", "bert", "cleo", "dora") if lie in TO_ALL else ("bert",)
        self._round = round_
        self._first: Advert | None = None  # cleo's, in the run's first round
        self._roster: Roster | None = None
        self._train: Request | None = None

    def __call__(self, request: Request) -> Request:
        masking = request.masking
        if request.kind == "letters" and request.round == 1:
            self._first = masking.roster.advert_of("cleo")
        if request.clinic not in self._to or request.round != self._round:
            return request
        if request.kind == "letters":
            self._roster = masking.roster
        elif request.kind == "train":
            self._train = request
        return self._tell(request) or request

    # -- keys -----------------------------------------------------------------------------------------------------------
    def other_settings(self, request):
        settings = request.settings.model_copy(update={"learning_rate": 1e-9})
        return request.model_copy(update={"settings": settings}) if request.kind == "keys" else None

    def swapped_key(self, request):
        if request.kind == "keys":
            return changed(request, peers=request.masking.peers | {"cleo": request.masking.peers["anna"]})
        return None

    # -- letters --------------------------------------------------------------------------------------------------------
    def another_weight(self, request):
        return self._advert(request, weight=10**6)

    def old_advert(self, request):
        return self._advert(request, **self._first.model_dump())

    def other_mask_key(self, request):
        return self._advert(request, mask_key="11" * 32)

    def signed_by_nobody(self, request):
        """A clinic that is not among those whose keys were shown."""
        if request.kind != "letters":
            return None
        roster = request.masking.roster
        own = ec.generate_private_key(ec.SECP384R1())
        keys = dict.fromkeys(roster.names, "")
        stranger = ClinicSession(roster.terms, "zoe", 50, lambda text: sign(own, text), keys, None).advert
        return self._with_adverts(request, (*roster.adverts, stranger))

    def roster_of_another_model(self, request):
        if request.kind != "letters":
            return None
        roster = request.masking.roster
        terms = roster.terms.model_copy(update={"model": "c" * 64})
        return changed(request, roster=roster.model_copy(update={"terms": terms}))

    def without_its_own_advert(self, request):
        return self._only(request, {"anna", "cleo", "dora"})

    def missing_clinics(self, request):
        return self._only(request, {"anna", "bert"})

    # -- train ----------------------------------------------------------------------------------------------------------
    def another_model(self, request):
        model = request.model.model_copy(update={"sha256": "0" * 64})
        return request.model_copy(update={"model": model}) if request.kind == "train" else None

    def without_masks(self, request):
        off = {"secure_aggregation": "off", "masked_weights": ""}
        settings = request.settings.model_copy(update=off)
        return request.model_copy(update={"settings": settings, "masking": None}) if request.kind == "train" else None

    def second_roster(self, request):
        """In place of the letters, so that it makes letters once more, for fewer clinics."""
        if request.kind != "train":
            return None
        fewer = self._roster.model_copy(update={"adverts": self._roster.adverts[:3]})
        return request.model_copy(update={"kind": "letters", "masking": MaskingRequest(roster=fewer)})

    def letters_of_others(self, request):
        if request.kind == "train":
            return changed(request, letters=request.masking.letters.model_copy(update={"roster": "0" * 64}))
        return None

    def few_letters(self, request):
        return self._letters(request, {"anna", "bert"})

    def letter_of_a_stranger(self, request):
        return self._letters(request, {"anna", "bert", "dora"}, zoe="cleo")

    def without_its_own_letter(self, request):
        return self._letters(request, {"anna", "cleo", "dora"})

    def spoilt_letter(self, request):
        """That of anna, as if it were cleo's."""
        return self._letters(request, {"anna", "bert", "dora"}, cleo="anna")

    # -- survivors ------------------------------------------------------------------------------------------------------
    def second_vector(self, request):
        """Once more, but without dora's mask: the difference of the two would be that mask."""
        if request.kind != "survivors":
            return None
        return self._letters(self._train, {"anna", "bert", "cleo"})

    def few_survivors(self, request):
        return self._statement(request, survivors=("bert",))

    def survivors_without_it(self, request):
        return self._statement(request, survivors=("anna", "cleo", "dora"))

    def statement_of_another_roster(self, request):
        return self._statement(request, roster="0" * 64)

    def other_sharers(self, request):
        fewer = ("anna", "bert", "cleo")
        return self._statement(request, sharers=fewer, survivors=fewer)

    def one_is_dead_for_it_alone(self, request):
        """All others are told that dora lives; it confirms that she does not, and is then asked for shares of the others' sum."""
        return self._statement(request, survivors=("anna", "bert", "cleo"))

    def two_views(self, request):
        """Anna and bert are told that anna lives, cleo and dora that she does not, also with the signatures of both."""
        others = request.clinic in ("cleo", "dora") and request.kind in ("survivors", "shares")
        return self._statement(request, request.kind, survivors=("bert", "cleo", "dora")) if others else None

    def second_sum(self, request):
        """Of a model whose updates were summed before, this time without dora, who cannot send letters."""
        return self.roster_of_another_model(request) if request.clinic == "dora" else None

    # -- shares ---------------------------------------------------------------------------------------------------------
    def second_statement(self, request):
        """It is asked once more who is in the sum, this time without dora."""
        if request.kind != "shares":
            return None
        statement = request.masking.statement.model_copy(update={"survivors": ("anna", "bert", "cleo")})
        return request.model_copy(update={"kind": "survivors", "masking": MaskingRequest(statement=statement)})

    def another_statement(self, request):
        return self._statement(request, "shares", survivors=("anna", "bert"))

    def forged_signatures(self, request):
        return changed(request, signatures={"bert": "0" * 16}) if request.kind == "shares" else None

    def few_signatures(self, request):
        """Two, and one of these again in the name of another clinic."""
        if request.kind != "shares":
            return None
        given = request.masking.signatures
        return changed(request, signatures={"anna": given["anna"], "bert": given["bert"], "cleo": given["anna"]})

    # -- parts ----------------------------------------------------------------------------------------------------------
    def _advert(self, request: Request, **fields: Any) -> Request | None:
        if request.kind != "letters":
            return None
        adverts = request.masking.roster.adverts
        return self._with_adverts(
            request, tuple(a.model_copy(update=fields) if a.clinic == "cleo" else a for a in adverts)
        )

    def _only(self, request: Request, names: Collection[str]) -> Request | None:
        if request.kind != "letters":
            return None
        return self._with_adverts(request, tuple(a for a in request.masking.roster.adverts if a.clinic in names))

    @staticmethod
    def _with_adverts(request: Request, adverts: tuple[Advert, ...]) -> Request:
        return changed(request, roster=request.masking.roster.model_copy(update={"adverts": adverts}))

    @staticmethod
    def _letters(request: Request, names: Collection[str], **from_others: str) -> Request | None:
        if request.kind != "train":
            return None
        letters = request.masking.letters
        sent = {n: x for n, x in letters.letters.items() if n in names}
        sent |= {name: letters.letters[other] for name, other in from_others.items()}
        return changed(request, letters=letters.model_copy(update={"letters": sent}))

    @staticmethod
    def _statement(request: Request, kind: str = "survivors", **fields: Any) -> Request | None:
        if request.kind != kind:
            return None
        statement: Statement = request.masking.statement
        return changed(request, statement=statement.model_copy(update=fields))


_REFUSED = {
    Lies.few_survivors: ("survivors", "1 survivors"),
    Lies.other_settings: ("keys", "terms of another work"),
    Lies.swapped_key: ("keys", "(changed: cleo)"),
    Lies.another_weight: ("letters", "cleo has not signed these keys, weight and cells"),
    Lies.old_advert: ("letters", "cleo has not signed these keys, weight and cells"),
    Lies.other_mask_key: ("letters", "cleo has not signed these keys, weight and cells"),
    Lies.signed_by_nobody: ("letters", "zoe is not known"),
    Lies.roster_of_another_model: ("letters", "a roster with the terms"),
    Lies.without_its_own_advert: ("letters", "a roster without the advert of bert"),
    Lies.missing_clinics: ("letters", "2 clinics in a roster"),
    Lies.another_model: ("train", "terms of another model"),
    Lies.without_masks: ("train", "training from this model began with masks in this run, and now there are none"),
    Lies.second_roster: ("train", "a second, different roster"),
    Lies.letters_of_others: ("train", "letters of roster 0000"),
    Lies.few_letters: ("train", "2 senders of letters"),
    Lies.letter_of_a_stranger: ("train", "letters from zoe, expected only clinics of the roster"),
    Lies.without_its_own_letter: ("train", "letters without that of bert to itself"),
    Lies.spoilt_letter: ("train", "the letter from cleo to bert cannot be opened"),
    Lies.second_vector: ("survivors", "keys mask one vector"),
    Lies.survivors_without_it: ("survivors", "survivors without bert"),
    Lies.statement_of_another_roster: ("survivors", "a statement about another roster"),
    Lies.other_sharers: ("survivors", "with letters from anna, bert, cleo"),
    Lies.second_statement: ("shares", "a second, different statement"),
    Lies.another_statement: ("shares", "another statement than this clinic has confirmed"),
    Lies.forged_signatures: ("shares", "0 valid confirmations"),
    Lies.few_signatures: ("shares", "2 valid confirmations"),
    Lies.one_is_dead_for_it_alone: ("shares", "another statement than this clinic has confirmed"),
    Lies.two_views: ("shares", "2 valid confirmations"),
    Lies.second_sum: ("survivors", "updates to the same model were confirmed before"),
}
LIES = {lie.__name__: refused for lie, refused in _REFUSED.items()}
"""By name: at which step it is refused, and how the clinic names it. The first one needs no round before."""
TO_ALL = ("two_views", "second_sum")
TO_BERT = tuple(lie for lie in LIES if lie not in TO_ALL)
