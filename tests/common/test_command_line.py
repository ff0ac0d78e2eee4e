"""What a person reads who types a command that cannot be used, and how a program ends."""

import os
import signal

import pytest
import typer

from embryofl.command_line import command_line, run_command
from embryofl.errors import UserError


def made():
    app = command_line("A program.")

    @app.command()
    def status(last: int = typer.Option(1, min=0)) -> None:
        typer.echo(f"last {last}")

    @app.command()
    def fail() -> None:
        raise UserError("J2", "The invite has expired.")

    @app.command()
    def no() -> None:
        raise typer.Exit(1)

    @app.command()
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    return app


def ended(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["embryofl-x", *words])
    with pytest.raises(SystemExit) as end:
        run_command(made())
    return end.value.code


@pytest.fixture(autouse=True)
def sigterm():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("statsu",), "No such command 'statsu'. Did you mean 'status'? See: embryofl-x --help"),
        (("status", "--lats", "3"), "'--lats'"),
        (
            ("status", "--last", "-3"),
            "Invalid value for '--last': -3 is not in the range x>=0. See: embryofl-x status --help",
        ),
        (("status", "--last"), "Option '--last' requires an argument."),
        (("no", "more"), "Got unexpected extra argument (more). See: embryofl-x no --help"),
    ],
)
def test_words_that_cannot_be_used_are_named_with_where_to_look_and_a_code(monkeypatch, capsys, words, expected):
    assert ended(monkeypatch, *words) == 2
    out, error = capsys.readouterr()
    assert out == "" and expected in error and error.endswith("(S7: docs/troubleshooting.md#s7)\n")
    assert error.count("Did you mean") <= 1 and error.count("\n") == 1


def test_error_of_a_command_keeps_its_own_code(monkeypatch, capsys):
    assert ended(monkeypatch, "fail") == 2
    assert capsys.readouterr().err == "The invite has expired. (J2: docs/troubleshooting.md#j2)\n"


@pytest.mark.parametrize(
    ("words", "code"), [(("status",), 0), (("--help",), 0), ((), 2), (("no",), 1), (("wait",), 130)]
)
def test_program_ends_with_the_exit_code_of_what_happened(monkeypatch, capsys, words, code):
    assert ended(monkeypatch, *words) == code
    assert capsys.readouterr().err == ""
