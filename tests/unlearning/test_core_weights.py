"""Files of weights from strangers: what is loaded, and what is refused with which words."""

import copy
import functools
import io
import json
import pickle
import struct
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from unlearning.architectures import build_network
from unlearning.architectures.core_network import CoreNetwork
from unlearning.core_weights import LARGEST_HEADER, load_core, read_tensors
from unlearning.errors import CoreRefused

State = dict[str, Tensor]


@functools.cache
def drawn(seed: int) -> CoreNetwork:
    return build_network("cifar-resnet-20", (3, 8, 8), 4, torch.Generator().manual_seed(seed))


def network(seed: int = 0) -> CoreNetwork:
    return copy.deepcopy(drawn(seed))


def state(seed: int = 1) -> State:
    return {name: tensor.clone() for name, tensor in network(seed).state_dict().items()}


def framed(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def test_weights_are_loaded_and_the_network_is_in_evaluation_mode() -> None:
    target = network(0)
    load_core(target, save(state(1), metadata={"made": "elsewhere"}))
    assert not target.training
    assert all(tensor.equal(state(1)[name]) for name, tensor in target.state_dict().items())


def test_counters_of_batches_may_be_left_out() -> None:
    target = network(0)
    load_core(target, save({name: t for name, t in state(1).items() if not name.endswith("num_batches_tracked")}))
    assert target.state_dict()["bn1.num_batches_tracked"] == 0
    assert target.state_dict()["bn1.running_var"].equal(state(1)["bn1.running_var"])


def drop(values: State) -> None:
    del values["fc.bias"]


def add(values: State) -> None:
    values["fc.extra\n\u202e"] = torch.zeros(1)


def reshape(values: State) -> None:
    values["fc.weight"] = torch.zeros(5, 64)


def halve(values: State) -> None:
    values["conv1.weight"] = values["conv1.weight"].half()


def poison(values: State) -> None:
    values["conv1.weight"][0, 0, 0, 0] = torch.nan


def explode(values: State) -> None:
    values["fc.bias"][1] = torch.inf


def negate(values: State) -> None:
    values["bn1.running_var"][2] = -1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (drop, r"1 missing \(fc.bias\)"),
        (add, r"1 unexpected \(fc.extra\\n\\u202e\)"),
        (reshape, r"1 of another shape \(fc.weight \[5, 64\] instead of \[4, 64\]\)"),
        (halve, r"1 of another type \(conv1.weight float16 instead of float32\)"),
        (poison, r"NaN or infinity: 1 tensors \(conv1.weight\)"),
        (explode, r"NaN or infinity: 1 tensors \(fc.bias\)"),
        (negate, r"negative variances: 1 tensors \(bn1.running_var\)"),
    ],
)
def test_other_tensors_are_refused_and_nothing_is_loaded(change: Callable[[State], None], why: str) -> None:
    values = state()
    change(values)
    target = network(0)
    with pytest.raises(CoreRefused, match=why):
        load_core(target, save(values))
    assert all(tensor.equal(state(0)[name]) for name, tensor in target.state_dict().items())


def test_at_most_ten_names_are_listed() -> None:
    with pytest.raises(CoreRefused) as refused:
        load_core(network(), save({f"layer{i}": torch.zeros(1) for i in range(12)}))
    assert "12 unexpected (" in str(refused.value)
    assert str(refused.value).count("layer1") + str(refused.value).count("layer9") <= 20
    assert ", ...)" in str(refused.value)
    assert len(str(refused.value)) < 1200


def test_files_of_pytorch_are_refused_with_the_way_to_convert_them() -> None:
    archive = io.BytesIO()
    torch.save(state(), archive)
    for data in (archive.getvalue(), pickle.dumps({"fc.bias": [1.0]})):
        with pytest.raises(CoreRefused, match=r"weights_only=True") as refused:
            read_tensors(data)
        assert "save_file" in refused.value.advice


def test_a_file_whose_length_begins_like_a_pickle_is_read() -> None:
    for padding in range(300):
        data = save({"a": torch.ones(2)}, metadata={"note": "x" * padding})
        if data[0] == 0x80:
            assert read_tensors(data)["a"].equal(torch.ones(2))
            return
    raise AssertionError("no such file among those tried")


GOOD = save({"a": torch.ones(4), "b": torch.zeros(2, 2)})


@pytest.mark.parametrize(
    "data",
    [
        b"", GOOD[:5], GOOD[:40], GOOD[:-1], GOOD + b"\0", b"{}" * 40, framed(b""), framed(b"[]"), framed(b"{"),
        framed(b"\xff\xfe{}"), framed(b"[" * 100_000), struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", LARGEST_HEADER + 1) + b" " * (LARGEST_HEADER + 2),
        framed(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],'
               b'"data_offsets":[0,16]}}', bytes(16)),
        framed(b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,16]}}', bytes(16)),
        framed(b'{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}', bytes(16)),
        framed(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],'
               b'"data_offsets":[8,24]}}', bytes(24)),
        framed(b'{"a":{"dtype":"O","shape":[4],"data_offsets":[0,16]}}', bytes(16)),
        framed(b'{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}', bytes(16)),
    ],
)  # fmt: skip
def test_hostile_files_are_refused(data: bytes) -> None:
    with pytest.raises(CoreRefused):
        read_tensors(data)


def test_every_cut_of_a_good_file_is_refused() -> None:
    assert json.loads(GOOD[8 : 8 + struct.unpack_from("<Q", GOOD)[0]])
    for length in range(len(GOOD)):
        with pytest.raises(CoreRefused):
            read_tensors(GOOD[:length])
