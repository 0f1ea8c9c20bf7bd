"""Logging to standard error. Nothing that was sent to the service is ever logged, nor the words of unexpected errors.

An exception's message may hold what somebody sent, so of unexpected exceptions only types and places in the code are
written. Requests are logged by their route ("/v1/models/{model_id}"), never by their address.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

UVICORN_CRASH = "Exception in ASGI application\n"
TRACEBACK = "Traceback (most recent call last)"


def configure_logging(level: str, form: str, stream: TextIO = sys.stderr) -> None:
    """Send our own log and that of the libraries to `stream`, as JSON lines (`json`) or for people (`console`)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _places_only,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_said_already)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.PositionalArgumentsFormatter()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # else it says two lines whenever /readyz looks
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"  # it would log addresses with their query


def places(problem: BaseException) -> list[str]:
    """Return the types of an exception and its causes and where each was raised, without any message."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = problem
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}")
        lines += [f"  {f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(current.__traceback__)[-8:]]
        current = current.__cause__ or current.__context__
    return lines


def _places_only(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    if isinstance(raised, tuple):
        raised = raised[1]
    if isinstance(raised, BaseException):
        event["raised"] = places(raised)  # `exception` means a text to the console renderer
    return event


def _said_already(record: logging.LogRecord) -> bool:
    """Drop uvicorn's report of an exception that the application has logged itself, with the request's number.

    Of one that kept the application from starting, uvicorn gets the whole text; its places stay.
    """
    if record.name == "uvicorn.error" and str(record.msg).startswith(TRACEBACK):
        record.msg = "\n".join(line for line in str(record.msg).splitlines() if line.startswith('  File "'))
    return not (record.name == "uvicorn.error" and record.msg == UVICORN_CRASH)
