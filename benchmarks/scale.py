"""How does forgetting grow with the number of records, from 10^4 to 10^6?

Run it from the repository's root: `python -m benchmarks.scale --records 10000 1000000`. For each size it starts the
real embedded server, uploads synthetic integer records (uint8) over HTTP, and waits for the first version. Then it
forgets one record five times and 1,000 records once, from the accepted request to the certificate. Memory is each
process's peak. Baselines in the same run: an exact rebuild (summing every stored row again), and 50 epochs of training
through the network or on cached features, of which one is timed and the rest extrapolated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from service.demo.running_service import running_service
from unlearning.architectures import build_network
from unlearning.core_training import train_core
from unlearning.input_spec import fit_input_spec

FEATURES = 64
CLASSES = [str(c) for c in range(10)]
PIECE = 100_000
ONE_BY_ONE = 5
TOGETHER = 1_000
EPOCHS = 50
BATCH = 64


def records(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (count, 64) uint8 around one of ten centres, and labels y (count,)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).integers(60, 196, (len(CLASSES), FEATURES))
    y = rng.integers(0, len(CLASSES), count)
    x = np.clip(centres[y] + rng.normal(0, 40, (count, FEATURES)), 0, 255).astype(np.uint8)
    return x, y


def peak_mb(pid: int) -> float:
    """Return a process's largest resident memory so far, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def disk_bytes(folder: Path) -> int:
    """Return the bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def epoch_seconds(count: int, width: int) -> dict[str, float]:
    """Time one epoch through the network and one on cached features, times 50: what retraining would take."""
    x, y = records(count, 3)
    spec = fit_input_spec(x, tuple(CLASSES))
    inputs, labels = spec.prepare(x), torch.from_numpy(y)
    generator = torch.Generator().manual_seed(0)
    network = build_network("mlp", (FEATURES,), len(CLASSES), generator)
    started = time.perf_counter()
    train_core(network, inputs, labels, epochs=1, generator=generator)
    through_network = time.perf_counter() - started
    features = torch.randn(min(count, PIECE), width, generator=generator)
    weights = torch.zeros(width, len(CLASSES), requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=1e-3, momentum=0.9)
    started = time.perf_counter()
    for start in range(0, len(features), BATCH):
        optimizer.zero_grad()
        batch = slice(start, min(start + BATCH, len(features)))  # there are more labels than cached features
        torch.autograd.backward(functional.cross_entropy(features[batch] @ weights, labels[batch]))
        optimizer.step()
    on_features = (time.perf_counter() - started) * count / len(features)
    return {
        "baseline: 50 epochs through the network, extrapolated": EPOCHS * through_network,
        "baseline: 50 epochs on cached features, extrapolated": EPOCHS * on_features,
    }


def measure(count: int, width: int) -> dict[str, float]:
    """Return one column of the table."""
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        client, data = service.client, Path(name) / "data"
        server = json.loads((data / "server.json").read_text())["process"]
        worker = int(Path(f"/proc/{server}/task/{server}/children").read_text().split()[0])
        shape = {"shape": [FEATURES], "dtype": "uint8", "class_names": CLASSES}
        core = client.create_cohort("core", kind="core", **shape)["id"]
        user = client.create_cohort("user", kind="user", **shape)["id"]
        client.upload(core, *records(4_000, 1))
        made = client.create_model(
            "model",
            core_cohort=core,
            user_cohorts=[user],
            architecture="mlp",
            feature_map="nystrom",
            width=width,
            epochs=3,
        )
        model = made["model"]["id"]
        client.wait_for_version(model)
        started = time.perf_counter()
        for start in range(0, count, PIECE):
            x, y = records(min(PIECE, count - start), 2 + start)
            ids = np.array([f"r{start + i}" for i in range(len(y))])
            client.upload(user, x, y, ids=ids)
        stored = time.perf_counter() - started
        while any(job["state"] in ("ready", "running") for job in client.jobs(limit=1000)):
            time.sleep(0.25)
        ingested = time.perf_counter() - started
        size = disk_bytes(data)

        def forget(ids: list[str]) -> tuple[float, float]:
            """Return the seconds until the new weights serve, and until the certificate."""
            begun = time.perf_counter()
            done = client.wait_for_request(client.forget(record_ids=ids)["id"])
            assert (done["outcome"], done["records"]) == ("erased", len(ids))
            received, published = (datetime.fromisoformat(done[at]) for at in ("received_at", "published_at"))
            return (published - received).total_seconds(), time.perf_counter() - begun

        one = [forget([f"r{i * (count // 7)}"]) for i in range(ONE_BY_ONE)]
        step = count // (TOGETHER + 1)
        many = forget([f"r{1 + i * step}" for i in range(TOGETHER)])
        rebuilt = client.wait_for_job(client.rebuild(model)["job"], timeout_s=7200)["result"]
        assert rebuilt["equal"]
        assert rebuilt["records"] == count - ONE_BY_ONE - TOGETHER
        return {
            "records stored per second": count / stored,
            "records stored and ingested per second": count / ingested,
            "bytes on disk per record": size / count,
            "one record: seconds to new weights, median": statistics.median(new for new, _ in one),
            "one record: seconds to the certificate, median": statistics.median(all_ for _, all_ in one),
            f"{TOGETHER} records: seconds to new weights": many[0],
            f"{TOGETHER} records: seconds to the certificate": many[1],
            "baseline: seconds of an exact rebuild": rebuilt["seconds"],
            "server's peak memory, MB": peak_mb(server),
            "worker's peak memory, MB": peak_mb(worker),
            **epoch_seconds(count, width),
        }


def main() -> None:
    """Print the table, a column for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--width", type=int, default=257, help="features of a record, the bias included")
    options = parser.parse_args()
    columns = []
    for count in options.records:
        columns.append(measure(count, options.width))
        print(f"{count} records: {json.dumps(columns[-1])}", flush=True)
    print(f"\n| width {options.width:<47} | " + " | ".join(f"{count:>10,}" for count in options.records) + " |")
    print(f"| {'-' * 53} | " + " | ".join("-" * 10 for _ in columns) + " |")
    for name in columns[0]:
        print(f"| {name:<53} | " + " | ".join(f"{column[name]:>10,.2f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
