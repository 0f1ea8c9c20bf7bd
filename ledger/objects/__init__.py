"""Object stores: a folder of the local disk, or a bucket of S3. `open_store` picks one by its address."""

from ledger.objects.address import open_store
from ledger.objects.local import LocalObjectStore, fsync_directory
from ledger.objects.store import ObjectStore, Written, new_name

__all__ = ["LocalObjectStore", "ObjectStore", "Written", "fsync_directory", "new_name", "open_store"]
