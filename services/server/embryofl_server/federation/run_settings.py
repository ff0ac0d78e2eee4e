"""Run settings as a person types them, ``name=value``, and whether they can be used."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from embryofl.errors import UserError
from embryofl.membership import Releases
from embryofl.models import has_norms, model_names
from embryofl.schema import there_is_no
from embryofl.secagg.groups import FEWEST, least_clinics
from embryofl.secagg.threshold import MIN_CLINICS
from embryofl.settings import PRIVATE, RunSettings, SumWeights, run_settings, setting_value
from embryofl_server.federation.strategies import (
    local_defaults,
    make_strategy,
    strategy,
    strategy_names,
    strategy_settings,
)
from embryofl_server.members.store import ClinicStore, state_label
from embryofl_server.runs.updates_seen import reason_against_masks


def parse_settings(options: list[str]) -> dict[str, Any]:
    """``["rounds=15", "model=resnet18"]`` to a dict; numbers and booleans as in JSON, anything else as text. A name
    alone is one more of `clinics`: make separates settings at commas, too."""
    values: dict[str, Any] = {}
    name = ""
    for option in options:
        if name == "clinics" and option.strip() and "=" not in option:
            values[name] = f"{values[name]},{option.strip()}"
            continue
        name, sign, text = (part.strip() for part in option.partition("="))
        if not sign or not name:
            raise UserError("R1", f"{option!r} is not a setting. Write it as name=value, such as rounds=15.")
        values[name] = text if name == "clinics" else setting_value(text)
    return values


def check_settings(values: dict[str, Any], *, any_model: bool = False) -> RunSettings:
    """Validate a run's settings; `any_model` where the initial weights are given. The seed of a run with masks is drawn
    unless it is given.

    Raises
    ------
    UserError
        When a setting, the model or the strategy does not exist or cannot be used; it names those that exist.
    """
    if values.get("dp_epsilon"):
        values = {**PRIVATE, **values}
    settings = run_settings(_with_strategy_settings(values))
    if settings.model not in model_names() and not any_model:
        raise UserError(
            "R1", f"{there_is_no('model', settings.model, model_names())} Choose one of: {', '.join(model_names())}."
        )
    _check_combination(settings)
    needed = make_strategy(settings).min_updates
    if settings.min_clinics < needed:
        raise UserError(
            "R1",
            f"Strategy {settings.strategy} needs at least {needed} clinics, min_clinics is {settings.min_clinics}. Choose "
            "another strategy, or have more clinics take part.",
        )
    masked, reason = with_masks(settings), _reason_against_masks(settings)
    if settings.secure_aggregation == "required" and not masked.masked_weights:
        able = ", ".join(name for name in strategy_names() if _maskable(name))
        raise UserError(
            "R1",
            f"secure_aggregation=required is not possible: {reason}. Have more clinics take part, "
            f"choose one of the strategies {able}, or set secure_aggregation=auto, with which the hub sees each update.",
        )
    if settings.update_noise and not masked.masked_weights:
        raise UserError(
            "R1",
            f"update_noise={settings.update_noise} is not possible: clinics add it under masks, and this run has none: "
            f"{reason}. Leave it out, or make masks possible.",
        )
    if settings.masked_weights not in ("", masked.masked_weights):
        raise UserError(
            "R1", f"masked_weights follows from secure_aggregation; here it is {masked.masked_weights!r}. Leave it out."
        )
    if masked.masked_weights and "seed" not in values:
        # With the seed of another run, this one could begin from the same model; see `embryofl.secagg.ledger.Ledger`.
        masked = masked.model_copy(update={"seed": secrets.randbelow(2**31)})
    return masked


def check_run(values: dict[str, Any], store: ClinicStore, *, any_model: bool = False) -> RunSettings:
    """The same of a run of this hub: `min_clinics` defaults to all clinics that take part.

    Raises
    ------
    UserError
        Also when a clinic that `clinics` names is not enrolled, or a clinic's policy excludes the run (`check_releases`).
    """
    names = check_clinics(run_settings({"clinics": values.get("clinics", ())}).clinics, store)
    values = {"min_clinics": max(1, len(names or store.admitted())), **values}
    settings = check_settings(values, any_model=any_model)
    if names and settings.min_clinics > len(names):
        raise UserError(
            "R1",
            f"min_clinics={settings.min_clinics} cannot be reached: {len(names)} clinics take part ({', '.join(names)}). "
            "Choose a smaller number, or leave it out.",
        )
    check_releases(settings, store.releases(names))
    return settings


def check_clinics(names: Sequence[str], store: ClinicStore) -> Sequence[str]:
    """The names, if all are of clinics that can be asked; else `UserError` with the nearest name or the clinic's state."""
    clinics, admitted = store.clinics(), store.admitted()
    for name in names:
        if name not in clinics:
            enrolled = ", ".join(sorted(admitted)) or "none"
            raise UserError("R1", f"{there_is_no('clinic', name, admitted)} Enrolled: {enrolled}.")
        if name not in admitted:
            state = "to be updated" if clinics[name].state == "enrolled" else state_label(clinics[name].state).lower()
            raise UserError(
                "R1", f"{name} cannot take part: it is {state}. Expected enrolled clinics. See: embryofl-server clinics"
            )
    return names


def check_releases(settings: RunSettings, releases: Mapping[str, Releases]) -> None:
    """Raise `UserError` if the run needs the metrics of every round, and a clinic does not release its own; or asks for
    pooled ones of too few clinics."""
    pooled = [name for name, released in sorted(releases.items()) if released == "pooled"]
    if settings.pooled_every and len(pooled) < MIN_CLINICS:
        raise UserError(
            "R1",
            f"pooled_every={settings.pooled_every} cannot be used: metrics are summed over at least {MIN_CLINICS} clinics, "
            f"and by their policy these release pooled ones: {', '.join(pooled) or 'none'}. Leave it out, or ask more "
            'clinics for metrics = "pooled" in their policy.toml. Clinics with "own" send theirs after every round anyway.',
        )
    silent = [f"{name} ({released})" for name, released in sorted(releases.items()) if released != "own"]
    needs = {
        f"strategy {settings.strategy}": strategy(settings.strategy).LOSSES_NEEDED,
        "choose=best": settings.choose == "best",
        f"patience={settings.patience}": settings.patience > 0,
    }
    if silent and (needing := [what for what, needed in needs.items() if needed]):
        raise UserError(
            "R1",
            f"{' and '.join(needing)} cannot be used: it needs every clinic's metrics of every round, and by their policy "
            f"these do not release them: {', '.join(silent)}. Choose something else, or ask these clinics for "
            'metrics = "own" in their policy.toml.',
        )


def with_masks(settings: RunSettings) -> RunSettings:
    """The settings with `masked_weights` as they decide it."""
    weights = "" if _reason_against_masks(settings) else _sum_weights(settings)
    return settings.model_copy(update={"masked_weights": weights})


def _sum_weights(settings: RunSettings) -> SumWeights:
    """The weights of the sum of all updates, or of groups of them, with which the run's strategy can do."""
    strategy = make_strategy(settings)
    enough = settings.min_clinics >= least_clinics(max(FEWEST, strategy.min_updates))
    return strategy.sum_weights or (strategy.group_weights if settings.groups == "auto" and enough else "")


def _reason_against_masks(settings: RunSettings) -> str:
    sums = bool(_sum_weights(settings)) and not settings.differs_by_clinic
    return reason_against_masks(settings.model_dump(), sums=sums)


def _maskable(name: str) -> bool:
    local = RunSettings(strategy=name, **local_defaults(name))
    return bool(strategy(name)(strategy_settings(name, {})).sum_weights) and not local.differs_by_clinic


def _check_combination(settings: RunSettings) -> None:
    """Settings that only a strategy may decide, and settings that exclude each other."""
    local, name = local_defaults(settings.strategy), settings.strategy
    for key in ("control", "personal", "task_weights"):
        if getattr(settings, key) != local.get(key, ""):
            raise UserError(
                "R1", f"{key} follows from the strategy; with {name} it is {local.get(key, '')!r}. Leave it out."
            )
    if settings.control == "gradients" and not settings.proximal > 0:
        raise UserError(
            "R1", f"Strategy {name} divides by its alpha, which is proximal: expected more than 0, such as 0.01."
        )
    if settings.pooled_every >= settings.rounds:
        raise UserError(
            "R1",
            f"pooled_every={settings.pooled_every} asks for nothing before the end of {settings.rounds} rounds. Choose a "
            "smaller number, or leave it out.",
        )
    if settings.choose == "best" and settings.personal:
        raise UserError(
            "R1", f"choose=best cannot be used with {name}, whose clinics keep models of the last round. Leave it out."
        )
    if settings.personal == "norms" and not has_norms(settings.model):
        raise UserError(
            "R1",
            f"Strategy {name} keeps normalisation layers at the clinics, and {settings.model} has none that are trained. "
            f"Choose a model that has, such as small_cnn, or another strategy, such as ditto.",
        )


def _with_strategy_settings(values: dict[str, Any]) -> dict[str, Any]:
    """A strategy's settings are given like all others, and stored in `strategy_settings` with their defaults."""
    name = str(values.get("strategy", RunSettings.model_fields["strategy"].default))
    takes = strategy(name).SETTINGS.model_fields
    given = values.get("strategy_settings", {})
    if not isinstance(given, dict):
        return values  # `run_settings` rejects it
    rest = {k: v for k, v in values.items() if k not in takes and k != "strategy_settings"}
    for key in rest:
        owners = [n for n in strategy_names() if key in strategy(n).SETTINGS.model_fields]
        if owners:
            raise UserError(
                "R1", f"{key} is a setting of strategy {' and '.join(owners)}, the run's strategy is {name}."
            )
        if key not in (names := {**RunSettings.model_fields, **takes}):
            raise UserError("R1", f"{there_is_no('setting', key, names)} All settings: docs/settings.md.")
    given = {**given, **{k: v for k, v in values.items() if k in takes}}
    return {**local_defaults(name), **rest, "strategy_settings": strategy_settings(name, given).model_dump()}
