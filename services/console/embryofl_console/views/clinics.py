"""The page Clinics: the list, one clinic's record, invites, local test clinics."""

from collections.abc import Mapping
from typing import Any

from embryofl.states import CLINIC, MEMBER, PROCESS
from embryofl.texts import duration, size
from embryofl_console.texts import texts
from embryofl_console.views.parts import dash, e, facts, mark, meaning, p, table, to_copy, when

State = dict[str, Any]
t = texts.clinics


def roster(state: State | None) -> str:
    """All clinics."""
    if state is None:
        return p(texts.page.loading)
    if not state["roster"]:
        return p(t.no_clinic)
    rows = [
        [e(c["name"]), _state(c), _last_seen(c), dash(c["labelled"]), dash(c["patients"]), meaning(c["meaning"])]
        for c in state["roster"]
    ]
    return table(t.columns, rows, t.title)


def _state(clinic: State) -> str:
    in_round = clinic["state"] == "enrolled" and clinic["does"]
    shown = mark(CLINIC, clinic["does"]) if in_round else mark(MEMBER, clinic["state"])
    return shown + (f" {e(clinic['reason'])}" if clinic["reason"] else "")


def _last_seen(clinic: State) -> str:
    return e(texts.common.now) if clinic["online"] else when(clinic["last_seen"])


def record(clinic: State) -> str:
    """One clinic."""
    parts = [f"<h3>{e(clinic['name'])}</h3>"]
    parts += [f'<p class="warn">{e(text[:1].upper() + text[1:])}</p>' for text in clinic["warnings"]]
    pairs = [
        (texts.common.state, _state(clinic)),
        (texts.common.since, when(clinic["since"])),
        (texts.common.last_seen, _last_seen(clinic)),
        (t.network, _network(clinic["link"])),
        (texts.common.label, meaning(clinic["meaning"])),
        (texts.common.patients, dash(clinic["patients"])),
        (t.key, f"<code>{e(clinic['key'])}</code>"),
    ]
    return "".join([*parts, facts(pairs), _counts(clinic["summary"]), _rounds(clinic["rounds"])])


def _network(link: State) -> str:
    if link["down_rate"] is None and link["up_rate"] is None:
        return e(t.network_unknown)
    ways = ((t.download, link["down_rate"]), (t.upload, link["up_rate"]))
    parts = [text.format(rate=size(rate)) for text, rate in ways if rate]
    if link["reconnects"]:
        parts.append(t.reconnects.format(n=link["reconnects"]))
    return e("; ".join(parts))


def day_name(day: str) -> str:
    """The name of a day."""
    names = {"all": texts.common.all_days, "0": texts.common.day_unknown, "unknown": texts.common.day_unknown}
    return str(names.get(day) or texts.common.day.format(day=day))


def _counts(summary: State) -> str:
    counts = summary.get("counts")
    if not isinstance(counts, dict) or not counts:
        return p(t.no_counts)
    rows = [
        [e(day_name(day)), *(dash(by.get(k, 0) if isinstance(by, dict) else None) for k in ("1", "0", "unlabelled"))]
        for day, by in sorted(counts.items(), key=lambda item: str(item[0]))
    ]
    return table(t.counts, rows, t.counts_title, "narrow")


def _rounds(rounds: list[State]) -> str:
    if not rounds:
        return p(t.no_rounds)
    rows = []
    for r in rounds:
        head = [e(f"{r['run']}, {r['round']}"), mark(CLINIC, r["result"])]
        if r["result"] == "done":
            spent = ", ".join(f"{texts.spent.get(k, k)} {duration(v)}" for k, v in r["seconds"].items() if v >= 0.05)
            rows.append([*head, e(duration(r["answer_s"])), e(spent or "-"), e(f"{size(r['down'])} / {size(r['up'])}")])
        else:
            rows.append([*head, "-", e(r["words"]), "-"])
    return table(t.rounds, rows, t.rounds_title)


def invited(name: str, invite: State) -> str:
    """A new invite: the lines that a clinic can type."""
    made = f"{e(texts.invite.created.format(name=name))} {when(invite['expires'])}. {e(texts.invite.send)}"
    parts = [f'<p class="done" role="status">{made}</p>', p(texts.invite.manual) if invite["manual"] else ""]
    return "".join([*parts, *(to_copy(f"line-{way}", title, invite["lines"][way]) for way, title in texts.way.items())])


def open_invites(state: State | None) -> list[State]:
    """The unused invites."""
    return [i for i in (state or {"invites": []})["invites"] if i["state"] == "open"]


def invites(state: State | None) -> str:
    """The invites that are still open."""
    rows = [[e(i["name"]), when(i["created"]), when(i["expires"])] for i in open_invites(state)]
    return table(texts.invite.columns, rows, texts.invite.open_title, "narrow") if rows else p(texts.invite.none)


def local(states: Mapping[str, str]) -> str:
    """The demo's clinics."""
    rows = [[e(n), mark(PROCESS, s)] for n, s in sorted(states.items())]
    title = texts.local.title
    return table(texts.local.columns, rows, title, "narrow", headed=True) if rows else p(texts.local.none_yet)


def compose_lines() -> str:
    """What to type where clinics are containers, which the console cannot start."""
    lines = (to_copy(f"compose-{n}", title, line) for n, (title, line) in enumerate(texts.local.commands))
    return p(texts.local.compose) + "".join(lines)
