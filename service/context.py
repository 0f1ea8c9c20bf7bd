"""What the endpoints need, built once per process and kept in the application's state."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from ledger.ledger import Ledger
from service.gathering import Gathering
from service.housekeeping import Housekeeping
from service.limiter import Limiter
from service.metrics import PredictionTimes
from service.principal import Principal
from service.remembered_keys import RememberedKeys
from service.serving.inference import Inference
from service.serving.meter import Meter
from service.serving.registry import Registry
from service.settings import ServiceSettings
from service.sign_ins import SignIns
from unlearning.architectures import BUILT_IN, Architectures


@dataclass(frozen=True, slots=True)
class Context:
    """A process's dependencies.

    `architectures` are the networks that may be named. `predictions` is how long predictions took.
    `sign_ins` lets people into the dashboard.
    `on_accepted` is called after a commit that left work for a worker; it must not wait. `housekeeping` is what is
    done now and then, beside the requests; `limiter` counts what each key asks, None: nothing is counted. `gathering`
    lets forget requests of a tenant that wait at the same moment share a transaction. `log_checking` is held while
    the dashboard recomputes the log.
    """

    settings: ServiceSettings
    ledger: Ledger
    registry: Registry
    inference: Inference
    on_accepted: Callable[[], None]
    housekeeping: Housekeeping
    limiter: Limiter | None
    gathering: Gathering[Any, Any]
    recognised: RememberedKeys[Principal]
    meter: Meter
    architectures: Architectures = BUILT_IN
    predictions: PredictionTimes = field(default_factory=PredictionTimes)
    sign_ins: SignIns = field(default_factory=SignIns)
    log_checking: threading.Lock = field(default_factory=threading.Lock)


def context_of(scope: Any) -> Context:
    """Return the context of the application that a request (its ASGI scope) is for."""
    return cast(Context, scope["app"].state.context)
