"""schemathesis over the whole OpenAPI description of a running service: what it sent, and what it found.

Addresses come from the description alone, so a new one is asked without a line here.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import schemathesis
import schemathesis.openapi
from schemathesis.checks import load_all_checks
from schemathesis.config import (
    ChecksConfig,
    CoveragePhaseConfig,
    ExamplesPhaseConfig,
    FuzzingPhaseConfig,
    GenerationConfig,
    HealthCheck,
    NotAServerErrorConfig,
    PhasesConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
    SimpleCheckConfig,
    StatefulPhaseConfig,
)
from schemathesis.engine import events, from_schema

MOST_STEPS = 6
UNAVAILABLE = 503  # a model that has no version yet says so; every other 5xx is a failure


@dataclass
class Findings:
    """What is described, and what a run did: answers by operation and status, each kind of failure once."""

    described: set[str] = field(default_factory=set)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: dict[tuple[str, str, str], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        """Return how often each status was answered."""
        found: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            found[status] += count
        return found

    def operations(self) -> set[str]:
        """Return what was asked, as `GET /v1/...`."""
        return {operation for operation, _ in self.answers}

    def told(self) -> str:
        """Return every failure and error, for people."""
        found = self.failures.items()
        failures = (f"{operation} [{check}] {title}\n{text}" for (operation, check, title), text in found)
        return "\n\n".join([*failures, *self.errors])


def fuzz(
    url: str,
    key: str | None,
    *,
    seed: int,
    examples: int,
    sequences: int,
    on_refused: Callable[[], None] | None = None,
    only: str | None = None,
) -> Findings:
    """Ask a service everything that its description allows, and what it does not; in sequences that build on answers.

    `examples`: cases for each operation, `sequences` of up to MOST_STEPS calls each. `on_refused` is called when the
    key was refused: one that may manage keys may have ended itself. `only`: a regular expression for the addresses.
    """
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        described = json.load(answer)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    schemathesis.serializer(*_binary_types(described))(lambda _context, value: _as_bytes(value))
    schema = schemathesis.openapi.from_dict(described, config=_config(url, headers, seed, examples, sequences))
    if only is not None:
        schema = schema.include(path_regex=only)

    @schema.hook("after_call")
    def after_call(_context: Any, _case: Any, response: Any) -> None:
        if response.status_code == 401 and key is not None and on_refused is not None:
            on_refused()

    load_all_checks()
    findings = Findings({f"{verb.upper()} {path}" for path, verbs in described["paths"].items() for verb in verbs})
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(findings, event.recorder)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            findings.errors.append(f"{type(event).__name__}: {getattr(event, 'info', None) or event}")
    return findings


def _binary_types(described: dict[str, Any]) -> set[str]:
    """Return the content types of bodies that are no JSON."""
    verbs = [operation for path in described["paths"].values() for operation in path.values()]
    types = {kind for operation in verbs for kind in operation.get("requestBody", {}).get("content", {})}
    return {kind for kind in types if not kind.endswith("json")} or {"application/octet-stream"}


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


def _config(url: str, headers: dict[str, str], seed: int, examples: int, sequences: int) -> SchemathesisConfig:
    def drawn(count: int) -> GenerationConfig:
        return GenerationConfig(
            max_examples=count, deterministic=True, no_shrink=True, database="none", with_security_parameters=False
        )

    project = ProjectConfig(
        base_url=url,
        headers=headers,
        request_timeout=20,
        max_stream_events=2,
        generation=drawn(examples),
        # A request that is right in form may still be refused for what is stored: whether it fits is for other tests.
        checks=ChecksConfig(
            not_a_server_error=NotAServerErrorConfig(expected_statuses=["2xx", "3xx", "4xx", UNAVAILABLE]),
            positive_data_acceptance=PositiveDataAcceptanceConfig(enabled=False),
            use_after_free=SimpleCheckConfig(enabled=False),  # what was ended can be looked at, and says so
        ),
        phases=PhasesConfig(
            examples=ExamplesPhaseConfig(fill_missing=False),
            coverage=CoveragePhaseConfig(enabled=False),
            fuzzing=FuzzingPhaseConfig(),
            stateful=StatefulPhaseConfig(enabled=sequences > 0, max_steps=MOST_STEPS, generation=drawn(sequences)),
        ),
    )
    return SchemathesisConfig(
        seed=seed, projects=ProjectsConfig(default=project), suppress_health_check=[HealthCheck.all]
    )


def _note(findings: Findings, recorder: Any) -> None:
    for case_id, interaction in recorder.interactions.items():
        case = recorder.cases[case_id].value
        operation = f"{case.operation.method.upper()} {case.operation.path}"
        status = 0 if interaction.response is None else interaction.response.status_code
        findings.answers[operation, status] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            failure, case = check.failure_info.failure, recorder.cases[case_id].value
            operation = f"{case.operation.method.upper()} {case.operation.path}"
            text = f"{failure.message}\n{check.failure_info.code_sample}"
            findings.failures.setdefault((operation, check.name, failure.title), text)
