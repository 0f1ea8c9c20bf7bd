"""The wheel holds the whole program and nothing else, and works where there is no checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.source_files import CHECKOUT
from support.wheel import PACKAGES, Installation, build_wheel, copy_of_the_source, install_alone, names_in

# Alembic's template for writing the next migration: only the checkout needs it.
STAYS_BEHIND = {"migrations/script.py.mako"}
# The part of the demo that needs no network, as arguments of `lacuna`.
DEMO_CORE = ("demo", "--core")

IMPORT_EVERYTHING = """
import importlib, json, os, pkgutil, sys
origins = {}
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    modules = [name]
    if name != "migrations":  # alembic runs those files, nobody imports them
        found = pkgutil.walk_packages(package.__path__, name + ".", onerror=lambda broken: sys.exit(broken))
        modules += [module.name for module in found if not module.name.endswith(".__main__")]
    for module in modules:
        origins[module] = importlib.import_module(module).__file__
path = [os.path.realpath(entry) for entry in sys.path]
print(json.dumps({"origins": origins, "path": path, "finders": [repr(finder) for finder in sys.meta_path]}))
"""

MIGRATE = """
import sys
from sqlalchemy import create_engine
from ledger.migrate import require_current, upgrade
engine = create_engine(sys.argv[1])
upgrade(engine)
require_current(engine)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install_alone(wheel, tmp_path_factory.mktemp("installed"))


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(source: Path, wheel: Path) -> None:
    files = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    assert any(name.startswith("migrations/versions/0001") for name in files)  # the comparison is not of nothing
    assert names_in(wheel) == files - STAYS_BEHIND


@pytest.mark.slow
def test_every_module_comes_from_the_wheel(source: Path, installed: Installation) -> None:
    done = installed.run(installed.python, "-c", IMPORT_EVERYTHING, *PACKAGES)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    strangers = {name: origin for name, origin in seen["origins"].items() if not is_below(origin, installed)}
    assert not strangers
    assert set(PACKAGES) <= seen["origins"].keys()
    assert not {str(CHECKOUT), str(source.resolve())} & set(seen["path"])
    assert not [finder for finder in seen["finders"] if "Editable" in finder]


def test_the_migrations_run_from_the_wheel(installed: Installation, tmp_path: Path) -> None:
    done = installed.run(installed.python, "-c", MIGRATE, f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_command_lacuna_runs_from_the_wheel(installed: Installation) -> None:
    done = installed.lacuna("--help")
    assert done.returncode == 0, done.stderr
    assert "lacuna" in done.stdout
    assert not done.stderr


@pytest.mark.slow
def test_the_demo_core_runs_from_the_wheel(installed: Installation) -> None:
    done = installed.lacuna(*DEMO_CORE)
    assert done.returncode == 0, done.stdout + done.stderr


def is_below(origin: str, installed: Installation) -> bool:
    """Whether a module's file lies in the installation's own site-packages."""
    return Path(origin).is_relative_to(installed.environment)
