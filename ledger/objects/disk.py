"""What goes wrong on a local disk, as the ledger's errors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ledger.errors import StoreFailed, StoreFull, StoreReadOnly

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def disk_facts(what: str = "") -> Iterator[None]:
    """Turn the operating system's errors into StoreFull, StoreReadOnly and StoreFailed. `what` begins their reason."""
    try:
        yield
    except OSError as problem:
        why = f"{what}{problem.strerror} ({errno.errorcode.get(problem.errno or 0, 'no error number')})"
        if problem.errno in _FULL:
            raise StoreFull(why) from problem
        if problem.errno in _READ_ONLY:
            raise StoreReadOnly(why) from problem
        raise StoreFailed(why) from problem
