import pytest

from lorair.runtime import errors
from lorair.runtime.system import console


def test_a_message_says_what_wanted_found_and_next_in_one_line() -> None:
    error = errors.BundleError("no bundle", wanted="a\nfolder", found="nothing", hint="make one")
    assert str(error) == "no bundle: wanted a folder, found nothing; make one"
    assert str(errors.LorairError("it failed")) == "it failed"
    assert str(errors.LorairError("it failed", found="x")) == "it failed: found x"


@pytest.mark.parametrize("name", [n for n in dir(errors) if n.endswith("Error")])
def test_exit_codes_follow_the_tree(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.LorairError)
    assert kind.exit_code == (2 if issubclass(kind, errors.UserError) else 1)


def test_nothing_foreign_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[31m\x07\u202e\udcff [b]é"
    line = errors.CheckpointError(hostile, found="x" * 10**6, hint="go on").line()
    assert line.startswith(r"\x1b[31m\x07\u202e\udcff [b]é: found xxx")
    assert line.endswith("x …; go on")
    assert len(line) < 2000
    table = console.table("name")
    table.add_row(hostile)
    for thing in (hostile, table):
        console.stdout().print(thing)
        out = capsys.readouterr().out
        assert r"\x1b[31m" in out
        assert out.replace("\n", "").isprintable()
