"""Decoding one image of a stranger: PNG or JPEG of exactly the cohort's size, and nothing else.

Pillow's readers are old C code. So this module runs only in a process of its own with little memory (isolated.py).
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

FORMATS = ("PNG", "JPEG")
MODES = {1: ("L", "1"), 3: ("RGB", "P"), 4: ("RGBA",)}
"""Pillow's modes that become so many channels without a colour being changed."""
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class NoImage(Exception):
    """The file is not an image of this cohort. The message is one of a fixed few."""


def largest_file(height: int, width: int, channels: int) -> int:
    """Return the most bytes that a file of such an image may have: four times its pixels, and room for metadata."""
    return 4 * height * width * channels + 2**20


def decode(data: bytes, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return the pixels (height, width, channels). Raises NoImage.

    The size is read from the header and compared before a pixel is unpacked. Orientation marks are not followed.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.size != (width, height):
                raise NoImage("images are not of the cohort's height and width")
            if getattr(image, "n_frames", 1) != 1:
                raise NoImage("images have several frames")
            if image.mode not in MODES[channels] or (image.mode == "P" and "transparency" in image.info):
                raise NoImage("images have other channels, or other bits per value, than the cohort")
            wanted = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
            pixels = np.asarray(image if image.mode == wanted else image.convert(wanted), dtype=np.uint8)
    except BROKEN as problem:
        raise NoImage("files cannot be decoded as PNG or JPEG") from problem
    return pixels.reshape(height, width, channels)
