"""Weights of a core that was trained elsewhere: a safetensors file from a stranger, checked before it is believed."""

import json
import struct
from collections.abc import Mapping, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from unlearning.architectures import CoreNetwork
from unlearning.errors import CoreRefused

LARGEST_HEADER = 8 * 2**20
"""Bytes; the header of resnet50 has about 30,000."""
MOST_NAMES_SHOWN = 10
LONGEST_NAME_SHOWN = 80
COUNTER = "num_batches_tracked"
"""BatchNorm's counter of training batches. Evaluation never reads it, and older checkpoints do not have it."""
LENGTH = struct.Struct("<Q")
ZIP_MAGIC, PICKLE_MAGIC = b"PK\x03\x04", b"\x80"
PLAIN = "Save the state dict with safetensors.torch.save_file and send that file"
CONVERT = (
    "Convert it where you trust it: `from safetensors.torch import save_file; "
    'save_file(torch.load("core.pt", weights_only=True), "core.safetensors")` '
    '(add ["state_dict"] after load(...) if the weights lie under that name), and send core.safetensors'
)


def load_core(network: CoreNetwork, data: bytes) -> None:
    """Fill `network` from a safetensors file and put it in evaluation mode.

    Names, shapes and types must be exactly those of the architecture, but for BatchNorm's counters, which may be left
    out. The network must then give finite outputs.
    Raises CoreRefused: another file, other names, shapes or types, NaN or infinity.
    """
    tensors = read_tensors(data)
    module = network.named
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name.rpartition(".")[2] == COUNTER and name not in tensors:
            tensors[name] = torch.zeros_like(tensor)
    check_names(tensors, expected)
    check_finite(tensors)
    module.load_state_dict(tensors, strict=True)
    network.eval()


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Nothing is executed, and no size is believed before it is checked.

    Raises CoreRefused.
    """
    # A header's length may begin with the same byte as a pickle, so look first where the header begins.
    if data[LENGTH.size : LENGTH.size + 1] != b"{" and data.startswith((ZIP_MAGIC, PICKLE_MAGIC)):
        raise CoreRefused("it is a PyTorch or pickle file, which can run programs when it is opened", CONVERT)
    if len(data) < LENGTH.size:
        raise CoreRefused("the file is empty or cut short", PLAIN)
    (length,) = LENGTH.unpack_from(data)
    if length > LARGEST_HEADER or length > len(data) - LENGTH.size:
        raise CoreRefused(
            "it is no safetensors file, or is cut short: its header says it is longer than it can be", PLAIN
        )
    check_header(data[LENGTH.size : LENGTH.size + length])
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        raise CoreRefused(f"it is no valid safetensors file: {problem}", PLAIN) from problem


def check_header(header: bytes) -> None:
    """Look for names that stand twice, of which the library would keep one. Raises CoreRefused."""

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in found}) != len(found):
            raise CoreRefused("a name stands twice in its header", PLAIN)
        return dict(found)

    try:
        content = json.loads(header, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as problem:
        raise CoreRefused("it is no safetensors file: its header cannot be read", PLAIN) from problem
    if not isinstance(content, dict):
        raise CoreRefused("it is no safetensors file: its header is no object", PLAIN)


def check_names(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and types. Raises CoreRefused, which names up to 10 of each kind of difference."""
    faults = [
        listed("missing", sorted(expected.keys() - tensors.keys())),
        listed("unexpected", sorted(tensors.keys() - expected.keys())),
        listed(
            "of another shape",
            [
                f"{name} {list(tensors[name].shape)} instead of {list(tensor.shape)}"
                for name, tensor in expected.items()
                if name in tensors and tensors[name].shape != tensor.shape
            ],
        ),
        listed(
            "of another type",
            [
                f"{name} {shown(tensors[name].dtype)} instead of {shown(tensor.dtype)}"
                for name, tensor in expected.items()
                if name in tensors and tensors[name].dtype != tensor.dtype
            ],
        ),
    ]
    if any(faults):
        raise CoreRefused(
            "its tensors are not those of the architecture: " + "; ".join(filter(None, faults)),
            "Choose the architecture, shape and classes that the weights belong to, and float32",
        )


def listed(what: str, names: Sequence[str]) -> str:
    """Return the number of names and the first ten; nothing when there are none."""
    if not names:
        return ""
    some = [ascii(name[:LONGEST_NAME_SHOWN])[1:-1] for name in names[:MOST_NAMES_SHOWN]]
    return f"{len(names)} {what} ({', '.join(some)}{', ...' if len(names) > len(some) else ''})"


def shown(dtype: torch.dtype) -> str:
    """Return a type's name."""
    return str(dtype).removeprefix("torch.")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises CoreRefused: NaN or infinity, or a negative variance, which would become NaN."""
    broken = sorted(name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all()))
    if broken:
        raise CoreRefused(f"NaN or infinity: {listed('tensors', broken)}", "Send weights of a training that converged")
    negative = [name for name, t in tensors.items() if name.endswith("running_var") and bool((t < 0).any())]
    if negative:
        raise CoreRefused(f"negative variances: {listed('tensors', negative)}", "Send the weights as they were saved")


def copy_backbone(source: CoreNetwork, target: CoreNetwork) -> None:
    """Give `target`, which differs in its number of classes alone, everything of `source` but the output layer.

    Raises CoreRefused: other layers depend on the number of classes too.
    """
    head = {id(tensor) for tensor in target.output_layer.state_dict(keep_vars=True).values()}
    wanted = {n: t for n, t in target.named.state_dict(keep_vars=True).items() if id(t) not in head}
    given = source.named.state_dict()
    if any(name not in given or given[name].shape != tensor.shape for name, tensor in wanted.items()):
        raise CoreRefused(
            "layers other than the last depend on the number of classes", "Keep its head and use its own classes"
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(given[name])
    target.eval()


def set_output_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Write weight (C, p) and bias (C,) into a linear layer. Raises CoreRefused: it has no bias."""
    if layer.bias is None:
        raise CoreRefused("its output layer has no bias, so it cannot be retrained", "Keep its head")
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
