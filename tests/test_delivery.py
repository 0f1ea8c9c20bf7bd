"""What is delivered beside the program: image, compose file, continuous integration, and a repository without leaks."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support.leaks import machine_paths_in, secrets_in
from support.source_files import CHECKOUT, source_files, text_of
from support.wheel import PACKAGES

from service.settings import ServiceSettings
from workers.settings import WorkerSettings

COMPOSE = CHECKOUT / "docker-compose.yml"
WORKING = ("worker-cpu", "worker-gpu", "reconciler")
ONCE = ("migrate", "roles")
OWN_SERVICES = (*ONCE, "api", *WORKING)
LONGEST_FILE_LINES = 399
# The first migration makes all first tables in one step. Databases remember that step by its name, so it can neither be
# split nor edited any more; that it was not is what excuses its length. Later migrations are short.
FROZEN = {
    "migrations/versions/0001_first_tables.py": "e7f626d8b9aaaf1021027de177ba3c01791d54d43cfc33eae25710b0b3545e14"
}


@pytest.fixture(scope="module")
def compose() -> Any:
    return YAML(typ="safe").load(COMPOSE)


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (CHECKOUT / "Dockerfile").read_text()


def check_compose(file: Path) -> subprocess.CompletedProcess[str]:
    check = Path(sys.executable).with_name("check-jsonschema")
    return subprocess.run(
        [str(check), "--builtin-schema", "vendor.compose-spec", str(file)], capture_output=True, text=True
    )


def test_the_compose_file_follows_its_schema(tmp_path: Path) -> None:
    checked = check_compose(COMPOSE)
    assert checked.returncode == 0, checked.stdout
    misspelt = tmp_path / "docker-compose.yml"
    misspelt.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:"))
    assert check_compose(misspelt).returncode != 0


def test_published_ports_are_open_to_this_machine_only(compose: Any) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_passwords_come_from_files_outside_the_repository(compose: Any) -> None:
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|DATABASE_URL|REDIS_URL|KEY|CREDENTIALS|SECRET", name):
                assert name.endswith("_FILE")
                assert value.startswith("/run/secrets/")
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    files = [secret["file"] for secret in compose["secrets"].values()]
    assert files
    assert all(file.startswith("${LACUNA_SECRETS:-${HOME}/") for file in files)


def test_the_tables_exist_before_the_services_start(compose: Any) -> None:
    services = compose["services"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "healthcheck" in services["postgres"]
    done = {"condition": "service_completed_successfully"}
    assert services["roles"]["depends_on"] == {"migrate": done}
    assert services["logins"]["depends_on"] == {"roles": done}
    for name in ("api", *WORKING):
        assert services[name]["depends_on"]["logins"] == done


def test_only_what_migrates_signs_in_as_the_owner(compose: Any) -> None:
    for name, service in compose["services"].items():
        owns = name in (*ONCE, "logins", "postgres")
        secrets = {"owner-database-url", "postgres-password"}
        assert bool(secrets & set(service.get("secrets", ()))) == owns, name
        if name in OWN_SERVICES:
            file = service["environment"]["LACUNA_DATABASE_URL_FILE"]
            assert file == f"/run/secrets/{'owner-' if owns else ''}database-url", name


def test_every_secret_that_is_read_is_given(compose: Any) -> None:
    for name, service in compose["services"].items():
        said = str((service.get("command"), service["environment"], service.get("healthcheck")))
        assert set(re.findall(r"/run/secrets/([\w-]+)", said)) <= set(service["secrets"]), name
        assert set(service["secrets"]) <= set(compose["secrets"]), name


def test_the_object_store_is_ready_before_who_uses_it_and_only_if_it_is_wanted(compose: Any) -> None:
    services = compose["services"]
    objects, bucket = services["objects"], services["bucket"]
    assert objects["profiles"] == bucket["profiles"] == ["objects"]
    assert re.fullmatch(r"[\w./-]+:v\d+\.\d+\.\d+", objects["image"]), "pinned"
    assert objects["networks"] == ["inside"]
    assert objects["environment"]["VGW_HEALTH"] in str(objects["healthcheck"]["test"])
    assert bucket["depends_on"] == {"objects": {"condition": "service_healthy"}}
    for name in ("api", *WORKING):
        made = {"condition": "service_completed_successfully", "required": False}
        assert services[name]["depends_on"]["bucket"] == made
        assert services[name]["environment"]["LACUNA_OBJECTS_URL"] == "${LACUNA_OBJECTS_URL:-file:///data/objects}"


def test_who_works_needs_valkey_and_is_watched(compose: Any) -> None:
    valkey = compose["services"]["valkey"]
    assert "noeviction" in str(valkey["command"])
    assert valkey["networks"] == ["inside"]
    assert "healthcheck" in valkey
    for name in WORKING:
        service = compose["services"][name]
        assert service["depends_on"]["valkey"] == {"condition": "service_healthy"}
        assert service["environment"]["LACUNA_ALIVE_FILE"] in str(service["healthcheck"]["test"])
        assert service["restart"] == "unless-stopped"
    assert "valkey" not in compose["services"]["api"]["depends_on"], "requests are accepted without it"
    assert compose["services"]["worker-gpu"]["profiles"] == ["gpu"]


def test_the_services_share_objects_and_keys_and_nothing_else_is_writable(compose: Any) -> None:
    for name in OWN_SERVICES:
        service = compose["services"][name]
        assert service["volumes"] == ["data:/data"]
        assert service["read_only"] is True
        assert service["environment"]["LACUNA_DATA_DIR"] == "/data"


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN_SERVICES)
def test_the_command_of_each_service_exists(compose: Any, name: str) -> None:
    command = [*compose["services"][name]["command"], "--help"]
    asked = subprocess.run(
        [sys.executable, "-c", "from service.cli import main; main()", *command],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr


def test_every_setting_in_the_image_and_the_compose_file_exists(compose: Any, dockerfile: str) -> None:
    used = set(re.findall(r"\bLACUNA_([A-Z_]+)=", dockerfile))
    for name in OWN_SERVICES:
        named = compose["services"][name]["environment"]
        used |= {key.removeprefix("LACUNA_") for key in named if key.startswith("LACUNA_")}
    of_the_image = {"DATA_DIR", "HOST", "PORT"}
    assert used == of_the_image | {"DATABASE_URL_FILE", "REDIS_URL_FILE", "OBJECTS_URL", "GPU_JOBS", "ALIVE_FILE"}
    assert {name.lower() for name in used} <= WorkerSettings.model_fields.keys() | ServiceSettings.model_fields.keys()


def test_one_port_is_answered_checked_and_published(compose: Any, dockerfile: str) -> None:
    (port,) = re.findall(r"LACUNA_PORT=(\d+)", dockerfile)
    assert f"EXPOSE {port}" in dockerfile
    assert f"http://127.0.0.1:{port}/healthz" in dockerfile
    assert compose["services"]["api"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert "LACUNA_HOST=0.0.0.0" in dockerfile
    for part in (compose["services"]["api"]["command"], dockerfile.rpartition("\nCMD ")[2]):
        assert "--port" not in part


def test_the_image_is_not_root_and_says_whether_it_is_healthy(dockerfile: str) -> None:
    final_stage = dockerfile.rpartition("\nFROM ")[2]
    uid = re.search(r"^ARG UID=(\d+)$", final_stage, re.MULTILINE)
    assert uid is not None
    assert int(uid[1]) >= 1000
    assert re.search(r"^USER \$\{UID\}$", final_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK [^\n]*\\\n *CMD \[\"python3\".*/healthz", final_stage, re.MULTILINE)
    assert 'ENTRYPOINT ["lacuna"]' in final_stage


def test_the_image_gets_every_package_and_nothing_that_was_not_named() -> None:
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    named = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert named == {*PACKAGES, "pyproject.toml", "README.md", "LICENSE"}


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_torch_has_one_version_everywhere(name: str) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    (wanted,) = [line for line in project["dependencies"] if line.startswith("torch")]
    assert re.findall(r'"(torch[^"]*)"', (CHECKOUT / name).read_text()) == [wanted]


def test_continuous_integration_runs_the_commands_of_the_makefile() -> None:
    script = CHECKOUT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    commands = re.findall(r"^run make (\w+)", script.read_text(), re.MULTILINE)
    assert commands == ["check", "test"]
    makefile = (CHECKOUT / "Makefile").read_text()
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


def test_no_python_file_is_long() -> None:
    frozen = {CHECKOUT / name for name in FROZEN}
    code = [path for path in source_files() if path.suffix == ".py" and path not in frozen]
    lengths = {path: len(text_of(path).splitlines()) for path in code}
    assert CHECKOUT / "tests" / "conftest.py" in lengths
    assert not {str(path): lines for path, lines in lengths.items() if lines > LONGEST_FILE_LINES}


def test_a_migration_that_databases_remember_is_not_edited() -> None:
    found = {name: hashlib.sha256((CHECKOUT / name).read_bytes()).hexdigest() for name in FROZEN}
    assert found == FROZEN


def test_the_repository_holds_no_secret() -> None:
    scanned = [path for path in source_files() if "vectors" not in path.parts and ".min." not in path.name]
    assert CHECKOUT / "docker-compose.yml" in scanned
    found = {str(path): lines for path in scanned if (lines := secrets_in(text_of(path)))}
    assert not found


RANDOM = base64.b64encode(hashlib.sha256(b"control").digest()).decode()


HEADER = "-----BEGIN {}PRIVATE KEY-----"


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH "])
@pytest.mark.parametrize("between", ["\n", "\\n", '\\n"\n    b"'], ids=["file", "one-literal", "two-literals"])
def test_a_private_key_would_be_found(kind: str, between: str) -> None:
    assert secrets_in("before\n" + HEADER.format(kind) + between + "MC4CAQAwBQYDK2VwBCIEIA" + "\nafter")


@pytest.mark.parametrize(
    "line",
    [
        f'key = "{RANDOM}"',
        f"Authorization: Bearer {RANDOM.replace('/', '_')}",
        "AKIA" + "IOSFODNN7" + "EXAMPLE",
        "postgres_" + "password: " + "correct4horse9battery",
    ],
)
def test_a_secret_would_be_found(line: str) -> None:
    assert secrets_in(f"before\n  {line}\nafter") == [line]


@pytest.mark.parametrize(
    "line",
    [
        f'root = "{hashlib.sha256(b"a leaf").hexdigest()}"',
        'assert pem.startswith("' + HEADER.format("") + '")',
        "def test_removing_rows_equals_never_having_seen_them_in_float64(problem): ...",
        "password = settings.password_file.read_text()",
        "POSTGRES_PASSWORD_FILE: /run/secrets/postgres-password",
    ],
)
def test_ordinary_code_is_no_secret(line: str) -> None:
    assert not secrets_in(line)


def test_no_path_of_anybodys_machine_is_in_the_repository() -> None:
    found = {str(path): paths for path in source_files() if (paths := machine_paths_in(text_of(path)))}
    assert not found


@pytest.mark.parametrize("folder", ["/home" + "/ada", "/Users" + "/ada", "/root" + "/.venv", "/work" + "/main"])
def test_a_path_of_a_machine_would_be_found(folder: str) -> None:
    assert machine_paths_in(f"see {folder}") == [folder]


@pytest.mark.parametrize("address", ["https://example.org/home/page", "~/work/models", "network/work/files"])
def test_other_slashes_are_no_path_of_a_machine(address: str) -> None:
    assert not machine_paths_in(address)
