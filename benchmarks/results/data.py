"""Three data sets, each dealt into a public core, users and a test part.

Digits come with scikit-learn. Fashion-MNIST and the CIFAR-100 subset are read in place from a folder that the caller
names: fashion_mnist.npz and cifar100_subset.npz, with arrays x_train, y_train, x_test, y_test of type uint8 and int64,
and for CIFAR fine_to_coarse, (100,). The core is a tenth of the training records in use, the users are the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
DIGITS_TEST = 497
CORE_SHARE = 10
"""One training record in so many is public."""


@dataclass(frozen=True)
class Part:
    """Raw images x (n, channels, height, width) with labels y (n,)."""

    x: Images
    y: Labels

    @property
    def count(self) -> int:
        """n."""
        return len(self.y)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> "Part":
        """Return the chosen records."""
        return Part(self.x[index], self.y[index])


@dataclass(frozen=True)
class Source:
    """A data set as it was published: its training and its test part."""

    name: str
    train: Part
    test: Part
    classes: int


@dataclass(frozen=True)
class Deal:
    """One seed's core, users and test records."""

    name: str
    core: Part
    users: Part
    test: Part
    class_names: tuple[str, ...]
    seed: int


def load_digits() -> Source:
    """Return scikit-learn's 1,797 digits; the last 497 of a fixed random order are the test part."""
    from sklearn.datasets import load_digits as sklearn_digits

    data = sklearn_digits()
    images = (data.images * 15).astype(np.uint8)[:, None]
    order = np.random.default_rng(0).permutation(len(data.target))
    whole = Part(images[order], data.target[order].astype(np.int64))
    return Source("digits", whole.take(slice(0, -DIGITS_TEST)), whole.take(slice(-DIGITS_TEST, None)), 10)


def load_fashion(folder: Path) -> Source:
    """Return Fashion-MNIST, 60,000 and 10,000 records, as published."""
    arrays = read(folder / "fashion_mnist.npz")
    train, test = (Part(arrays[f"x_{part}"][:, None], arrays[f"y_{part}"]) for part in ("train", "test"))
    return Source("fashion", train, test, 10)


def load_cifar(folder: Path) -> Source:
    """Return the subset of CIFAR-100, 10,000 and 2,000 records, with its 20 superclasses as labels.

    A tenth of it has ten records per fine class: no network learns 100 classes from that.
    """
    arrays = read(folder / "cifar100_subset.npz")
    coarse = arrays["fine_to_coarse"]
    train, test = (
        Part(np.ascontiguousarray(arrays[f"x_{part}"].transpose(0, 3, 1, 2)), coarse[arrays[f"y_{part}"]])
        for part in ("train", "test")
    )
    return Source("cifar", train, test, 20)


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return every array of an archive, each unpacked once."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def load(name: str, folder: Path | None) -> Source:
    """Return a data set by name: digits, fashion or cifar."""
    if name == "digits":
        return load_digits()
    readers: dict[str, Callable[[Path], Source]] = {"fashion": load_fashion, "cifar": load_cifar}
    if folder is None:
        raise SystemExit(f"{name} needs --data-dir, the folder that holds its archive")
    return readers[name](folder)


def deal(source: Source, *, users: int | None, seed: int, test: int | None = None) -> Deal:
    """Deal so many users, or everybody, and a ninth as many core records at random; so many test records or all."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(source.train.count)
    if users is not None:
        order = order[: users + users // (CORE_SHARE - 1)]
    core = len(order) // CORE_SHARE
    tested = generator.permutation(source.test.count)[:test]
    return Deal(
        source.name,
        source.train.take(order[:core]),
        source.train.take(order[core:]),
        source.test.take(tested),
        tuple(str(label) for label in range(source.classes)),
        seed,
    )
