"""What a server does at its start: each case is given a server that may not answer."""

import subprocess
import time

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.models import publish_tiny
from serving.conformance.target import Target

START = Section.START
_PATIENCE_S = 90.0
_WAIT_S = 8.0


def ended(target: Target) -> tuple[int, str]:
    """Exit code and output of a server that is expected to give up at its start."""
    server = target.own_server
    try:
        code = server.process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise checks.Mismatch("a start with such flags", "the server ends", "it runs on") from None
    return code, server.output()


@case(START, on="broken")
def failing_model(target: Target) -> None:
    """A model that does not load ends the server with 255 and says which."""
    code, output = ended(target)
    checks.equal("exit code", code, 255)
    text = "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available"
    checks.holds(text, text in output, output)


@case(START, on="batching_file")
def batching_file_needs_batching(target: Target) -> None:
    """--batching_parameters_file without --enable_batching: the server does not start."""
    code, _ = ended(target)
    checks.holds("an exit code other than 0", code != 0, code)


@case(START, on="labelled")
def label_at_the_start(target: Target) -> None:
    """A label in the first configuration, without the flag that admits it: the server does not start."""
    code, _ = ended(target)
    checks.holds("an exit code other than 0", code != 0, code)


@case(START, on="empty")
def empty_base_path(target: Target) -> None:
    """A server whose model has no version waits for one, and serves once it comes."""
    server = target.own_server
    time.sleep(max(0.0, server.started + _WAIT_S - time.monotonic()))
    checks.equal(f"exit code after {_WAIT_S:.0f} s", server.process.poll(), None)
    publish_tiny(target.files, "late", "1", 1.0)
    target.patience_s = _PATIENCE_S
    served = target.wait_until(lambda: target.factor("late", 1.0) == 1.0)
    checks.holds("answers after a version came", served, server.output())
