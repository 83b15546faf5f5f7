"""Routes of a sequence: cuts, patience, easing."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lorair.runtime.errors import OptionError
from lorair.runtime.routing.route import Route
from lorair.runtime.video.guide import RouteGuide

CLASSES = ("snow", "rain")


def route(expert: int, prior: float = 0.0) -> Route:
    gates = np.eye(2, dtype=np.float32)[expert]
    return Route(gates * 4, gates, np.full(3, prior, np.float32), CLASSES)


class Router:
    """Says what it is told to, and remembers which pictures it saw."""

    def __init__(self, *answers: Route) -> None:
        self.answers = list(answers)
        self.seen: list[int] = []

    def __call__(self, picture: np.ndarray) -> Route:
        self.seen.append(int(picture[0, 0, 1]))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def pictures(*scenes: tuple[int, int]) -> list[np.ndarray]:
    """(brightness, how many) for each scene; the green of the first pixel counts."""
    levels = [level for level, count in scenes for _ in range(count)]
    made = []
    rng = np.random.default_rng(0)
    for index, level in enumerate(levels):
        picture = np.clip(rng.normal(level, 25, (40, 50, 3)), 0, 255).astype(np.uint8)
        picture[0, 0, 1] = index
        made.append(picture)
    return made


def test_cuts_are_routed_at_once_and_nothing_else_is() -> None:
    router = Router(route(0), route(1), route(0))
    guide = RouteGuide(router, every=0, ease=4)
    found = [guide.follow(picture).top for picture in pictures((60, 5), (140, 6), (40, 4))]
    assert found == ["snow"] * 5 + ["rain"] * 6 + ["snow"] * 4
    assert router.seen == [0, 5, 11]
    assert [(c.index, c.reason) for c in guide.changes] == [(0, "first"), (5, "cut"), (11, "cut")]


def test_a_single_doubt_changes_nothing() -> None:
    router = Router(route(0), route(1), route(0), route(1), route(1))
    guide = RouteGuide(router, every=3, ease=0)
    found = [guide.follow(picture).top for picture in pictures((60, 15))]
    assert router.seen == [0, 3, 6, 9, 12]
    assert found == ["snow"] * 12 + ["rain"] * 3
    assert [(c.index, c.reason) for c in guide.changes] == [(0, "first"), (12, "expert")]


def test_another_expert_is_eased_in() -> None:
    router = Router(route(0, 1.0), route(1, 3.0))
    guide = RouteGuide(router, every=5, ease=4)
    gates = [guide.follow(picture).gates for picture in pictures((60, 15))]
    assert [float(g[1]) for g in gates] == [0] * 10 + [0.25, 0.5, 0.75, 1, 1]
    assert all(g.sum() == 1 for g in gates)


def test_a_new_prior_of_the_same_expert_is_eased_in_too() -> None:
    router = Router(route(0, 1.0), route(0, 3.0))
    guide = RouteGuide(router, every=3, ease=2)
    priors = [float(guide.follow(picture).prior[0]) for picture in pictures((60, 6))]
    assert priors == [1, 1, 1, 2, 3, 3]
    assert len(guide.changes) == 1


def test_a_question_in_the_middle_of_easing_does_not_jump() -> None:
    router = Router(route(0, 0.0), route(0, 4.0), route(0, 0.0))
    guide = RouteGuide(router, every=2, ease=4)
    priors = [float(guide.follow(picture).prior[0]) for picture in pictures((60, 8))]
    assert max(abs(a - b) for a, b in pairwise(priors)) <= 1


def test_every_picture() -> None:
    guide = RouteGuide(Router(route(0)), every=1, ease=0)
    for picture in pictures((60, 4)):
        guide.follow(picture)
    assert guide.asked == 4


def test_16_bit_pictures_are_compared_alike() -> None:
    guide = RouteGuide(Router(route(0)), every=0)
    for picture in pictures((60, 3), (160, 3)):
        guide.follow(picture.astype(np.uint16) * 257)
    assert [change.index for change in guide.changes] == [0, 3]


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (23, 25), (24, 24)])
def test_small_pictures(size: tuple[int, int]) -> None:
    guide = RouteGuide(Router(route(0)))
    assert guide.follow(np.zeros((*size, 3), np.uint8)).top == "snow"


@pytest.mark.parametrize("options", [{"every": -1}, {"ease": -1}, {"cut": 0.0}, {"cut": 1.5}])
def test_options_that_cannot_be(options: Any) -> None:
    with pytest.raises(OptionError):
        RouteGuide(Router(route(0)), **options)
