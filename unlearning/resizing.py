"""Bringing images to the size that a network takes."""

import torch
from torch import Tensor
from torch.nn import functional


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (n, c, h, w) float32 as (n, c, *size): bilinear, with antialiasing where they shrink.

    One image at a time: a pass over many may run another kernel, and a record's bits must not depend on how many
    others are prepared with it. Images that have the size already are returned as they are.
    """
    if tuple(images.shape[2:]) == size:
        return images
    resized = torch.empty(*images.shape[:2], *size)
    for row, image in enumerate(torch.split(images, 1)):
        resized[row] = functional.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    return resized
