"""The drill of docs/operations.md, run as it stands there, by real commands on a data directory."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from string import Template

import pytest
from structlog.testing import capture_logs
from support.command_line import Lacuna, Said
from support.world import NewWorld, World, person

from ledger import certificates, dsse
from ledger.keys import load_signer
from ledger.log import proofs
from ledger.log.sequencer import sequence
from service.moments import when

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def section(title: str) -> list[str]:
    """Return the commands of the drill, from the paragraph with this title in bold to the next."""
    drill = OPERATIONS.read_text().partition("the drill\n")[2]
    paragraph = drill.partition(f"**{title}.**")[2].partition("\n**")[0]
    return re.findall(r"^    (lacuna .*)$", paragraph, re.MULTILINE)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, new_world: NewWorld, lacuna: Lacuna, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """A service that has learned, on the directory and database that the commands find in their environment.

    On SQLite, unless a test asks for a database.
    """
    database_url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if "database_url" in request.fixturenames:
        database_url = request.getfixturevalue("database_url")
    world = new_world(database_url, core_people=4)
    monkeypatch.setenv("LACUNA_DATABASE_URL", database_url)
    monkeypatch.setenv("LACUNA_DATA_DIR", str(world.ledger.ring.directory.parent))
    world.upload(*(person(f"person-{i}") for i in range(4)))
    world.register()
    with capture_logs():  # else they stand in what the next command says
        world.work()
    return world


@pytest.fixture
def shell(lacuna: Lacuna) -> Callable[..., Said]:
    """Run a line of the drill: its variables, and its output into a file, as a shell would."""

    def run(line: str, **variables: str) -> Said:
        command, _, target = Template(line).substitute(variables).partition(" > ")
        said = lacuna(*shlex.split(command)[1:])
        if target:
            Path(target).write_text(said.out)
        return said

    return run


def certify(world: World, name: str, file: str) -> None:
    """Forget a person and save the certificate."""
    request_id = world.forget(name)
    with capture_logs():
        world.work()
    sequence(world.ledger.database, world.ledger.ring)
    with world.ledger.database.read() as tx:
        Path(f"{file}.json").write_bytes(certificates.get(tx, world.tenant_id, request_id))
    save_proof(world, request_id, file)
    Path(f"{file}.id").write_text(request_id)


def save_proof(world: World, request_id: str, file: str, *, size: int | None = None) -> None:
    with world.ledger.database.read() as tx:
        found = proofs.of_event(tx, world.tenant_id, "forget.completed", request_id, size=size)
    Path(f"{file}.tlog-proof").write_text(found.text())


def keep_checkpoint(world: World) -> int:
    with world.ledger.database.read() as tx:
        newest = proofs.newest_checkpoint(tx)
    Path("kept-checkpoint.txt").write_text(newest.note)
    return newest.size


def active(lacuna: Lacuna) -> str:
    listed = json.loads(lacuna("signing-keys", "list", "--json").out)["items"]
    return next(str(key["key_id"]) for key in listed if key["state"] == "active")


def verify(lacuna: Lacuna, file: str, *more: str, key: str = "service-keys.json") -> Said:
    return lacuna("verify", "certificate", f"{file}.json", "--key", key, "--proof", f"{file}.tlog-proof", *more)


@pytest.mark.usefixtures("database_url")
def test_a_stolen_key(world: World, lacuna: Lacuna, shell: Callable[..., Said]) -> None:
    certify(world, "person-0", "before")
    stolen, size = active(lacuna), keep_checkpoint(world)
    old_pem = world.ledger.ring.public_key_pem()
    Path("service.pem").write_text(old_pem)
    shutil.copy(world.ledger.ring.directory / "signing.key", "thief.key")
    with world.ledger.database.read() as tx:
        last_good = when(tx.now)
    certify(world, "person-1", "between")
    variables = {"STOLEN": stolen, "LAST_GOOD": last_good}
    *steps, check_before = section("Stolen")
    assert [line.split()[1:3] for line in steps[:2]] == [["signing-keys", "rotate"], ["signing-keys", "revoke"]]
    refused = shell(steps[1], **variables)
    assert (refused.status, "rotate first" in refused.err) == (3, True)
    for line in steps:
        said = shell(line, **variables)
        assert said.status == 0, (line, said.err)
    certify(world, "person-2", "after")
    assert active(lacuna) != stolen

    revocations = ("--revocations", "revocations.json")
    assert verify(lacuna, "after", *revocations).status == 0
    save_proof(world, Path("before.id").read_text(), "before", size=size)
    good = shell(check_before)
    assert (good.status, "Its key was revoked" in good.out) == (0, True)

    def refused_as(why: str, said: Said) -> None:
        assert (said.status, why in said.err) == (1, True), said

    refused_as("the certificate is later", verify(lacuna, "between", *revocations, "--since", "kept-checkpoint.txt"))
    without = lacuna("verify", "certificate", "before.json", "--key", "service.pem", *revocations)
    refused_as("can date a certificate back", without)
    save_proof(world, Path("before.id").read_text(), "before")
    refused_as("that you kept from before", verify(lacuna, "before", *revocations, "--since", "kept-checkpoint.txt"))

    # The thief dates a certificate back. It stands in no log, and the proof of another does not fit it.
    content = json.loads(dsse.verify_envelope(Path("before.json").read_bytes(), old_pem))
    content["predicate"]["not_covered"] = ["Nothing."]
    thief = load_signer(Path("thief.key"))
    Path("forged.json").write_bytes(certificates.sign(content, thief))
    forged = lacuna("verify", "certificate", "forged.json", "--key", "service-keys.json", *revocations)
    refused_as("can date a certificate back", forged)
    save_proof(world, Path("before.id").read_text(), "forged", size=size)
    refused_as("names another certificate", verify(lacuna, "forged", *revocations, "--since", "kept-checkpoint.txt"))
    # Nor does a hand-over by the stolen key lead anybody to another one.
    chain = verify(lacuna, "after", "--key-list", "service-keys.json", *revocations, key="service.pem")
    refused_as("no signature was made by the given key", chain)


def test_a_lost_key(world: World, lacuna: Lacuna, shell: Callable[..., Said]) -> None:
    certify(world, "person-0", "before")
    lost = active(lacuna)
    (world.ledger.ring.directory / "signing.key").unlink()
    assert lacuna("signing-keys", "rotate").status == 3
    assert lost in lacuna("signing-keys", "rotate").err
    for line in section("Lost"):
        said = shell(line, LOST=lost)
        assert said.status == 0, (line, said.err)
    certify(world, "person-1", "after")
    assert verify(lacuna, "after", "--revocations", "revocations.json").status == 0
    assert verify(lacuna, "before", "--revocations", "revocations.json").status == 1
    log = ("verify", "log", "--key", "service-keys.json", "--revocations", "revocations.json")
    assert lacuna(*log).status == 0


def test_a_rotation_in_two_steps(world: World, lacuna: Lacuna) -> None:
    certify(world, "person-0", "before")
    Path("service.pem").write_text(world.ledger.ring.public_key_pem())
    first = active(lacuna)
    announced = json.loads(lacuna("signing-keys", "rotate", "--announce", "--json").out)
    assert (announced["state"], active(lacuna)) == ("announced", first)
    certify(world, "person-1", "between")
    assert "signs now" in lacuna("signing-keys", "rotate").out
    assert active(lacuna) == announced["key_id"]
    certify(world, "person-2", "after")
    Path("service-keys.json").write_text(lacuna("signing-keys", "list", "--json").out)
    for file in ("before", "between", "after"):
        assert verify(lacuna, file).status == 0, file
        assert verify(lacuna, file, "--key-list", "service-keys.json", key="service.pem").status == 0, file
    assert verify(lacuna, "between", key="service.pem").status == 0, "its checkpoint carries both signatures"
    assert verify(lacuna, "after", key="service.pem").status == 1
    assert lacuna("verify", "log", "--key", "service.pem", "--key-list", "service-keys.json").status == 0
    wrong = lacuna("signing-keys", "revoke", first, "--reason", "superseded", "--not-after", "yesterday")
    assert (wrong.status, "with its zone" in wrong.err) == (2, True)
    assert first in lacuna("signing-keys", "list").out
