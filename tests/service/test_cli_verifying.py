"""`lacuna verify`: what an auditor sees of a good certificate and log, and of bad ones."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text, update
from support.command_line import Lacuna
from support.issued import Issued

from ledger.log import proofs
from ledger.log.sequencer import sequence
from ledger.tables import Event
from service import entry

CHECK = ("verify", "certificate", "certificate.json", "--key", "key.pem")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """A completed request."""
    from support.world import make_world

    folder = tmp_path_factory.mktemp("made")
    return Issued(make_world(folder, f"sqlite:///{folder / 'ledger.db'}"))


@pytest.fixture
def verify(lacuna: Lacuna, made: Issued, monkeypatch: pytest.MonkeyPatch) -> Lacuna:
    """The command line in a folder with the request's files, told where the database is."""
    made.save(Path.cwd())
    url = made.world.ledger.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("LACUNA_DATABASE_URL", url)
    return lacuna


def test_a_good_certificate_says_what_is_proven_and_what_is_not(verify: Lacuna, made: Issued) -> None:
    said = verify(*CHECK, "--proof", "p.tlog-proof", "--since", "kept.txt")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"Request {made.request_id}: erased."
    proven, words, uncovered = (lines.index(next(x for x in lines if x.startswith(t))) for t in TITLES)
    assert proven < words < uncovered
    assert "not one byte of it has changed" in lines[proven + 1]
    assert words - proven == 4  # signature, consistency, place in the log
    assert [line.split(":")[0].strip(" -") for line in lines[words + 1 : words + 5]] == [
        "removed",
        "solved",
        "gone",
        "unserved",
    ]
    assert any("Backups" in line for line in lines[uncovered:])


TITLES = ("Proven here", "Said by whoever holds the key", "Not covered")


def test_a_receipt_is_opened_from_standard_input(verify: Lacuna, made: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    for typed, status in ((f"{made.named}\n", 0), ("person-2\n", 1)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        said = verify(*CHECK, "--receipt", "receipt.json", "--identifier-stdin")
        assert said.status == status
        assert typed.strip() not in said.out + said.err
    assert "not the receipt of this subject" in said.err
    assert verify(*CHECK, "--identifier-stdin").status == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("certificate.json", '"sig":"', '"sig":"A', "NOT VALID: the signature does not verify"),
        ("key.pem", "BEGIN", "BEGUN", "no readable PEM"),
        ("p.tlog-proof", "index ", "index 1", "the inclusion proof fails"),
        ("p.tlog-proof", "c2sp", "c3sp", "this is no proof of a log"),
        ("kept.txt", "lacuna/", "lacuna/0", "NOT VALID: "),
    ],
)
def test_what_is_wrong_is_named_and_ends_with_1(verify: Lacuna, file: str, old: str, new: str, told: str) -> None:
    path = Path(file)
    path.write_text(path.read_text().replace(old, new, 1))
    said = verify(*CHECK, "--proof", "p.tlog-proof", "--since", "kept.txt")
    assert (said.status, said.out, told in said.err) == (1, "", True), said.err
    assert "Traceback" not in said.err


def test_a_missing_file_ends_with_2(verify: Lacuna) -> None:
    said = verify(*CHECK, "--proof", "nowhere.tlog-proof")
    assert (said.status, "nowhere.tlog-proof cannot be read" in said.err) == (2, True)


def test_the_script_needs_neither_service_nor_database_nor_torch(verify: Lacuna) -> None:
    code = (
        "import sys; from service.entry import main\n"
        "try: main()\n"
        "finally:\n"
        "    roots = {'torch', 'numpy', 'workers', 'ledger', 'unlearning', 'sqlalchemy', 'fastapi', 'typer'}\n"
        "    ours = {name for name in sys.modules if name.startswith('service.')}\n"
        "    assert not roots & set(sys.modules) and ours == {'service.entry'}, ours"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(*CHECK, "--proof", "p.tlog-proof")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == verify(*CHECK, "--proof", "p.tlog-proof").out
    Path("key.pem").write_text("nothing")
    assert run(*CHECK).returncode == 1


def test_the_script_hands_everything_else_to_the_command_line(
    lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (("--version",), ("verify", "certificate", "--help"), ("verify", "log", "--help")):
        monkeypatch.setattr(sys, "argv", ["lacuna", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        said = capsys.readouterr().out
        assert not ended.value.code
        assert said == lacuna(*arguments).out


def test_a_whole_log_is_told_from_one_that_was_edited(verify: Lacuna, made: Issued) -> None:
    good = verify("verify", "log", "--key", "key.pem", "--since", "kept.txt")
    assert (good.status, "The log is whole" in good.out) == (0, True), good.err
    found = json.loads(verify("verify", "log", "--key", "key.pem", "--json").out)
    assert (found["findings"], found["waiting"], found["checkpoints"]) == ([], 0, 1)
    assert found["entries"] > 5
    database = made.world.ledger.database
    with database.begin() as tx:
        (guard,) = tx.session.execute(
            text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'events_no_update'")
        ).scalars()
        tx.session.execute(text("DROP TRIGGER events_no_update"))
        at = tx.session.execute(text("SELECT at FROM events WHERE id = 3")).scalar_one()
        tx.session.execute(update(Event).where(Event.id == 3).values(at=1))
    bad = verify("verify", "log", "--key", "key.pem")
    assert (bad.status, bad.out) == (1, "")
    assert "event 3, entry 2, was edited: its column at" in bad.err
    (finding,) = json.loads(verify("verify", "log", "--key", "key.pem", "--json").out)["findings"]
    assert "its column at" in finding
    with database.begin() as tx:
        tx.session.execute(update(Event).where(Event.id == 3).values(at=at))
        tx.session.execute(text(guard))
    assert verify("verify", "log", "--key", "key.pem").status == 0


def test_a_log_is_checked_against_a_kept_checkpoint_and_a_key(verify: Lacuna, made: Issued, tmp_path: Path) -> None:
    world = made.world
    world.forget("person-2")
    sequence(world.ledger.database, world.ledger.ring)
    assert verify("verify", "log", "--key", "key.pem", "--since", "kept.txt").status == 0
    with world.ledger.database.read() as tx:
        newest = proofs.newest_checkpoint(tx).note
    Path("kept.txt").write_text(newest.replace("lacuna/", "lacuna/0"))
    foreign = verify("verify", "log", "--key", "key.pem", "--since", "kept.txt")
    assert (foreign.status, "your checkpoint is not one of this log" in foreign.err) == (1, True)
    missing = verify("verify", "log", "--key", "key.pem", "--data-dir", str(tmp_path / "none"))
    assert missing.status == 0  # the address of the database wins over the folder
    Path("key.pem").write_text("nothing")
    assert (verify("verify", "log", "--key", "key.pem").status) == 1
