"""What names a solver."""

import torch

from unlearning.fingerprint import solver_fingerprint


def test_equal_in_one_process_and_different_with_other_threads() -> None:
    first = solver_fingerprint()
    assert solver_fingerprint() == first
    assert first["torch"] == torch.__version__
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        other = solver_fingerprint()
    finally:
        torch.set_num_threads(threads)
    assert other["digest"] != first["digest"]
    assert {name for name in first if first[name] != other[name]} == {"threads", "digest"}
