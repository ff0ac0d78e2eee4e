"""People are told what needs them: once, with its end, by a real mail server and a real webhook, and with nothing else in it."""

import json
import logging
import os
import ssl
import stat
from email.header import decode_header

import pytest

from embryofl.errors import UserError
from embryofl.settings import RunSettings
from embryofl_server.api.status import status
from embryofl_server.monitor.notices import Notice, notices
from embryofl_server.monitor.notifier import service
from embryofl_server.monitor.notifier.mail import send_mail
from embryofl_server.monitor.notifier.message import TEXTS, compose, trial_message
from embryofl_server.monitor.notifier.outbox import LONGEST_PAUSE_S, PAUSE_S, SETTLE_S
from embryofl_server.monitor.notifier.service import Notifier, ask
from embryofl_server.monitor.notifier.settings import Mail, NotifierSettings, Webhook, read_channels
from embryofl_server.monitor.notifier.state import FRESH_S, notifier_status
from embryofl_server.monitor.notifier.webhook import send_webhook
from kits.answering import answering, reply
from kits.enrolment import join
from kits.mail_server import mail_server
from kits.tls import Authority

PASSWORD, PATH = "a-mail-password", "/services/T00/a-secret-path"
SUSPENDED, WAITS = Notice("ClinicSuspended", "lisbon"), Notice("ClinicWaits", "porto")
FINISHED, FULL = Notice("RunFinished", "run-0001"), Notice("DiskNearlyFull", "", "9 %")
T0 = 1_000_000.0


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def webhook():
    """A receiver: what it got, and what it answers."""
    got = type("Receiver", (), {"bodies": [], "requests": [], "answer": 200, "url": ""})()

    def respond(handler):
        got.requests.append((handler.command, handler.path, handler.headers.get("Authorization")))
        got.bodies.append(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        handler.send_response(got.answer)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with answering(respond) as server:
        got.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        yield got


@pytest.fixture
def watch(tmp_path, monkeypatch, webhook):
    """A notifier with the webhook, at a hub that says what a test wants it to say."""
    said = type("Said", (), {"notices": [], "restart": None, "notifier": None, "file": tmp_path / "state.json"})()

    def answer(_):
        if said.notices is None:
            raise UserError("H1", "The hub did not reply.")
        return list(said.notices)

    monkeypatch.setattr(service, "ask", answer)
    (tmp_path / "notify.toml").write_text(f'[webhook]\nurl = "{webhook.url}"\n')

    def restart():
        said.notifier = Notifier(NotifierSettings(file=said.file), read_channels(tmp_path / "notify.toml"))

    said.restart = restart
    restart()
    return said


def told(webhook):
    return [sentence for body in webhook.bodies for sentence in body["text"].partition("\n\n")[0].split("\n")]


def mail_settings(server, authority, **more):
    given = {
        "server": "localhost",
        "port": server.port,
        "user": "hub",
        "password": PASSWORD,
        "sender": "hub@example.org",
    }
    return Mail(**given, to=["anna@example.org", "bert@example.org"], authority=authority.pem, **more)


# -- what the hub says ------------------------------------------------------------------------------------------------
def test_hub_names_what_people_are_told_and_nothing_else(hub):
    join(hub, "lisbon")
    hub.membership.suspend("lisbon", "patient 17 was seen twice", "me")
    for state in ("finished", "failed", "stopped", "waiting"):
        run = hub.runs.create(RunSettings(rounds=2))
        run.set_state(state, 0, "patient 17")
        run.add_metrics(
            [{"clinic": "lisbon", "split": "validation", "day": None, "round": 0, "loss": 0.5, "auroc": 0.7}]
        )
    now = hub.overview.now()
    firing = [*hub.alerts.firing(now), *(type(a)("DiskNearlyFull", "", "9 %") for a in hub.alerts.firing(now)[:1])]
    found = notices(now, firing, hub.views.all())
    ended = [FINISHED, Notice("RunFailed", "run-0002")]
    assert found == [SUSPENDED, Notice("RunWaits", "run-0004"), FULL, *ended]
    text = compose(found, [], "1").text
    assert "patient" not in text and "0.7" not in text and "finished" in text


def test_every_notice_has_words_for_its_beginning_and_every_end_belongs_to_one():
    assert set(TEXTS["ended"]) < set(TEXTS["holds"])
    assert set(TEXTS["holds"]) - set(TEXTS["ended"]) == {"RunFinished", "RunFailed"}


# -- once, and its end once --------------------------------------------------------------------------------------------
def test_each_thing_and_its_end_are_told_once_also_across_restarts(watch, webhook):
    watch.notices, minute = [SUSPENDED], T0
    for step in range(6):
        watch.notifier.look(minute + step * SETTLE_S)
        watch.restart() if step > 1 else None
    assert told(webhook) == ["lisbon is suspended and takes part in no round."]
    watch.notices = []
    for step in range(6, 12):
        watch.notifier.look(minute + step * SETTLE_S)
        watch.restart() if step > 7 else None
    assert told(webhook)[1:] == ["Solved: lisbon is no longer suspended."]


def test_what_holds_only_for_moments_is_not_told(watch, webhook):
    for step in range(8):
        watch.notices = [Notice("RunWaits", "run-0001")] if step % 2 else []
        watch.notifier.look(T0 + step * SETTLE_S / 2)
    assert webhook.bodies == []


def test_runs_that_ended_before_are_not_told_and_later_ones_at_once(watch, webhook):
    watch.notices = [FINISHED]
    watch.notifier.look(T0)
    watch.notices = [FINISHED, Notice("RunFailed", "run-0002")]
    watch.notifier.look(T0 + 10)
    watch.notices = [Notice("RunFailed", "run-0002")]  # the first one is too old to be listed
    watch.notifier.look(T0 + 100)
    watch.notifier.look(T0 + 200)
    assert told(webhook) == ["run-0002 has failed."]


def test_storm_is_one_message_a_minute(watch, webhook):
    watch.notifier.look(T0)
    for step in range(1, 121):  # one more run has ended each second
        watch.notices = [*watch.notices, Notice("RunFailed", f"run-{step:04d}")]
        watch.notifier.look(T0 + step)
    assert [len(body["holds"]) for body in webhook.bodies] == [1, 60]
    assert webhook.bodies[1]["text"].startswith("run-0002 has failed.\nrun-0003")


def test_hub_that_does_not_respond_is_told_and_solves_nothing(watch, webhook):
    watch.notices = [SUSPENDED]
    watch.notifier.look(T0)
    watch.notifier.look(T0 + SETTLE_S)
    watch.notices = None
    watch.notifier.look(T0 + 200)
    assert "did not reply" in notifier_status(watch.file)["words"]
    watch.notifier.look(T0 + 200 + SETTLE_S)
    watch.notices = [SUSPENDED]
    watch.notifier.look(T0 + 400)
    watch.notifier.look(T0 + 400 + SETTLE_S)
    assert told(webhook)[1:] == ["The hub does not respond.", "Solved: the hub responds again."]


# -- failures ----------------------------------------------------------------------------------------------------------
def test_receiver_that_is_away_is_asked_again_with_growing_pauses_and_its_failure_is_shown(watch, webhook, caplog):
    webhook.answer, watch.notices, tries = 503, [], []
    watch.notifier.look(T0)
    watch.notices = [FINISHED]
    for second in range(0, 8_000, 40):
        before = len(webhook.bodies)
        watch.notifier.look(T0 + second)
        tries += [second] * (len(webhook.bodies) - before)
    pauses = [later - earlier for earlier, later in zip(tries, tries[1:], strict=False)]
    assert pauses == [min(PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(1, len(tries))]
    assert len({body["id"] for body in webhook.bodies}) == 1  # a receiver may know it as the same
    shown = notifier_status(watch.file)
    assert not shown["up"]
    assert "The webhook at 127.0.0.1 did not take the message: it answered 503." in shown["words"]
    assert caplog.text.count("answered 503") == 1
    webhook.answer = 200
    watch.notifier.look(T0 + 30_000)
    assert told(webhook)[-1] == "run-0001 has finished." and notifier_status(watch.file) == {"up": True, "words": ""}


def test_status_of_the_hub_says_how_the_notifier_is(watch, hub, monkeypatch):
    shown = lambda: status(hub, hub.overview.now())["hub"]["notifier"]  # noqa: E731
    assert shown() is None
    monkeypatch.setattr(hub, "settings", hub.settings.model_copy(update={"notifier_file": watch.file}))
    assert "not been started" in shown()["words"]
    watch.notifier.look(T0)
    assert shown() == {"up": True, "words": ""}
    os.utime(watch.file, (1.0, watch.file.stat().st_mtime - FRESH_S - 1))
    assert not shown()["up"] and "is not running" in shown()["words"]


# -- mail --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_arrives_over_tls_with_a_login(authority, tmp_path, security):
    with mail_server(authority.context(tmp_path, "localhost"), at_once=security == "tls") as server:
        message = compose([WAITS, FULL], [SUSPENDED], "1")
        assert send_mail(mail_settings(server, authority, security=security), message) == ""
    (mail,) = server.mails
    assert mail["To"] == "anna@example.org, bert@example.org" and mail["Auto-Submitted"] == "auto-generated"
    (subject, charset), *_ = decode_header(mail["Subject"].replace("\n", ""))
    assert subject == "EmbryoFL hub: porto asks to join and awaits approval. And 2 more." and charset is None
    text = mail.get_payload(decode=True).decode()
    assert "nearly full: 9 % free." in text and "Solved: lisbon is no longer suspended." in text
    assert mail["Message-ID"] == f"<{message.id}@example.org>"


def test_wrong_password_and_a_refused_message_are_said_without_a_secret(authority, tmp_path):
    with mail_server(authority.context(tmp_path, "localhost")) as server:
        right = mail_settings(server, authority)
        wrong = right.model_copy(update={"password": type(right.password)("another-password")})
        with pytest.raises(UserError, match=r"refused user name or password \(535\)") as failure:
            send_mail(wrong, trial_message("1"))
        server.refuse = f"554 no {PASSWORD}"
        with pytest.raises(UserError, match="answered 554") as refused:
            send_mail(right, trial_message("1"))
    assert "password" not in str(failure.value).replace("or password", "") and PASSWORD not in str(refused.value)
    assert server.mails == []


def test_mail_server_without_the_right_certificate_gets_neither_password_nor_message(authority, tmp_path):
    with (
        mail_server(Authority().context(tmp_path, "localhost")) as server,
        pytest.raises(UserError, match="not trusted"),
    ):
        send_mail(mail_settings(server, authority), trial_message("1"))
    assert server.mails == []


def test_mail_server_that_is_away_is_said_in_words(authority):
    away = type("Away", (), {"port": 9})
    with pytest.raises(UserError, match="localhost:9 did not take the message: no connection"):
        send_mail(mail_settings(away, authority), trial_message("1"))


# -- webhooks ----------------------------------------------------------------------------------------------------------
def test_each_format_is_what_its_receiver_reads(webhook):
    message = compose([WAITS], [SUSPENDED], "1")
    for name in ("slack", "teams", "matrix", "json"):
        send_webhook(
            Webhook(url=webhook.url, format=name, token="an-access-token" if name == "matrix" else ""), message
        )
    slack, teams, matrix, plain = webhook.bodies
    assert slack == {"text": message.text} and matrix == {"msgtype": "m.text", "body": message.text}
    card = teams["attachments"][0]["content"]
    assert card["type"] == "AdaptiveCard" and "porto asks to join" in card["body"][0]["text"]
    assert plain["holds"] == [WAITS._asdict()] and plain["ended"] == [SUSPENDED._asdict()] and plain["id"] == message.id
    assert webhook.requests[2] == ("PUT", f"{PATH}/{message.id}", "Bearer an-access-token")
    assert {(m, p, a) for m, p, a in webhook.requests if m == "POST"} == {("POST", PATH, None)}


def test_redirect_is_not_followed(webhook, tmp_path):
    def redirect(handler):
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.send_response(302)
        handler.send_header("Location", webhook.url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with answering(redirect) as server, pytest.raises(UserError, match="answered 302") as failure:
        send_webhook(Webhook(url=f"http://127.0.0.1:{server.server_port}{PATH}"), trial_message("1"))
    assert webhook.requests == [] and PATH not in str(failure.value)


# -- settings ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[webhook]\nurl = "http://hooks.example.org/SECRET"', "expected https"),
        ('[webhook]\nurl = "http://localhost.example.org/SECRET"', "expected https"),
        ('[webhook]\nurl = "https://anna:SECRET@example.org/"', "without a user name"),
        ('[webhook]\nurl = "https://example.org:SECRET/"', "expected an address"),
        ('[webhook]\nurl = "https://example.org/"\nformat = "SECRET"', "'slack', 'teams'"),
        ('webhook = "https://example.org/SECRET"', "must be a table"),
        (
            '[mail]\nserver = "smtp.example.org"\nuser = "hub"\npassword = "SECRET\u00e4"\nsender = "a@b"\nto = ["c@d"]',
            "ASCII",
        ),
        (
            '[mail]\nserver = "smtp.example.org"\nuser = "hub"\npassword = "SECRET"\nsender = "a"\nto = ["c@d"]',
            "sender",
        ),
        (
            '[mail]\nserver = "smtp.example.org"\nsecurity = "none"\nuser = "SECRET"\npassword = "x"',
            "'starttls' or 'tls'",
        ),
        ('[webhook]\nurl = "https://example.org/SECRET"\nauthority = "SECRET"', "PEM"),
        ('[sms]\nnumber = "SECRET"', "There is no setting sms"),
        ("", "names nobody"),
        ("SECRET", "not a TOML file"),
    ],
)
def test_settings_that_cannot_be_used_are_named_without_their_values(tmp_path, text, words):
    file = tmp_path / "notify.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(UserError, match=words) as refused:
        read_channels(file)
    assert "SECRET" not in str(refused.value) and refused.value.code == "H14"


def test_password_and_address_are_in_no_log_no_state_and_no_text_of_the_settings(watch, webhook, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    webhook.answer = 404
    watch.notifier.look(T0)
    watch.notices = [FINISHED]
    watch.notifier.look(T0 + 60)
    shown = f"{read_channels(tmp_path / 'notify.toml')!r} {watch.file.read_text()} {caplog.text}"
    assert "answered 404" in shown and PATH not in shown and webhook.url not in shown


# -- with a real hub ---------------------------------------------------------------------------------------------------
def test_notifier_asks_the_hub_with_its_own_token_over_tls(hub, tmp_path):
    asked, certificates = [], hub.identity.folder
    identity = certificates / "notifier"
    assert stat.S_IMODE((identity / "notices.token").stat().st_mode) == 0o600
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*hub.identity.certificate)

    def respond(handler):
        asked.append((handler.path, handler.headers["Authorization"]))
        reply(handler, json.dumps([SUSPENDED]).encode())

    with answering(respond, context) as server:
        settings = NotifierSettings(hub=f"127.0.0.1:{server.server_port}", identity=identity)
        assert ask(settings) == [SUSPENDED]
        assert asked == [("/control/notices", f"Bearer {hub.identity.notices_token}")]
    with pytest.raises(UserError, match="did not reply"):
        ask(settings)
