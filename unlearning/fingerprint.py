"""On what a solve ran: equal fingerprints promise equal bits, different ones only equal residuals."""

import hashlib
import json
import platform

import numpy as np
import torch


def solver_fingerprint() -> dict[str, str]:
    """Return versions, build, processor and threads of this process, and the SHA-256 over them in `digest`."""
    facts = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "build": hashlib.sha256(torch.__config__.show().encode()).hexdigest(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return {**facts, "digest": hashlib.sha256(canonical.encode()).hexdigest()}
