"""Build the project's wheel and install it where nothing else of the project can be found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from support.source_files import CHECKOUT

PACKAGES = ("service", "workers", "ledger", "unlearning", "evidence", "migrations")
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "lacuna-data")
TIMEOUT_S = 240


@dataclass(frozen=True)
class Installation:
    """The wheel in a virtual environment of its own, next to the installed dependencies, far from the checkout."""

    environment: Path
    outside: Path

    @property
    def python(self) -> Path:
        """The interpreter that sees the wheel."""
        return self.environment / "bin" / "python"

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program outside the checkout, without our Python and Lacuna variables; return its output as text."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LACUNA_"))}
        return _run(argv, self.outside, clean)

    def lacuna(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command `lacuna`."""
        return self.run(self.environment / "bin" / "lacuna", *arguments)


def copy_of_the_source(folder: Path) -> Path:
    """Copy the checkout: building in place would leave files there, and pick up those of an earlier build."""
    return Path(shutil.copytree(CHECKOUT, folder / "source", ignore=NOT_SOURCE))


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel with the build tool that is installed here, downloading nothing."""
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source)
    built = _run(command, source, dict(os.environ))
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    """The paths inside the wheel, without its metadata folder."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def install_alone(wheel: Path, folder: Path) -> Installation:
    """Install the wheel into a bare environment and let it borrow our dependencies.

    A `.pth` line adds our site-packages behind the new ones. Python does not read the `.pth` files inside a folder
    added that way, so an editable installation of the checkout stays invisible.
    """
    installed = Installation(folder / "environment", folder / "outside")
    installed.outside.mkdir()
    venv.create(installed.environment, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", installed.python, "install", "--no-deps", "--no-index", wheel)
    done = _run(pip, installed.outside, dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    (own_packages,) = (installed.environment / "lib").glob("python*/site-packages")
    borrowed = {str(distribution(name).locate_file("")) for name in ("torch", "sqlalchemy")}
    (own_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return installed


def _run(argv: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
