"""Objects in a bucket of S3, or of a server that speaks its protocol: `s3://bucket/prefix` + name.

S3 shows an object whole or not at all, and at once to everybody, so a PUT is both publication and durability. What
this file adds: large objects are sent in parts that never become visible and are taken back on failure; a deletion
takes unfinished parts along and is read back; and a bucket that keeps versions is refused, since in it a deleted
object is only hidden.

Credentials, region and endpoint come from the environment or the files that it names, as for every client of S3:
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE, or the machine's role; AWS_REGION;
AWS_ENDPOINT_URL_S3. None of them reaches a message: of what the server answers, only its error code is repeated.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import s3fs
from aiohttp import ClientError as ConnectionBroke
from botocore.exceptions import BotoCoreError
from botocore.exceptions import ClientError as Answered
from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError

from ledger.errors import ObjectMissing, StoreFailed, StoreFull, StoreReadOnly, StoreUnsuitable
from ledger.objects.store import NAME, Written, require_name

PART = 16 * 2**20
"""Bytes sent at once; an object up to this size is one request. Memory holds about twice as much per writer."""
CONNECT_S, READ_S, ATTEMPTS = 5, 20, 3
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLarge"}
_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "MethodNotAllowed", "403", "XMinioAccessDenied"}
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
_KEEPS = "the bucket keeps versions, so what is deleted from it stays readable. Use a bucket that never had versioning"


class S3ObjectStore:
    """An `ObjectStore` in one bucket. Any number of threads and processes may share it.

    After a lost connection nobody knows whether a write arrived; its object then has a row that says `pending`, by
    which it is deleted later.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        """`prefix` is empty or ends with a slash. Nothing is sent yet."""
        self._bucket = bucket
        self._prefix = prefix
        self._verified = False
        self._opening = threading.Lock()
        # No instance is shared and no listing kept: both would answer from what was once true.
        self._files = s3fs.S3FileSystem(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": CONNECT_S,
                "read_timeout": READ_S,
                "retries": {"total_max_attempts": ATTEMPTS, "mode": "standard"},
            },
        )
        self._files.retries = 1  # botocore tries again already; together they would wait for many minutes

    def verify(self) -> None:
        """See ObjectStore: the bucket is there, may be listed, and keeps no versions."""
        with _facts():
            state = self._files.call_s3("get_bucket_versioning", Bucket=self._bucket).get("Status")
            if state is not None:  # Suspended too: what was written before is still kept
                raise StoreUnsuitable(_KEEPS)
            self._list(self._prefix, most=1)
        self._verified = True

    def write(self, name: str, parts: Iterable[bytes]) -> Written:
        """See ObjectStore. Memory holds one part of PART bytes and one of `parts`."""
        key = self._key(name)
        self._verify_once()
        digest, size, waiting = hashlib.sha256(), 0, bytearray()
        upload: _PartsSent | None = None
        try:
            for part in parts:
                digest.update(part)
                size += len(part)
                waiting += part
                while len(waiting) >= PART:
                    upload = upload or _PartsSent(self._files, self._bucket, key)
                    upload.send(bytes(waiting[:PART]))
                    del waiting[:PART]
            if upload is None:
                with _facts():
                    answer = self._files.call_s3("put_object", Bucket=self._bucket, Key=key, Body=bytes(waiting))
            else:
                if waiting:
                    upload.send(bytes(waiting))
                answer = upload.complete()
        except BaseException:
            if upload is not None:
                with suppress(StoreFailed):  # the first error counts; `delete` takes back what is left
                    upload.abort()
            raise
        self._refuse_versions(key, answer)
        return Written(size, digest.hexdigest())

    def read(self, name: str) -> bytes:
        """See ObjectStore."""
        return self._get(name)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """See ObjectStore."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length count bytes and must not be negative")
        if length == 0:
            self.size(name)
            return b""
        try:
            return self._get(name, Range=f"bytes={offset}-{offset + length - 1}")
        except _BeyondTheEnd:
            return b""

    def size(self, name: str) -> int:
        """See ObjectStore."""
        key = self._key(name)
        self._verify_once()
        with self._missing_is_a_fact(name), _facts():
            return int(self._files.call_s3("head_object", Bucket=self._bucket, Key=key)["ContentLength"])

    def delete(self, name: str) -> None:
        """See ObjectStore. Unfinished parts of the object go first, then the object; that it is gone is read back."""
        key = self._key(name)
        self._verify_once()
        with _facts():
            listed = self._files.call_s3("list_multipart_uploads", Bucket=self._bucket, Prefix=key)
            for upload in listed.get("Uploads", ()):
                if upload["Key"] == key:
                    with suppress(FileNotFoundError):  # finished or taken back meanwhile
                        self._files.call_s3(
                            "abort_multipart_upload", Bucket=self._bucket, Key=key, UploadId=upload["UploadId"]
                        )
            answer = self._files.call_s3("delete_object", Bucket=self._bucket, Key=key)
        if answer.get("DeleteMarker") or _version(answer):
            raise StoreUnsuitable(_KEEPS)
        if self.exists(name):
            raise StoreFailed("an object is still listed after it was deleted")

    def exists(self, name: str) -> bool:
        """See ObjectStore. Asked by a listing: only that tells a missing object from a missing bucket."""
        key = self._key(name)
        self._verify_once()
        with _facts():
            return any(entry["Key"] == key for entry in self._list(key, most=1).get("Contents", ()))

    def names(self) -> Iterator[str]:
        """See ObjectStore. Keys come sorted from S3."""
        self._verify_once()
        token: str | None = None
        while True:
            with _facts():
                page = self._list(self._prefix, most=1000, token=token)
            for entry in page.get("Contents", ()):
                name = entry["Key"].removeprefix(self._prefix)
                if NAME.fullmatch(name):
                    yield name
            if not (token := page.get("NextContinuationToken")):
                return

    def sweep_temporary(self) -> int:
        """See ObjectStore: nothing to sweep, since unfinished parts carry their object's name and go with it."""
        return 0

    def _key(self, name: str) -> str:
        require_name(name)
        return self._prefix + name

    def _verify_once(self) -> None:
        with self._opening:
            if not self._verified:
                self.verify()

    def _list(self, prefix: str, *, most: int, token: str | None = None) -> dict[str, Any]:
        more = {} if token is None else {"ContinuationToken": token}
        answer: dict[str, Any] = self._files.call_s3(
            "list_objects_v2", Bucket=self._bucket, Prefix=prefix, MaxKeys=most, **more
        )
        return answer

    def _get(self, name: str, **how: str) -> bytes:
        key = self._key(name)
        self._verify_once()

        async def fetch() -> bytes:
            answer = await self._files._call_s3("get_object", Bucket=self._bucket, Key=key, **how)
            async with answer["Body"] as body:
                content: bytes = await body.read()
                return content

        with self._missing_is_a_fact(name), _facts():
            content: bytes = sync(self._files.loop, fetch)
            return content

    @contextmanager
    def _missing_is_a_fact(self, name: str) -> Iterator[None]:
        """Raise ObjectMissing only when the bucket is there and does not list the object."""
        try:
            yield
        except _Missing as problem:
            if self.exists(name):
                raise StoreFailed("the store does not agree with itself whether an object is there") from problem
            raise ObjectMissing(name) from problem

    def _refuse_versions(self, key: str, answer: dict[str, Any]) -> None:
        """Take back what was just written if the bucket has begun to keep versions since it was verified."""
        if (version := _version(answer)) is None:
            return
        with _facts():
            self._files.call_s3("delete_object", Bucket=self._bucket, Key=key, VersionId=version)
        raise StoreUnsuitable(_KEEPS)


class _PartsSent:
    """An object on its way in parts. It is invisible until `complete`."""

    def __init__(self, files: Any, bucket: str, key: str) -> None:
        self._files = files
        self._where = {"Bucket": bucket, "Key": key}
        self._tags: list[dict[str, Any]] = []
        with _facts():
            self._where["UploadId"] = files.call_s3("create_multipart_upload", **self._where)["UploadId"]

    def send(self, content: bytes) -> None:
        """Send the next part."""
        number = len(self._tags) + 1
        with _facts():
            answer = self._files.call_s3("upload_part", **self._where, PartNumber=number, Body=content)
        checksums = {kind: value for kind, value in answer.items() if kind.startswith("Checksum") and value}
        checksums.pop("ChecksumType", None)
        self._tags.append({"PartNumber": number, "ETag": answer["ETag"], **checksums})

    def complete(self) -> dict[str, Any]:
        """Make the object visible."""
        with _facts():
            answer: dict[str, Any] = self._files.call_s3(
                "complete_multipart_upload", **self._where, MultipartUpload={"Parts": self._tags}
            )
            return answer

    def abort(self) -> None:
        """Have the store throw the parts away."""
        with _facts(), suppress(FileNotFoundError):
            self._files.call_s3("abort_multipart_upload", **self._where)


class _Missing(StoreFailed):
    """The server knows no such key or bucket; which of them is to be found out."""


class _BeyondTheEnd(StoreFailed):
    """A range begins where the object has ended."""


def _version(answer: dict[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in (None, "", "null") else str(version)


@contextmanager
def _facts() -> Iterator[None]:
    """Turn the client's errors into the ledger's, without anything that the server or the client has said in words."""
    try:
        yield
    except (OSError, BotoCoreError, ConnectionBroke, FSTimeoutError) as problem:
        code = _code(problem)
        why = f"the object store answered {code}"
        if code in _FULL:
            raise StoreFull(why) from problem
        if code in _FORBIDDEN:
            raise StoreReadOnly(why) from problem
        if code in ("NoSuchKey", "404"):
            raise _Missing(why) from problem
        if code in ("InvalidRange", "416"):
            raise _BeyondTheEnd(why) from problem
        raise StoreFailed(why, "Check the store, its address and the credentials, then try again") from problem


def _code(problem: BaseException) -> str:
    """Return S3's error code, or the kind of error if no answer came."""
    if isinstance(problem.__cause__, Answered):
        code = str(problem.__cause__.response.get("Error", {}).get("Code", ""))
        return code if _CODE.fullmatch(code) else "an unknown code"
    return type(problem).__name__
