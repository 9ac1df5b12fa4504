"""What a server does at its start, with flags of its own for each case."""

import subprocess
import time

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.launch import Running
from serving.conformance.models import publish_tiny
from serving.conformance.target import Target

START = Section.START
_PATIENCE_S = 90.0
_KINDS = ("broken", "batching_file", "labelled", "empty")


def ended(target: Target, kind: str) -> tuple[int, str]:
    """Exit code and output of a server that is expected to give up at its start."""
    server = _started(target, kind)
    try:
        code = server.process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise checks.Mismatch(f"a start with the flags of {kind!r}", "the server ends", "it runs on") from None
    return code, server.output()


@case(START)
def failing_model(target: Target) -> None:
    """A model that does not load ends the server with 255 and says which."""
    code, output = ended(target, "broken")
    checks.equal("exit code", code, 255)
    text = "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available"
    checks.holds(text, text in output, output)


@case(START)
def batching_file_needs_batching(target: Target) -> None:
    """--batching_parameters_file without --enable_batching: the server does not start."""
    code, _ = ended(target, "batching_file")
    checks.holds("an exit code other than 0", code != 0, code)


@case(START)
def label_at_the_start(target: Target) -> None:
    """A label in the first configuration, without the flag that admits it: the server does not start."""
    code, _ = ended(target, "labelled")
    checks.holds("an exit code other than 0", code != 0, code)


@case(START)
def empty_base_path(target: Target) -> None:
    """A server whose model has no version waits for one, and serves once it comes."""
    server = _started(target, "empty")
    time.sleep(8)
    checks.equal("exit code after 8 s", server.process.poll(), None)
    publish_tiny(server.directory, "late", "1", 1.0)
    waiting = server.target()
    waiting.patience_s = _PATIENCE_S
    served = waiting.wait_until(lambda: waiting.factor("late", 1.0) == 1.0)
    waiting.close()
    checks.holds("answers after a version came", served, server.output())


def _started(target: Target, kind: str) -> Running:
    # A start takes seconds, most of them the program's own: no case waits for another's.
    for one in _KINDS:
        target.starter.begun(one)
    return target.starter.begun(kind)
