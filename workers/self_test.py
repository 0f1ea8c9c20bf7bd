"""`python -m workers.self_test`: refuse a device that does not multiply integers exactly, before any job runs on it.

Exact statistics rest on float64 products of integers being exact (THEORY: exact mode). Products of every shape that the
statistics of a model of this width could form are tried with random full-range integers.
"""

from __future__ import annotations

import argparse
import sys

import structlog
import torch

from unlearning.device_check import IntegerProduct, check_integer_products
from unlearning.errors import DeviceRefused
from unlearning.quantization import PHI_BITS, TARGET_BITS
from workers.logs import configure_logs
from workers.settings import WorkerSettings

WIDTHS = (7, 64, 513, 2048)
ROWS = (1, 37, 256)
CLASSES = (2, 10)


def shapes() -> list[IntegerProduct]:
    """Return the products of statistics over some widths, numbers of rows and numbers of classes."""
    square = [IntegerProduct(rows, width, width, PHI_BITS, PHI_BITS) for width in WIDTHS for rows in ROWS]
    cross = [
        IntegerProduct(rows, width, classes, PHI_BITS, TARGET_BITS)
        for width in WIDTHS
        for rows in ROWS
        for classes in CLASSES
    ]
    return square + cross


def main() -> int:
    """Test one device. Returns 0 when it may be used, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m workers.self_test", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    name = parser.parse_args().device
    settings = WorkerSettings()
    configure_logs(settings.log_level)
    log = structlog.get_logger(__name__)
    torch.set_num_threads(settings.threads)
    if torch.device(name).type == "cuda" and not torch.cuda.is_available():
        log.error(
            "device refused", device=name, why="torch finds no such device; install its driver, or use --queue cpu"
        )
        return 1
    try:
        check_integer_products(torch.device(name), shapes(), torch.Generator().manual_seed(torch.seed() % 2**63))
    except DeviceRefused as problem:
        log.error("device refused", device=name, why=str(problem))
        return 1
    log.info("device passed its test", device=name, products=len(shapes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
