"""The conformance suite: the embedded server passes all of it, servers that misbehave do not."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from rich.console import Console
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from model.errors import UserError
from serving.conformance.case import Section, case
from serving.conformance.launch import Launcher, LaunchError
from serving.conformance.models import ModelsError, make_models
from serving.conformance.report import as_json, show
from serving.conformance.runner import Outcome, TargetError, cases, check_target, run
from serving.conformance.suite import on_started_server, write_models
from serving.conformance.target import Target

ROOT = Path(__file__).resolve().parents[1]
NEEDS_OTHER_FLAGS = "needs a server with other flags: give the program with --server"


# --- servers that misbehave ---


@contextmanager
def wrong_rest(status: int, body: bytes) -> Iterator[str]:
    """Gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _EmptyPrediction(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        return predict_pb2.PredictResponse()

    def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        return classification_pb2.ClassificationResponse()

    def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802
        return regression_pb2.RegressionResponse()

    def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802
        return inference_pb2.MultiInferenceResponse()

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return get_model_metadata_pb2.GetModelMetadataResponse()


class _EmptyModels(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        return get_model_status_pb2.GetModelStatusResponse()

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        return model_management_pb2.ReloadConfigResponse()


@contextmanager
def wrong_grpc(prediction: Any, models: Any) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fixtures") / "models"
    make_models(directory)
    return directory


def passed(outcome: Outcome) -> set[str]:
    marked = {f"{one.section}: {one.title}" for one in outcome.failures} | set(outcome.skips)
    return {f"{one.section.value}: {one.title}" for one in cases()} - marked


# --- the suite ---


def test_the_embedded_server_conforms() -> None:
    outcome = on_started_server(None, cases(), lambda _: None)
    assert [(one.title, one.expected, one.received) for one in outcome.failures] == []
    assert outcome.skips == {}
    assert outcome.cases >= 150


def test_every_case_can_fail(made: Path, tmp_path: Path) -> None:
    """No case passes both with a server that agrees to everything and with one that refuses everything."""
    outcomes = []
    with ExitStack() as stack:
        agreeing = stack.enter_context(wrong_rest(200, b"{}"))
        refusing = stack.enter_context(wrong_rest(418, b'{"error": "no"}'))
        empty = stack.enter_context(wrong_grpc(_EmptyPrediction(), _EmptyModels()))
        bare = stack.enter_context(
            wrong_grpc(
                prediction_service_pb2_grpc.PredictionServiceServicer(), model_service_pb2_grpc.ModelServiceServicer()
            )
        )
        for number, (rest, rpc) in enumerate(((agreeing, empty), (refusing, bare))):
            directory = tmp_path / str(number)
            subprocess.run(["cp", "-r", str(made), str(directory)], check=True)
            target = Target(rpc, rest, directory, patience_s=0.0)
            outcomes.append(run(target, cases()))
            target.close()
    assert passed(outcomes[0]) & passed(outcomes[1]) == set()
    for outcome in outcomes:
        assert len(outcome.failures) > 0.9 * (outcome.cases - len(outcome.skips))
        assert set(outcome.skips.values()) == {NEEDS_OTHER_FLAGS}


def test_titles_are_unique() -> None:
    titles = Counter((one.section, one.title) for one in cases())
    assert [title for title, count in titles.items() if count > 1] == []
    assert all("{" not in title or '{"' in title or "{{" not in title for _, title in titles)


def test_every_section_has_cases() -> None:
    assert {one.section for one in cases()} == set(Section)


# --- a run with addresses ---


def test_a_failure_says_what_was_sent_expected_and_received() -> None:
    with wrong_rest(200, b'{"predictions": [3]}') as rest:
        outcome = run(Target(None, rest), cases("row form, one output"))
    (failure,) = outcome.failures
    assert "POST /v1/models/toy:predict" in failure.sent
    assert '"instances": [[1, 2], [3, 4]]' in failure.sent
    assert failure.expected == "200 {'predictions': [[3.0, 6.0], [9.0, 12.0]]}"
    assert failure.received == '200 {"predictions": [3]}'
    assert "json_tensor.cc" in failure.section
    text = StringIO()
    show(outcome, Console(file=text, width=200))
    for part in (failure.sent.splitlines()[0], failure.expected, failure.received, failure.section):
        assert part in text.getvalue()
    assert "0 of 1 cases passed, 1 failed, 0 skipped" in text.getvalue()
    assert as_json(outcome)["failures"][0]["received"] == failure.received


def test_what_cannot_be_asked_is_skipped_and_never_passed() -> None:
    outcome = run(Target(None, None), cases())
    assert len(outcome.skips) == outcome.cases
    reasons = Counter(outcome.skips.values())
    assert set(reasons) == {
        "asks over REST: give the address with --rest",
        "asks over gRPC: give the address with --grpc",
        "changes the server's files: give their directory with --models",
        NEEDS_OTHER_FLAGS,
    }
    assert all(count >= 8 for count in reasons.values())


def test_an_error_in_a_case_is_a_failure() -> None:
    outcome = run(Target(None, "127.0.0.1:1"), cases("leading zeros"))
    assert [one.received.split(":")[0] for one in outcome.failures] == ["ConnectionRefusedError"]


def test_check_target(made: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="nothing answers REST"):
        check_target(Target(None, "127.0.0.1:1"))
    with pytest.raises(TargetError, match="nothing answers gRPC"):
        check_target(Target("127.0.0.1:1", None))
    with wrong_rest(404, b"{}") as rest, pytest.raises(TargetError, match="does not serve the fixture models"):
        check_target(Target(None, rest))
    with pytest.raises(TargetError, match="holds no fixture models"):
        check_target(Target(None, None, tmp_path))
    (tmp_path / "models.config").touch()
    check_target(Target(None, None, tmp_path))
    with pytest.raises(TargetError, match="changed by an earlier run"):
        check_target(Target(None, None, tmp_path))


# --- models and command lines ---


def test_models_and_their_command_line(made: Path, tmp_path: Path) -> None:
    text = (made / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    for one in config.model_config_list.config:
        assert Path(one.base_path).is_absolute()
        assert any((Path(one.base_path) / version / "saved_model.pb").is_file() for version in ("1", "3"))
    printed = write_models(tmp_path / "new dir")
    assert f"'--model_config_file={tmp_path / 'new dir' / 'models.config'}'" in printed
    assert printed.splitlines()[2].startswith("tensorflow_model_server --port=8500 --rest_api_port=8501")
    assert f"--models '{tmp_path / 'new dir'}'" in printed
    with pytest.raises(ModelsError, match="not empty"):
        make_models(made)


def test_a_program_that_is_missing_or_ends(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="no program"):
        Launcher(["no-such-server"], tmp_path)
    launcher = Launcher([sys.executable, "-c", "print('flag unknown'); raise SystemExit(3)"], tmp_path)
    with pytest.raises(LaunchError, match="ended with 3 at its start:\nflag unknown"):
        launcher.running("empty")
    launcher.close()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--only", "no such case"], "no case has 'no such case'"),
        (["--models", "x"], "--models belongs to a running server"),
        (["--rest", "127.0.0.1:1", "--server", "x"], "one or the other"),
        (["--rest", "nowhere"], "expected host:port, got 'nowhere'"),
        (["--rest", "127.0.0.1:1"], "nothing answers REST"),
        (["--server", "no-such-server"], "there is no program 'no-such-server'"),
    ],
)
def test_mistakes_of_the_user_end_with_2(arguments: list[str], text: str) -> None:
    from serving.commands.conformance import conformance

    names = dict.fromkeys(("grpc", "rest", "models", "make_models", "server")) | {"only": ""}
    pairs = dict(zip((one[2:] for one in arguments[::2]), arguments[1::2], strict=True))
    given: dict[str, Any] = names | pairs
    if given["models"]:
        given["models"] = Path(given["models"])
    with pytest.raises(UserError, match=text):
        conformance(**given)


def test_command_line() -> None:
    with wrong_rest(200, b"{}") as rest:
        command = [sys.executable, "twin.py", "conformance", "--rest", rest, "--only", "rest_status", "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["cases"] == len(cases("rest_status"))
    assert result["failed"] == result["cases"] == len(result["failures"])
    assert set(result["failures"][0]) == {"section", "title", "sent", "expected", "received"}


def test_rows_fill_titles() -> None:
    from serving.conformance.case import REGISTRY

    @case(Section.REST_STATUS, rows=[("a", 1), ("b" * 100, 2)])
    def shown(target: Target, text: str, number: int) -> None:
        """Shows {0} and {1}."""
        raise AssertionError((text, number))

    first, second = REGISTRY.pop(-2), REGISTRY.pop(-1)
    assert first.title == "Shows a and 1."
    assert second.title == f"Shows {'b' * 57}... and 2."
    with pytest.raises(AssertionError, match="2"):
        second.run(Target(None, None))
