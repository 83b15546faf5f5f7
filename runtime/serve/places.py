"""Places for the pictures that a server holds, and which client gives one up to another."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from lorair.runtime.errors import BusyError
from lorair.runtime.serve.settings import Settings
from lorair.runtime.serve.work import WorkQueue

_SLOW: Final = 1.0
"""Seconds behind the minimum rate from which a client's place may go to another."""


class Places:
    """Bounds how many pictures are held at once, in all and for each client's address.

    One address may fill the queue and no more; twice as many are held for all addresses.

    Args:
        queue: that the pictures are for.
        settings: the pace that is asked of clients.
    """

    def __init__(self, queue: WorkQueue, settings: Settings) -> None:
        self.settings = settings
        self._queue, self._share = queue, queue.workers + queue.limit
        self._taken: set[Place] = set()

    @contextmanager
    def of(self, client: str) -> Iterator["Place"]:
        """Yield a place to be taken by a request of this address; it is left with the block.

        Raises BusyError: the queue is full.
        """
        self._queue.check_room()
        place = Place(client, self)
        try:
            yield place
        finally:
            self._taken.discard(place)

    def take(self, place: "Place") -> None:
        """Take a place, if need be that of the slowest client."""
        own = [taken for taken in self._taken if taken.client == place.client]
        if len(own) >= self._share:
            self._free_one(own)
        elif len(self._taken) >= 2 * self._share:
            self._free_one(self._taken)
        self._taken.add(place)

    def _free_one(self, places: "Collection[Place]") -> None:
        slowest = max(places, key=Place.behind)
        if slowest.behind() < _SLOW:
            wait = self._queue.retry_after()
            raise BusyError(
                "the server is busy",
                wanted=f"at most {len(places)} pictures at once",
                found="more",
                hint=f"try again in {wait} s",
                retry_after=wait,
            )
        self._taken.discard(slowest)
        slowest.give_up()


class Place:
    """A request's place among the pictures that are held. client: its address."""

    def __init__(self, client: str, places: Places) -> None:
        self.client, self._places = client, places
        self._is_taken = self._is_lost = False
        self._limit: asyncio.Timeout | None = None
        self._end = self._at = self._behind = 0.0

    def take(self) -> None:
        """Take the place if it is not taken yet. Raises BusyError: there is none."""
        if not self._is_taken:
            self._places.take(self)
            self._is_taken = True

    @asynccontextmanager
    async def pace(self, seconds: float) -> AsyncIterator[None]:
        """Wait for the client within the block.

        Raises TimeoutError: after these seconds, or as `moved` says, or earlier if the place went
        to another.
        """
        self._at, self._behind = asyncio.get_running_loop().time(), 0.0
        self._end = self._at + self._places.settings.patience
        async with asyncio.timeout(seconds) as self._limit:
            try:
                yield
            finally:
                self._limit = None

    def moved(self, count: int) -> None:
        """Wait on after these bytes: within the patience, and until the client is the slack behind.

        Bytes make up for time that went by; what came faster is no credit for a pause.
        """
        settings, now = self._places.settings, asyncio.get_running_loop().time()
        self._behind, self._at = max(0.0, self.behind() - count / settings.min_rate), now
        if self._limit is not None and not self._is_lost:
            self._limit.reschedule(min(self._end, now + settings.slack - self._behind))

    def behind(self) -> float:
        """Return how many seconds the client is behind the minimum rate, 0 if it owes nothing."""
        if self._limit is None:
            return 0.0
        return self._behind + asyncio.get_running_loop().time() - self._at

    def give_up(self) -> None:
        """End the block of `pace` now."""
        assert self._limit is not None  # it is behind
        self._is_lost = True
        self._limit.reschedule(self._at)
