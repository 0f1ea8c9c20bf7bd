"""Workers that die at a point of a job, in this process."""

from __future__ import annotations

from support.world import World, make_deps
from workers.deps import Deps


class Died(BaseException):
    """The process is gone. Not an Exception, so that nothing on the way catches it."""


def dying(world: World, at: str) -> Deps:
    """Return what a worker needs that dies whenever it comes to a point."""

    def point(name: str) -> None:
        if name == at:
            raise Died

    return make_deps(world.ledger, point=point)
