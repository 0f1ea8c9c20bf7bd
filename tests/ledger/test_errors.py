"""The error tree: drawn completely, and silent about what must not be told."""

import inspect

from ledger import errors


def _classes() -> list[type[Exception]]:
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__.startswith(errors.__name__)]


def test_every_error_is_in_the_tree_and_in_the_drawing() -> None:
    drawing = {word for line in (errors.__doc__ or "").splitlines() for word in line.split()}
    assert len(_classes()) > 8
    for error in _classes():
        assert issubclass(error, errors.LedgerError)
        assert error.__name__ in drawing


def test_messages_say_what_why_and_what_to_do() -> None:
    message = str(errors.ObjectCorrupt("ab12", "its index was changed"))
    assert message == (
        "Object ab12 cannot be trusted: its index was changed. "
        "Do not use it; restore it from a backup or write it again."
    )
    assert issubclass(errors.StoreFull, errors.StoreFailed)
    assert "Free space" in str(errors.StoreFull("No space left on device (ENOSPC)"))
