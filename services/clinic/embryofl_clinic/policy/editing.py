"""Changes `policy.toml` as a person in the clinic app asks: by the file's own rules, and after saying what it allows."""

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.files import in_turn, write_atomic
from embryofl.models import model_names
from embryofl.schema import explain
from embryofl_clinic.policy.rules import FILE, Rules, load_rules
from embryofl_clinic.texts import texts

RULES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))


def digest_of(state_dir: Path) -> str:
    """Of the file as it is: SHA-256; "" without one."""
    path = state_dir / FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def plain_meaning(name: str) -> str:
    """What a rule means, as a sentence without Markdown and its full stop."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", RULES[name]["meaning"]).replace("`", "")
    return text[0].upper() + text[1:]


def choices(name: str) -> list[str]:
    """The values that a rule can have, as typed; none where it is a number or text."""
    kind = Rules.model_fields[name].annotation
    return ["false", "true"] if kind is bool else [str(value) for value in get_args(kind) if isinstance(value, str)]


def typed(value: Any) -> str:
    """A rule's value as a person types it."""
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_fields(fields: Mapping[str, str]) -> Rules:
    """The rules that a person has typed, one in each field; an empty field is the default.

    Raises
    ------
    UserError
        For a rule that there is not, or a value that the file may not have either.
    """
    given = {
        name: [model.strip() for model in value.split(",")] if name == "models" else value.strip()
        for name, value in fields.items()
        if value.strip()
    }
    try:
        return Rules.model_validate(given)
    except ValidationError as exc:
        raise UserError("J9", texts.policy.refused.format(fault=explain(exc, list(RULES)))) from None


def changes(before: Rules, after: Rules) -> list[str]:
    """What each changed rule allows or forbids from now on, a sentence each."""
    sentences = []
    for name in RULES:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            more = _allows_more(name, old, new)
            begin = texts.policy.changes if more is None else texts.policy.more if more else texts.policy.less
            sentences.append(begin.format(rule=name, says=_says(name, new)))
    return sentences


def _says(name: str, value: Any) -> str:
    says = RULES[name]["says"]
    key = "none" if not value and "none" in says else typed(value)
    return str(says.get(key, says.get("value", ""))).format(value=typed(value))


def _allows_more(name: str, old: Any, new: Any) -> bool | None:
    """Whether the new value allows more than the old one; None where neither does."""
    rule = RULES[name]
    if isinstance(rule["more"], list):
        return bool(rule["more"].index(new) > rule["more"].index(old))
    if not rule["more"]:
        return None if old and new else not new
    if isinstance(new, list):
        before, after = (set(value or model_names()) for value in (old, new))  # none named: all
        return True if before < after else False if after < before else None
    first, second = (math.inf if rule.get("limit") and not value else value for value in (old, new))
    return bool(second > first) is (rule["more"] == "up")


def save(state_dir: Path, rules: Rules, seen: str) -> None:
    """Write the rules that the file had, that have changed, or that are not the default. The trainer reads them at its next
    request. The file's comments are not kept.

    Parameters
    ----------
    state_dir : Path
    rules : Rules
    seen : str
        `digest_of` the file whose rules were changed.

    Raises
    ------
    UserError
        When the file is another one by now, cannot be used, or the disk is full.
    """
    path = state_dir / FILE
    with in_turn(path):
        before = load_rules(state_dir)
        if digest_of(state_dir) != seen:
            raise UserError("J9", texts.policy.changed)
        kept = before.model_fields_set | {n for n in RULES if getattr(rules, n) != getattr(Rules(), n)}
        values = {name: json.dumps(getattr(rules, name), ensure_ascii=False) for name in RULES if name in kept}
        text = texts.policy.head + "".join(f"{name} = {value}\n" for name, value in values.items())
        if not _reads_as(text, rules):
            raise UserError("J9", texts.policy.refused.format(fault=texts.policy.characters))
        write_atomic(path, text.encode(), 0o644)


def _reads_as(text: str, rules: Rules) -> bool:
    try:
        text.encode()
        return Rules.model_validate(tomllib.loads(text)).model_dump() == rules.model_dump()
    except ValueError:
        return False
