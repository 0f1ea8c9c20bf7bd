"""A stranger copies the README's commands into a shell, and they work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.dsse import verify_envelope
from service.demo.running_service import running_service

README = Path(__file__).parents[2] / "README.md"
STORY = re.compile(r"<!-- story:.*?-->(.*?)<!-- end of the story -->", re.DOTALL)
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
TIMEOUT_S = 120


def commands() -> str:
    """Return the story's commands as one script that stops at the first failure."""
    (story,) = STORY.findall(README.read_text())
    return "set -euo pipefail\n" + "\n".join(BLOCK.findall(story))


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the story needs curl")
def test_the_story_by_hand_works(tmp_path: Path) -> None:
    with running_service(tmp_path / "service") as service:
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LACUNA_URL": service.url,
            "LACUNA_API_KEY": service.key,
        }
        done = subprocess.run(
            ["bash", "-c", commands()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (key,) = service.client.signing_keys()
    statement = json.loads(verify_envelope((tmp_path / "certificate.json").read_bytes(), key["public_key_pem"]))
    assert statement["predicate"]["outcome"] == "erased"
    assert '"records":4' in done.stdout.replace(" ", "")
    assert '"class_name":"yes"' in done.stdout.replace(" ", "")
