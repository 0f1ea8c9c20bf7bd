"""Which network a new model has, and what it sees of a record: the body, the core cohort and an import put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ledger import tables
from service.refusals import PlanRefused
from unlearning.imported_core import KEEP, check_head
from unlearning.input_spec import CHANNELS_FIRST, CHANNELS_LAST, REFUSE, InputSpec


class Wish(Protocol):
    """What of a request's body decides the network."""

    architecture: str | None
    leaky: bool
    input_size: list[int] | None
    head: Literal["keep", "retrain"] | None


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """The network, what it sees of one record, and how records come to that."""

    architecture: str
    leaky: bool
    input_shape: tuple[int, ...]
    input_size: tuple[int, int] | None
    head: str | None


def network_plan(body: Wish, core: tables.Cohort, imported: tables.CoreImport | None) -> NetworkPlan:
    """Put the parts together. Raises PlanRefused, OutOfRange: they do not fit."""
    size = None if body.input_size is None else (body.input_size[0], body.input_size[1])
    if imported is None:
        if body.head is not None:
            raise PlanRefused("head", "without core_import there is no head to keep or to retrain")
        name = body.architecture or ("small-cnn" if len(core.shape) == 3 else "mlp")
        return NetworkPlan(name, body.leaky, input_shape(core, size), size, None)
    if body.architecture not in (None, imported.architecture):
        raise PlanRefused("architecture", f"the imported core is a {imported.architecture}")
    if body.leaky and not imported.leaky:
        raise PlanRefused("leaky", "the core was imported with ReLU")
    wanted, given = tuple(imported.shape), input_shape(core, None)
    if len(wanted) != len(given) or wanted[0] != given[0]:
        why = f"the imported core takes {list(wanted)}, the cohort's records are {list(given)}"
        raise PlanRefused("core_import", why)
    if size is not None and size != wanted[1:]:
        raise PlanRefused("input_size", f"the imported core takes images of {list(wanted[1:])}")
    if wanted != given:
        size = (wanted[1], wanted[2])
    head = body.head or KEEP
    check_head(head, outputs=imported.outputs, classes=len(core.class_names))
    return NetworkPlan(imported.architecture, imported.leaky, wanted, size, head)


def input_shape(core: tables.Cohort, size: tuple[int, int] | None) -> tuple[int, ...]:
    """Return what a network sees of one record. Raises OutOfRange: a size for a table."""
    shape, layout = tuple(core.shape), core.layout or CHANNELS_FIRST
    channels = shape[-1] if layout == CHANNELS_LAST else shape[0]
    form = InputSpec(
        shape=shape,
        dtype=core.dtype,
        mean=(0.0,) * channels,
        deviation=(1.0,) * channels,
        class_names=tuple(core.class_names),
        layout=layout,
        size=size,
        missing=core.missing or REFUSE,
    )
    return form.input_shape
