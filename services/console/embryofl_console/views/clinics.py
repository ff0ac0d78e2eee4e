"""The page Clinics: the list, one clinic's record, invites, local test clinics."""

from collections.abc import Mapping
from typing import Any

from embryofl_console import texts
from embryofl_console.views.parts import e, facts, mark, p, seconds, size, table, to_copy, when

State = dict[str, Any]
_LABELS = ("1", "0", "unlabelled")


def roster(state: State | None) -> str:
    """All clinics."""
    if state is None:
        return p(texts.LOADING)
    if not state["roster"]:
        return p(texts.NO_CLINIC)
    rows = [
        [
            e(c["name"]),
            _standing(c),
            e(texts.JUST_NOW) if c["online"] else when(c["last_seen"]),
            _count(c["labelled"]),
            _count(c["patients"]),
            e(texts.MEANINGS.get(c["meaning"], c["meaning"])),
        ]
        for c in state["roster"]
    ]
    return table(texts.ROSTER, rows, texts.CLINICS)


def _standing(clinic: State) -> str:
    state = clinic["does"] if clinic["state"] == "enrolled" and clinic["does"] else clinic["state"]
    return mark(state) + (f" {e(clinic['reason'])}" if clinic["reason"] else "")


def _count(value: object) -> str:
    return "-" if value is None else e(value)


def record(found: State) -> str:
    """One clinic."""
    link = found["link"]
    parts = [f"<h3>{e(found['name'])}</h3>"]
    parts += [f'<p class="warn">{e(words[:1].upper() + words[1:])}</p>' for words in found["warnings"]]
    parts.append(
        facts(
            [
                (texts.STATE, _standing(found)),
                (texts.SINCE, when(found["since"])),
                (texts.LAST_SEEN, e(texts.JUST_NOW) if found["online"] else when(found["last_seen"])),
                (texts.LINE, _line(link)),
                (texts.LABEL_MEANS, e(texts.MEANINGS.get(found["meaning"], found["meaning"]))),
                (texts.PATIENTS, _count(found["patients"])),
                (texts.KEY, f"<code>{e(found['key'])}</code>"),
            ]
        )
    )
    return "".join([*parts, _data(found["summary"]), _rounds(found["rounds"])])


def _line(link: State) -> str:
    if link["down_rate"] is None and link["up_rate"] is None:
        return e(texts.LINE_UNKNOWN)
    ways = [(texts.LINE_DOWN, link["down_rate"]), (texts.LINE_UP, link["up_rate"])]
    words = [texts_.format(rate=size(rate)) for texts_, rate in ways if rate]
    if link["reconnects"]:
        words.append(texts.RECONNECTS.format(n=link["reconnects"]))
    return e("; ".join(words))


def _data(summary: State) -> str:
    counts = summary.get("counts")
    if not isinstance(counts, dict) or not counts:
        return p(texts.NO_COUNTS)
    rows = [
        [
            e(texts.DAY_UNKNOWN if day == "unknown" else texts.DAY.format(day=day)),
            *(_count(by.get(label, 0) if isinstance(by, dict) else None) for label in _LABELS),
        ]
        for day, by in sorted(counts.items(), key=lambda item: str(item[0]))
    ]
    return table(texts.COUNTS, rows, texts.COUNTS_TITLE, "narrow")


def _rounds(rounds: list[State]) -> str:
    if not rounds:
        return p(texts.NO_ROUNDS)
    rows = []
    for r in rounds:
        head = [e(f"{r['run']}, {r['round']}"), mark(r["result"])]
        if r["result"] == "done":
            spent = ", ".join(f"{texts.SPENT.get(k, k)} {seconds(v)}" for k, v in r["seconds"].items() if v >= 0.05)
            rows.append([*head, e(seconds(r["answer_s"])), e(spent or "-"), e(f"{size(r['down'])} / {size(r['up'])}")])
        else:
            rows.append([*head, "-", e(r["words"]), "-"])
    return table(texts.ROUNDS_OF, rows, texts.ROUNDS_TITLE)


def invited(name: str, found: State) -> str:
    """What there is to know of an invite that was made now."""
    words = f"{e(texts.INVITED.format(name=name))} {when(found['expires'])}. {e(texts.SEND_SAFELY)}"
    parts = [f'<p class="done" role="status">{words}</p>', p(texts.INVITED_MANUAL) if found["manual"] else ""]
    parts += [to_copy(f"line-{way}", label, found["lines"][way]) for way, label in texts.WAYS.items()]
    return "".join(parts)


def open_invites(state: State | None) -> list[str]:
    """Names with an unused invite."""
    return sorted(i["name"] for i in (state or {"invites": []})["invites"] if i["state"] == "open")


def invites(state: State | None) -> str:
    """The invites that are still open."""
    found = [i for i in (state or {"invites": []})["invites"] if i["state"] == "open"]
    if not found:
        return p(texts.NO_INVITES)
    rows = [[e(i["name"]), when(i["created"]), when(i["expires"])] for i in found]
    return table(texts.INVITES, rows, texts.INVITES_TITLE, "narrow")


def local(states: Mapping[str, str]) -> str:
    """The demo's clinics."""
    if not states:
        return p(texts.NO_LOCAL_YET)
    rows = [[e(n), mark(s)] for n, s in sorted(states.items())]
    return table(texts.LOCALS, rows, texts.LOCAL_TITLE, "narrow", headed=True)


def compose_lines() -> str:
    """What to type where clinics are containers: the console holds no way to start anything there."""
    lines = (to_copy(f"compose-{n}", words, line) for n, (words, line) in enumerate(texts.COMPOSE_LINES))
    return p(texts.COMPOSE_WORDS) + "".join(lines)
