"""Runs the cases on a server."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import UserError
from serving.conformance import (
    batching,
    config_reload,
    grpc_inference,
    grpc_models,
    grpc_predict,
    metrics,
    rest_examples,
    rest_predict,
    rest_routing,
    rest_status,
    rest_types,
    start,
    tls,
    versions,
    warm_up,
)
from serving.conformance.case import MAIN, REGISTRY, Case
from serving.conformance.checks import Mismatch
from serving.conformance.flags import MAY_NOT_ANSWER
from serving.conformance.target import Target, Unavailable

# What only reads comes first, so that a server which a later case harms has answered by then.
_ORDER = (
    rest_routing,
    rest_predict,
    rest_types,
    rest_examples,
    rest_status,
    grpc_predict,
    grpc_inference,
    grpc_models,
    batching,
    metrics,
    warm_up,
    versions,
    config_reload,
    tls,
    start,
)
_USED = "used"


class TargetError(UserError):
    """A server that is not reached or does not serve the fixture models, or a directory that cannot be used."""


@dataclass(frozen=True)
class Failure:
    """A behaviour that the server does not show.

    Attributes:
        section: The part of the reference.
        title: The behaviour.
        sent: What was asked.
        expected: What the reference answers.
        received: What came.
    """

    section: str
    title: str
    sent: str
    expected: str
    received: str


@dataclass
class Outcome:
    """What a run found.

    Attributes:
        sections: Section to the number of its cases, failures and skips.
        failures: The failed cases.
        skips: Title of each skipped case to the reason.
        seconds: Duration.
    """

    sections: dict[str, list[int]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    skips: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """Number of cases, the skipped ones too."""
        return sum(counts[0] for counts in self.sections.values())


def cases(only: str = "") -> list[Case]:
    """The cases in the order in which they run.

    Args:
        only: Keep those whose section, module or title contains this text.
    """
    position = {module.__name__: place for place, module in enumerate(_ORDER)}
    found = [case for case in REGISTRY if only.lower() in f"{case.section.value} {case.module} {case.title}".lower()]
    # Servers with other flags come last: they start meanwhile.
    return sorted(found, key=lambda case: (case.on != MAIN, position[case.module]))


def run(target: Target, chosen: Sequence[Case], on_case: Callable[[Case], None] = lambda _: None) -> Outcome:
    """Runs cases one after the other.

    Args:
        target: The server.
        chosen: The cases.
        on_case: Called before each.

    Returns:
        What was found; a case that needs what the target lacks is skipped.
    """
    outcome = Outcome()
    started = time.monotonic()
    for case in chosen:
        on_case(case)
        counts = outcome.sections.setdefault(case.section.value, [0, 0, 0])
        counts[0] += 1
        try:
            _run_one(target, case)
        except Unavailable as reason:
            counts[2] += 1
            outcome.skips[f"{case.section.value}: {case.title}"] = str(reason)
        except Exception as error:
            counts[1] += 1
            outcome.failures.append(_failure(case, error))
    outcome.seconds = time.monotonic() - started
    return outcome


def check_target(target: Target) -> None:
    """Asks the server for a fixture model, and marks its directory as used.

    Raises:
        TargetError: There is no such server, it lacks the models, or the directory is none or was used before.
    """
    if target.directory is not None:
        _claim(target.directory)
    if target.rest_address is not None:
        try:
            status = target.get("/v1/models/toy").status
        except OSError as error:
            raise TargetError(f"nothing answers REST at {target.rest_address}: {error}") from None
        if status == 404:
            raise TargetError(_lacks(target.rest_address))
    if target.grpc_address is not None:
        answer = target.status("toy")
        if answer.code == "NOT_FOUND":
            raise TargetError(_lacks(target.grpc_address))
        if answer.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            raise TargetError(f"nothing answers gRPC at {target.grpc_address}: {answer.details}")


def _run_one(target: Target, case: Case) -> None:
    if case.on == MAIN:
        case.run(target)
        return
    find = target.starter.begun if case.on in MAY_NOT_ANSWER else target.starter.running
    other = find(case.on).target()
    try:
        case.run(other)
    finally:
        other.close()


def _claim(directory: Path) -> None:
    if not (directory / "models.config").is_file():
        raise TargetError(f"{directory} holds no fixture models; `twin conformance --make-models` writes them")
    try:
        (directory / _USED).touch(exist_ok=False)
    except FileExistsError:
        raise TargetError(
            f"the models in {directory} were changed by an earlier run; make new ones and start the server on them"
        ) from None


def _lacks(address: str) -> str:
    return f"the server at {address} does not serve the fixture models; `twin conformance --make-models` writes them"


def _failure(case: Case, error: Exception) -> Failure:
    if isinstance(error, Mismatch):
        return Failure(case.section.value, case.title, error.sent, error.expected, error.received)
    return Failure(case.section.value, case.title, "", "an answer", f"{type(error).__name__}: {error}")
