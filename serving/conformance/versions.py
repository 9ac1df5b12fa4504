"""Versions on disk: which are served, and how they come and go."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.graph_models import write_tiny
from serving.conformance.models import publish_tiny, publish_version
from serving.conformance.target import Target

VERSIONS = Section.VERSIONS
CONFIG = Section.CONFIG


def eventually(target: Target, what: str, condition: Callable[[], bool], model: str) -> None:
    """A condition comes true, or the case fails with the model's states."""
    if not target.wait_until(condition):
        raise checks.Mismatch(f"a change in the directory of {model}", what, f"states {target.states(model)!r}")


@case(CONFIG)
def latest(target: Target) -> None:
    """The default policy serves the highest version alone."""
    checks.equal("states", target.states("batched"), {1: "AVAILABLE"})


@case(CONFIG)
def latest_two(target: Target) -> None:
    """The policy latest with num_versions 2 serves the two highest."""
    checks.equal("states", target.states("pair"), {3: "AVAILABLE", 2: "AVAILABLE"})
    checks.equal("factors", [target.factor("pair", version=v) for v in (1, 2, 3)], ["NOT_FOUND", 2.0, 3.0])


@case(CONFIG)
def specific(target: Target) -> None:
    """The policy specific serves the named versions."""
    checks.equal("states", target.states("picked"), {3: "AVAILABLE", 1: "AVAILABLE"})
    checks.equal("factors", [target.factor("picked", version=v) for v in (1, 2, 3)], [1.0, "NOT_FOUND", 3.0])


@case(CONFIG)
def every(target: Target) -> None:
    """The policy all serves every version directory; other names are ignored."""
    checks.equal("states", target.states("every"), {7: "AVAILABLE", 5: "AVAILABLE", 3: "AVAILABLE"})


@case(VERSIONS)
def leading_zeros(target: Target) -> None:
    """A directory 00000007 is version 7."""
    checks.equal("factor", target.factor("every", version=7), 7.0)


@case(VERSIONS)
def duplicate_numbers(target: Target) -> None:
    """Of the directories 005 and 5 the lexically later is version 5."""
    checks.equal("factor", target.factor("every", version=5), 5.0)


@case(VERSIONS)
def new_version(target: Target) -> None:
    """A new directory is loaded, then the old version unloaded: no request fails meanwhile; END is listed."""
    files = target.files
    answers: list[float | str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(target.factor("new"))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        publish_tiny(files, "new", "2", 2.0)
        eventually(
            target, "version 2 AVAILABLE, 1 END", lambda: target.states("new") == {2: "AVAILABLE", 1: "END"}, "new"
        )
    finally:
        stop.set()
        asker.join()
    checks.holds(
        "answers of version 1, then of version 2, and no error", answers == sorted(answers, key=str), answers[-5:]
    )
    checks.holds("both versions among the answers", {1.0, 2.0} == set(answers), sorted(set(map(str, answers))))
    checks.equal("factor of version 1", target.factor("new", version=1), "NOT_FOUND")


@case(VERSIONS)
def roll_back(target: Target) -> None:
    """Deleting the newest directory rolls back to the next lower one."""
    newest = publish_tiny(target.files, "rolled_back", "2", 2.0)
    eventually(target, "factor 2.0", lambda: target.factor("rolled_back") == 2.0, "rolled_back")
    shutil.rmtree(newest)
    eventually(target, "factor 1.0", lambda: target.factor("rolled_back") == 1.0, "rolled_back")
    wanted = {2: "END", 1: "AVAILABLE"}
    eventually(target, repr(wanted), lambda: target.states("rolled_back") == wanted, "rolled_back")


@case(VERSIONS)
def all_deleted(target: Target) -> None:
    """Deleting all versions unloads the model."""
    shutil.rmtree(target.files / "models" / "emptied" / "1")
    eventually(target, "NOT_FOUND", lambda: target.factor("emptied") == "NOT_FOUND", "emptied")
    eventually(target, "version 1 END", lambda: target.states("emptied") == {1: "END"}, "emptied")


def _without_variables(path: Path) -> None:
    write_tiny(path, 2.0)
    shutil.rmtree(path / "variables")


def _truncated(path: Path) -> None:
    write_tiny(path, 2.0)
    file = path / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:50])


def _untagged(path: Path) -> None:
    write_tiny(path, 2.0, tag="another")


def _foreign(path: Path) -> None:
    write_tiny(path, 2.0)
    file = path / "saved_model.pb"
    # A name of the same length, so that the message stays whole.
    file.write_bytes(file.read_bytes().replace(b"\x03Mul", b"\x03Zzz"))


@case(
    VERSIONS,
    rows=[
        ("broken", "without variables", _without_variables),
        ("truncated", "with a truncated saved_model.pb", _truncated),
        ("untagged", "without the tag serve", _untagged),
        ("foreign", "with an operation that TensorFlow does not have", _foreign),
    ],
)
def broken_version(target: Target, model: str, what: str, build: Callable[[Path], None]) -> None:
    """A new version {1} leaves the old one serving; the status says why; a later good version is loaded."""
    publish_version(target.files, model, "2", build)
    eventually(target, "version 2 END", lambda: target.states(model).get(2) == "END", model)
    checks.equal("factor", target.factor(model), 1.0)
    answer = target.status(model, version=2)
    error = checks.rpc_ok(answer).model_version_status[0].status
    checks.holds("an error code and message", error.error_code != 0 and error.error_message != "", error, answer.sent)
    publish_tiny(target.files, model, "3", 3.0)
    eventually(target, "factor 3.0", lambda: target.factor(model) == 3.0, model)


@case(VERSIONS)
def temporary_names(target: Target) -> None:
    """A directory whose name is no number is no version until it is renamed."""
    write_tiny(target.files / "models" / "hidden" / ".tmp-2-1", 2.0)
    publish_tiny(target.files, "hidden", "3", 3.0)
    eventually(target, "factor 3.0", lambda: target.factor("hidden") == 3.0, "hidden")
    states = target.states("hidden")
    checks.equal("versions seen", sorted(states), [1, 3])
