"""Routes do not depend on what is done already, nor on which thread comes first."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorair.runtime.errors import OptionError, PictureError
from lorair.runtime.folders.guidance import Guidance, parse_every
from lorair.runtime.routing.gates import one_expert, parse_gates
from lorair.runtime.routing.route import Route, gates_from_logits

CLASSES = ("snow", "rain", "raindrop")
BAD = 3
PATHS = [Path(str(number)) for number in range(10)]


class StubRestorer:
    """Routes a picture, which is its number, by the number; keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.bound: list[list[float]] = []
        self.backend: Any = SimpleNamespace(load_restorer=lambda g: self.bound.append(g.tolist()))

    def route(self, pixels: Any) -> Route:
        number = int(pixels)
        self.asked.append(number)
        logits = np.roll(np.array([3, 1, 0], np.float32), number)
        return Route(logits, gates_from_logits(logits, 1), np.full(4, number, np.float32), CLASSES)


def read(path: Path) -> Any:
    if int(path.name) == BAD:
        raise PictureError("planted")
    return int(path.name)


def prior(route: Route | None) -> float | None:
    return None if route is None else float(route.prior[0])


def guidance(restorer: Any, paths: list[Path] = PATHS, **options: Any) -> Guidance:
    guide = Guidance(restorer, paths, read, **options)
    guide.prepare()
    return guide


@pytest.fixture
def restorer() -> StubRestorer:
    return StubRestorer()


def test_each_picture_is_routed_once(restorer: StubRestorer) -> None:
    guide = guidance(restorer)
    assert restorer.bound == [[1, 0, 0]]
    assert [prior(guide.choose(i, i)) for i in range(4)] == [0, None, None, None]
    assert restorer.asked == [0]


def test_the_first_that_can_be_read_guides_all(restorer: StubRestorer) -> None:
    guide = guidance(restorer, PATHS[BAD:], every="first")
    assert [prior(guide.choose(i, None)) for i in (6, 2, 1)] == [4, 4, 4]
    assert restorer.asked == [4]


@pytest.mark.parametrize("order", [range(10), reversed(range(10)), (7, 1, 7, 0)])
def test_every_third(order: Any, restorer: StubRestorer) -> None:
    guide = guidance(restorer, every=3)
    anchors = [0, 0, 0, 4, 4, 4, 6, 6, 6, 9]  # the fourth is bad: the fifth stands in
    for index in order:
        assert prior(guide.choose(index, None)) == anchors[index]
    assert len(restorer.asked) == len(set(restorer.asked))


def test_gates_keep_the_picture_s_own_prior(restorer: StubRestorer) -> None:
    gates = parse_gates("rain=0.7, snow=0.3", CLASSES)
    guide = guidance(restorer, gates=gates)
    assert restorer.bound == [gates.tolist()]
    for number in (0, 5):
        route = guide.choose(number, number)
        assert route is not None
        assert prior(route) == number
        np.testing.assert_array_equal(route.gates, np.array([0.3, 0.7, 0], np.float32))


def test_a_given_route_needs_no_router(restorer: StubRestorer) -> None:
    given_route = StubRestorer().route(5)
    assert guidance(restorer, given=given_route).choose(2, None) is given_route
    mixed = guidance(restorer, given=given_route, gates=one_expert("rain", CLASSES))
    chosen = mixed.choose(2, None)
    assert chosen is not None
    assert (prior(chosen), chosen.gates.tolist()) == (5, [0, 1, 0])
    assert restorer.asked == []


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(any))
def test_gates_read_back(shares: list[int]) -> None:
    values = [share / sum(shares) for share in shares]
    text = ",".join(f"{n}={v!r}" for n, v in zip(CLASSES, values, strict=True))
    np.testing.assert_array_equal(parse_gates(text, CLASSES), np.array(values, np.float32))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rain=0.7,snow=0.2", "sum to 1, found 0.9"),
        ("rain=0.7,fog=0.3", "one of snow, rain, raindrop, found fog"),
        ("rain=1,rain=0", "each name once"),
        ("rain=1.5,snow=-0.5", "shares of 0 to 1"),
        ("rain=nan", "shares of 0 to 1"),
        ("rain", "NAME=SHARE"),
        ("", "found nothing"),
        ("rain=0", "sum to 1, found 0; give at least one"),
    ],
)
def test_bad_gates(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        parse_gates(text, CLASSES)


def test_every() -> None:
    assert [parse_every(t) for t in ("first", "each", "1", "25")] == ["first", "each", "each", 25]
    for text in ("0", "-1", "x", "²", ""):
        with pytest.raises(OptionError, match="first, each, or a number"):
            parse_every(text)
