"""Logs of a worker: one JSON line each, on standard error. Job numbers and random ids only, never an identity."""

from __future__ import annotations

import logging
import sys

import structlog


class _Words(logging.Handler):
    """Passes on what a library says. Of exceptions only the type: their words may hold statement parameters."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        kind = record.exc_info[0] if record.exc_info else None
        said = record.msg if kind is not None else record.getMessage()
        log = structlog.get_logger(record.name)
        log.log(record.levelno, said, **({} if kind is None else {"raised": kind.__name__}))


def configure_library_logs(name: str, level: int = logging.WARNING) -> None:
    """Send what a library (a logger's name) says from `level` upwards to our log."""
    logger = logging.getLogger(name)
    logger.handlers = [_Words()]
    logger.setLevel(level)
    logger.propagate = False


def configure_logs(level: str) -> None:
    """Write lines of `level` and above to standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # the number of the job in hand
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
