"""The demo's records: scikit-learn's 1,797 handwritten digits, given out to 150 invented people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from service.local_errors import DemoDataMissing

CLASS_NAMES = tuple("0123456789")
SHAPE = (1, 8, 8)
CORE, TEST, PEOPLE = 300, 300, 150
SHUFFLE = 20
"""Seeds who gets which digit; any value will do."""


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """x (n, 1, 8, 8) uint8 grey values 0 to 16, y (n,) labels, and the person and id of each record."""

    x: npt.NDArray[np.uint8]
    y: npt.NDArray[np.int64]
    subjects: npt.NDArray[np.str_]
    ids: npt.NDArray[np.str_]

    def __len__(self) -> int:
        """Return n."""
        return len(self.y)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """Return the chosen records, in their order."""
        return type(self)(self.x[chosen], self.y[chosen], self.subjects[chosen], self.ids[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class DemoData:
    """core: public, never forgotten. test: public, only measured with. users: people's, forgettable."""

    core: Records
    test: Records
    users: Records


def load_data() -> DemoData:
    """Split the digits; the same on every machine. Raises DemoDataMissing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as problem:
        raise DemoDataMissing from problem
    digits: Any = load_digits()
    x, y = digits.images.astype(np.uint8)[:, None], digits.target.astype(np.int64)
    generator = np.random.default_rng(SHUFFLE)
    order = generator.permutation(len(y))
    people = generator.integers(0, PEOPLE, len(y))
    everything = Records(
        x[order],
        y[order],
        np.array([f"person-{number:03d}" for number in people]),
        np.array([f"digit-{number:04d}" for number in order]),
    )
    place = np.arange(len(y))
    return DemoData(
        everything.where(place < CORE),
        everything.where((place >= CORE) & (place < CORE + TEST)),
        everything.where(place >= CORE + TEST),
    )
