"""What exactness rests on: devices that multiply integers exactly, and networks that are still what they were."""

from __future__ import annotations

import torch
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from ledger import generations
from ledger.settings import LedgerSettings
from ledger.tables import Model
from service.doctor.finding import Finding, ok, wrong
from unlearning.architectures import read_allow_list
from unlearning.device_check import IntegerProduct, check_integer_products
from unlearning.errors import ArchitectureRefused, DeviceRefused
from unlearning.quantization import PHI_BITS, TARGET_BITS

SHAPES = tuple(
    IntegerProduct(rows, width, right, PHI_BITS, bits)
    for rows, width in ((37, 65), (256, 513))
    for right, bits in ((width, PHI_BITS), (10, TARGET_BITS))
)


def devices(generator: torch.Generator, *, dtype: torch.dtype = torch.float64) -> Finding:
    """Multiply random integers on every device of this machine. Another `dtype` than float64 shows that it can fail."""
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    try:
        for name in names:
            check_integer_products(torch.device(name), SHAPES, generator, dtype=dtype)
    except DeviceRefused as problem:
        return wrong("devices", str(problem), "Use another device, driver or build of torch; no statistics are exact.")
    except RuntimeError as problem:  # how torch reports a device that is there and cannot be used
        return wrong("devices", f"a device failed ({type(problem).__name__})", "Check the driver, or hide the device.")
    return ok("devices", f"{', '.join(names)} multiply integers exactly")


def architectures(settings: LedgerSettings, engine: Engine | None) -> Finding:
    """Whether the operator's list can be read, and still has the network of every model (None: cannot be asked)."""
    try:
        listed = set(read_allow_list(settings.architectures))
    except ArchitectureRefused as problem:
        return wrong("architectures", str(problem), "Correct LACUNA_ARCHITECTURES, or install the module it names.")
    used: set[str] = set()
    if engine is not None:
        with Session(engine) as session:
            alive = select(Model.architecture).where(Model.state.not_in(generations.GONE)).distinct()
            used = set(session.execute(alive).scalars())
    if missing := sorted(used - listed):
        return wrong(
            "architectures",
            f"models use {', '.join(missing)}, which is not on the list",
            "Put it back into LACUNA_ARCHITECTURES on every process; those models can neither answer nor forget.",
        )
    return ok("architectures", f"{len(listed)} networks, among them those of all models")
