"""A whole run: on a server that is there, or on one that is started for it."""

import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from model.errors import UserError
from serving.conformance.case import MAIN, Case
from serving.conformance.launch import EMBEDDED, Launcher
from serving.conformance.models import make_models, server_flags
from serving.conformance.runner import Outcome, check_target, run
from serving.conformance.target import Target


class ChoiceError(UserError):
    """Options that do not go together."""


def on_running_server(
    grpc: str | None, rest: str | None, models: Path | None, chosen: Sequence[Case], on_case: Callable[[Case], None]
) -> Outcome:
    """Runs cases on a server that serves the fixture models.

    Args:
        grpc: host:port or None.
        rest: host:port or None.
        models: The directory of its models, when cases may change it.
        chosen: The cases.
        on_case: Called before each.

    Returns:
        What was found.

    Raises:
        TargetError: The server is not reached or lacks the models, or the directory cannot be used.
    """
    for address in (grpc, rest):
        if address is not None and not _is_address(address):
            raise ChoiceError(f"expected host:port, got {address!r}")
    target = Target(grpc, rest, models.absolute() if models is not None else None)
    try:
        check_target(target)
        return run(target, chosen, on_case)
    finally:
        target.close()


def on_started_server(command: str | None, chosen: Sequence[Case], on_case: Callable[[Case], None]) -> Outcome:
    """Starts servers in a temporary directory, runs cases on them and stops them.

    Args:
        command: A program with the flags of tensorflow_model_server, and arguments; None = the embedded server.
        chosen: The cases.
        on_case: Called before each.

    Returns:
        What was found.

    Raises:
        LaunchError: There is no such program, or it does not start.
    """
    program = shlex.split(command) if command is not None else EMBEDDED
    if not program:
        raise ChoiceError("--server is empty; name the program to start")
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        launcher = Launcher(program, Path(folder))
        try:
            target = launcher.running(MAIN).target()
            # A start takes seconds: servers that later cases need start while earlier cases run.
            for kind in dict.fromkeys(case.on for case in chosen):
                launcher.begun(kind)
            target.launcher = launcher
            check_target(target)
            outcome = run(target, chosen, on_case)
            target.close()
            return outcome
        finally:
            launcher.close()


def write_models(directory: Path) -> str:
    """Writes the fixture models and gives the command lines to go on with.

    Raises:
        ModelsError: The directory is not empty.
    """
    make_models(directory)
    flags = [shlex.quote(flag) for flag in server_flags(directory)]
    server = " \\\n  ".join(["tensorflow_model_server --port=8500 --rest_api_port=8501", *flags])
    place = shlex.quote(str(directory.absolute()))
    suite = f"twin conformance --grpc 127.0.0.1:8500 --rest 127.0.0.1:8501 --models {place}"
    return f"Start the server, which must see the directory under the same path:\n\n{server}\n\nThen:\n\n{suite}"


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536
