"""Somebody who keeps asking for predictions while the service forgets."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from service.client import LacunaClient
from service.client_errors import ApiProblem

PAUSE_S = 0.02


class Traffic:
    """Asks one question after another in a thread of its own, and notes when it asked and which version answered."""

    def __init__(self, url: str, key: str, model: str, question: npt.NDArray[np.uint8]) -> None:
        """`question` is one record (1, *shape)."""
        self._client = LacunaClient(url, key)
        self._model = model
        self._question = question
        self._answered: list[tuple[float, int]] = []
        self._refused = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop asking."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    @property
    def answered(self) -> int:
        """How many predictions came."""
        return len(self._answered)

    @property
    def refused(self) -> int:
        """How many were answered by 503, which clients try again."""
        return self._refused

    def versions_asked_after(self, moment_s: float) -> set[int]:
        """Return the versions that answered what was asked after a moment of the monotonic clock."""
        return {version for asked, version in list(self._answered) if asked > moment_s}

    def wait_for_answers(self, count: int, moment_s: float, timeout_s: float = 10.0) -> None:
        """Return once `count` questions asked after that moment are answered, or the time is over."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and sum(asked > moment_s for asked, _ in list(self._answered)) < count:
            time.sleep(PAUSE_S)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            asked = time.monotonic()
            try:
                answer = self._client.predict(self._model, self._question, patience_s=0.0)
            except ApiProblem:
                self._refused += 1
            else:
                self._answered.append((asked, int(answer["model_version"])))
