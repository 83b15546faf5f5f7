import pytest

from lorair.runtime import errors


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
