"""Coverage-guided fuzzing of the readers of uploads. Off by default: `pip install atheris`, then

    python tests/fuzz/fuzz_uploads.py npz -max_total_time=60

The first argument is the format; the others are libFuzzer's. Ends with a traceback at the first input that is neither
read nor refused.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from pathlib import Path
from typing import cast, get_args

import atheris

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
with atheris.instrument_imports(include=["service.uploads", "PIL", "zipfile"]):
    from support.mutations import SEEDS, task

    from service.refusals import UploadRefused
    from service.uploads.convert import convert
    from service.uploads.formats import Name


def main() -> None:
    """Fuzz one reader, beginning with the valid bodies."""
    kind = cast(Name, sys.argv.pop(1))
    if kind not in get_args(Name):
        raise SystemExit(f"the first argument is one of {', '.join(get_args(Name))}")
    what = task(kind)
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        try:
            convert(what, io.BytesIO(data), io.BytesIO())
        except UploadRefused:
            return

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[kind]):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, "-max_len=20000", corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
