"""Messages to workers, over Redis. A message is a job's number and nothing else.

The settings of the connection are here because everybody on one Redis must share them: the shortest visibility timeout
of all programs counts for all of them.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from ledger.errors import BrokerUnreachable
from ledger.nudges import Nudge

RUN_JOB = "lacuna.run_job"
CPU, GPU = "cpu", "gpu"
URGENT, BULK = 0, 5
"""Steps of priority. Redis has none, so each is a list of its own, and the first is emptied first."""
CONNECT_S, ANSWER_S = 1.0, 3.0


def connection_settings(url: str, *, job_limit_s: int) -> dict[str, Any]:
    """Return what every program on this Redis must agree on, as Celery's settings.

    A message that nobody acknowledges comes back after the visibility timeout, which lies above the time after which a
    job is killed: until then its worker may be at work.
    """
    visibility_s = 2 * job_limit_s
    transport: dict[str, Any] = {
        "visibility_timeout": visibility_s,
        "priority_steps": [URGENT, BULK],
        "queue_order_strategy": "priority",
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
    return {
        "broker_url": url,
        "broker_transport_options": transport,
        "result_backend_transport_options": {"visibility_timeout": visibility_s},
        "visibility_timeout": visibility_s,
        "broker_connection_timeout": CONNECT_S,
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "task_queues": [Queue(name) for name in (CPU, GPU)],  # type: ignore[no-untyped-call]  # kombu is half typed
        "task_default_queue": CPU,
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "enable_utc": True,
    }


class Broker:
    """Sends nudges. One thread uses it at a time."""

    def __init__(self, url: str, *, job_limit_s: int, gpu_jobs: str = "") -> None:
        """`gpu_jobs` names the kinds of jobs that go to the queue `gpu`, separated by commas. Does not connect yet."""
        self._app = Celery("lacuna", set_as_current=False, changes=connection_settings(url, job_limit_s=job_limit_s))
        self._gpu_jobs = frozenset(kind.strip() for kind in gpu_jobs.split(",") if kind.strip())
        self._connection: Any = None

    def queue_of(self, kind: str) -> str:
        """Return the queue of a kind of job."""
        return GPU if kind in self._gpu_jobs else CPU

    def send(self, nudge: Nudge) -> None:
        """Put a job's number into its queue. Waits no longer than seconds. Raises BrokerUnreachable."""
        try:
            self._app.send_task(
                RUN_JOB,
                args=(nudge.job_id,),
                connection=self._connected(),
                queue=self.queue_of(nudge.kind),
                priority=URGENT if nudge.priority < BULK else BULK,
                retry=False,
            )
        except (KombuError, RedisError, OSError) as problem:
            self.close()
            raise BrokerUnreachable(type(problem).__name__) from problem

    def waiting(self, queue: str) -> int:
        """Return how many messages nobody has taken from a queue. Raises BrokerUnreachable."""
        try:
            return int(self._connected().default_channel._size(queue))
        except (KombuError, RedisError, OSError) as problem:
            self.close()
            raise BrokerUnreachable(type(problem).__name__) from problem

    def close(self) -> None:
        """Close the connection; the next message opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        return self._connection
