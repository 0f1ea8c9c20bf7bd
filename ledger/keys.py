"""The keys of one installation, kept in files outside the database.

`master.key` closes the data keys of stored objects. `signing.key`, and after a rotation `signing-<key id>.key`, sign
certificates; which of them does is said by the ledger (`ledger/signing_keys.py`).
Whoever loses the first loses every stored object; whoever copies both can read and sign everything.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.errors import KeyUnavailable
from ledger.objects import fsync_directory

MASTER = "master.key"
SIGNING = "signing.key"
KEY_SIZE = 32  # bytes, of the master key and of every data key
NONCE_SIZE = 12
TAG_SIZE = 16
WRAPPED_SIZE = NONCE_SIZE + KEY_SIZE + TAG_SIZE  # of a wrapped data key of KEY_SIZE bytes

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class Signer:
    """One Ed25519 key that signs."""

    _private: Ed25519PrivateKey = field(compare=False)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature of the message, 64 bytes."""
        return self._private.sign(message)

    def public_key_pem(self) -> str:
        """The public half, as PEM (SubjectPublicKeyInfo)."""
        pem = self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem.decode("ascii")

    def public_key_raw(self) -> bytes:
        """The public half, its 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    def key_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the public key in DER.

        Outsiders get the same from `openssl pkey -pubin -in key.pem -outform der | sha256sum`.
        """
        der = self._private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(der).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Signer(key_id={self.key_id()!r})"


@dataclass(frozen=True, repr=False)
class KeyRing:
    """Wraps data keys and signs messages. Immutable, safe to share between threads."""

    _wrapping: AESGCM = field(compare=False)
    _signing: Signer = field(compare=False)
    _random: RandomBytes = field(compare=False)
    directory: Path = field(compare=False)

    @classmethod
    def open(cls, directory: Path, *, random: RandomBytes) -> "KeyRing":
        """Read the keys in `directory`, making directory (0700) and keys (0600) on first use.

        Any number of processes may open a new directory at the same moment: all get the same keys.
        Raises KeyUnavailable: unreadable, damaged, readable by every user, or the master key alone is lost.
        """
        try:
            if not directory.is_dir():
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                fsync_directory(directory.parent)
            # The master key is always made first, so a signing key alone means that the master key was lost.
            # Looking for the signing key first keeps this true while another process makes both.
            signing = next(iter(signing_files(directory)), None)
            if signing is not None and not (directory / MASTER).exists():
                raise KeyUnavailable(f"{directory / MASTER} is missing although {signing.name} is there")
            master = read_or_make(directory / MASTER, lambda: random(KEY_SIZE))
            signer = load_signer(signing or directory / SIGNING, lambda: new_private_key(random))
        except OSError as problem:
            raise KeyUnavailable(f"{directory}: {problem.strerror}") from problem
        if len(master) != KEY_SIZE:
            raise KeyUnavailable(f"{directory / MASTER} holds {len(master)} bytes instead of {KEY_SIZE}")
        wrapping = HKDF(algorithm=hashes.SHA256(), length=KEY_SIZE, salt=None, info=b"lacuna/wrap/1").derive(master)
        return cls(AESGCM(wrapping), signer, random, directory)

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Close a data key (AES-256-GCM, `context` as associated data): nonce, ciphertext, tag.

        Nonces are 96 random bits, so one master key may wrap 2^32 data keys (NIST SP 800-38D, section 8.3).
        """
        nonce = self._random(NONCE_SIZE)
        return nonce + self._wrapping.encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Open what `wrap` closed with the same context.

        Raises KeyUnavailable: changed bytes, another context or another master key; which one cannot be told.
        """
        nonce, closed = wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:]
        if len(closed) < TAG_SIZE:
            raise KeyUnavailable(f"a wrapped data key of {len(wrapped)} bytes is too short")
        try:
            return self._wrapping.decrypt(nonce, closed, context)
        except InvalidTag:
            raise KeyUnavailable(
                "a wrapped data key was changed, belongs to another owner or to another master key"
            ) from None

    def signer(self, key_id: str) -> Signer:
        """Return the signing key of this id, from its file as it is now. Raises KeyUnavailable: there is none."""
        if key_id == self.key_id():
            return self._signing
        for _, found in signers_in(self.directory):
            if found.key_id() == key_id:
                return found
        raise KeyUnavailable(f"the file of the signing key {key_id} is not in {self.directory}, or is damaged")

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature of the message, 64 bytes, by the first signing key in the directory."""
        return self._signing.sign(message)

    def public_key_pem(self) -> str:
        """The public half of that key, as PEM (SubjectPublicKeyInfo)."""
        return self._signing.public_key_pem()

    def public_key_raw(self) -> bytes:
        """The public half of that key, its 32 bytes."""
        return self._signing.public_key_raw()

    def key_id(self) -> str:
        """The id of that key (`Signer.key_id`)."""
        return self._signing.key_id()

    def __repr__(self) -> str:
        return f"KeyRing(key_id={self.key_id()!r})"


def signing_files(directory: Path) -> list[Path]:
    """Return the files of signing keys: the installation's first one, if it is still there, then the others by name."""
    first = directory / SIGNING
    return [*([first] if first.exists() else []), *sorted(directory.glob("signing-*.key"))]


def signers_in(directory: Path) -> Iterator[tuple[Path, Signer]]:
    """Yield the signing keys in a directory with their files; what is damaged, or destroyed meanwhile, is left out."""
    for path in signing_files(directory):
        with contextlib.suppress(KeyUnavailable, FileNotFoundError):
            yield path, load_signer(path)


def new_private_key(random: RandomBytes) -> bytes:
    """Return a new private signing key, PEM."""
    return Ed25519PrivateKey.from_private_bytes(random(KEY_SIZE)).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_signer(path: Path, make: Callable[[], bytes] | None = None) -> Signer:
    """Return the signing key in a file, which `make` fills if it is missing.

    Raises KeyUnavailable: damaged, or open to every user; FileNotFoundError: it is missing and nobody makes it.
    """
    return parse_signer(_read(path) if make is None else read_or_make(path, make), path)


def parse_signer(pem: bytes, path: Path) -> Signer:
    """Return the signing key in these bytes of `path`. Raises KeyUnavailable."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as problem:
        raise KeyUnavailable(f"{path} holds no unencrypted private key in PEM") from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnavailable(f"{path} holds a key that is not Ed25519")
    return Signer(key)


def read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of `path`; a missing file is first made, by exactly one of the processes that try.

    Each writes a complete file under a name of its own, then links it to the final name. Linking fails if that name
    is taken, so the first wins, and no reader ever sees half a file.
    """
    if not path.exists():
        content = make()
        draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(8).hex()}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # Another process was faster, and may already have swept this draft away.
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    # Also when another process made the file: it may not have come to this line yet.
    fsync_directory(path.parent)
    for leftover in path.parent.glob(f".{path.name}.*.draft"):  # of a crash; useless once the final file exists
        leftover.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
            raise KeyUnavailable(f"{path} is open to every user of this machine (chmod 600)")
        return file.read()
