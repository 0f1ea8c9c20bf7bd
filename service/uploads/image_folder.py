"""Records as an archive of images: `<class name>/<file>`, and if wanted a manifest.ndjson beside the folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO

import numpy as np
import numpy.typing as npt

from service.refusals import UploadRefused
from service.uploads.archive import read_zip
from service.uploads.images import MODES, NoImage, decode, largest_file
from service.uploads.manifest import LARGEST, NAME, Entry, read_manifest
from service.uploads.members import Member, clean_path, is_ignored
from service.uploads.records import Chunk, Format, Limits
from service.uploads.row_errors import RowErrors
from service.uploads.tar import read_tar

Members = Callable[[], Iterator[Member]]
NOTHING = Entry(None, None, None)
CORRECT = "Correct these files or leave them out; rows count the archive's images from 0"


@contextmanager
def open_tar(file: IO[bytes], wanted: Format, _limits: Limits, errors: RowErrors) -> Iterator[Iterator[Chunk]]:
    """Give a tar archive's images in order. What is wrong with them goes into `errors`. Raises UploadRefused."""
    yield _chunks(partial(read_tar, file), wanted, errors)


@contextmanager
def open_zip(file: IO[bytes], wanted: Format, limits: Limits, errors: RowErrors) -> Iterator[Iterator[Chunk]]:
    """Give a ZIP archive's images in order. What is wrong with them goes into `errors`. Raises UploadRefused."""
    yield _chunks(partial(read_zip, file, largest=limits.unpacked_bytes), wanted, errors)


def _chunks(members: Members, wanted: Format, errors: RowErrors) -> Iterator[Chunk]:
    height, width, channels = _sides(wanted)
    manifest = _find_manifest(members, wanted, errors)
    names = {name: index for index, name in enumerate(wanted.class_names)}
    first = 0
    images = np.zeros((wanted.rows_at_once, height, width, channels), dtype=np.uint8)
    entries: list[Entry] = []
    labels: list[int] = []
    used = 0
    for member in members():
        path = clean_path(member.path)
        if path == NAME or is_ignored(path):
            continue
        number = first + len(entries)
        entry = manifest.get(path, NOTHING)
        used += path in manifest
        labels.append(_label(path, entry, names, number, errors))
        try:
            if member.size > largest_file(height, width, channels):
                raise NoImage("files are larger than such an image can be")
            images[len(entries)] = decode(member.read(), height, width, channels)
        except NoImage as problem:
            errors.add("image", str(problem), [number], CORRECT)
        entries.append(entry)
        if len(entries) == wanted.rows_at_once:
            yield _chunk(first, images, entries, labels, wanted)
            first += len(entries)
            entries, labels = [], []
    if entries:
        yield _chunk(first, images, entries, labels, wanted)
    if used != len(manifest):
        why = f"the manifest names {len(manifest) - used} paths that are not in the archive, or twice in it"
        raise UploadRefused(why, "Correct the manifest", member="manifest")


def _sides(wanted: Format) -> tuple[int, int, int]:
    if len(wanted.shape) != 3 or wanted.dtype != "uint8":
        raise UploadRefused(
            "the cohort's records are no images of bytes",
            "Use a cohort of three sides and dtype uint8, or another format",
        )
    sides = wanted.shape if wanted.channels_last else (*wanted.shape[1:], wanted.shape[0])
    if sides[2] not in MODES:
        raise UploadRefused(f"images of {sides[2]} channels are not read", "Send arrays as .npz or Parquet")
    return sides[0], sides[1], sides[2]


def _find_manifest(members: Members, wanted: Format, errors: RowErrors) -> dict[str, Entry]:
    found: dict[str, Entry] | None = None
    for member in members():
        if clean_path(member.path) != NAME:
            continue
        if found is not None:
            raise UploadRefused("the archive has two manifests", "Leave one out", member="manifest")
        if member.size > LARGEST:
            raise UploadRefused(f"the manifest has more than {LARGEST} bytes", "Send it in parts", member="manifest")
        found = read_manifest(member.read(), wanted, errors)
    return found or {}


def _label(path: str, entry: Entry, names: dict[str, int], number: int, errors: RowErrors) -> int:
    if entry.label is not None:
        return entry.label
    folder, slash, file = path.partition("/")
    if not slash or "/" in file or folder not in names:
        why = "files are not in a folder that is named as one of the classes, and the manifest gives no label"
        errors.add("image", why, [number], CORRECT)
        return 0
    return names[folder]


def _chunk(first: int, images: npt.NDArray[np.uint8], entries: list[Entry], labels: list[int], wanted: Format) -> Chunk:
    x = images[: len(entries)].copy()
    if not wanted.channels_last:
        x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    subjects, ids = [entry.subject for entry in entries], [entry.id for entry in entries]
    return Chunk(
        first,
        x,
        np.array(labels, dtype=np.int64),
        subjects if any(text is not None for text in subjects) else None,
        ids if any(text is not None for text in ids) else None,
    )
