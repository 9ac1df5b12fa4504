"""HandleReloadConfigRequest, version labels, and the polled model config file."""

from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.flags import PLAIN_MODELS
from serving.conformance.models import models_config, publish_tiny, served_names
from serving.conformance.target import RpcAnswer, Target
from serving.conformance.versions import eventually

RELOAD = Section.RELOAD
CONFIG = Section.CONFIG


def config_of(target: Target, *extra: str) -> model_server_config_pb2.ModelServerConfig:
    """The configuration the server started with, and further tiny models, whose version 1 is published."""
    for name in extra:
        if not (target.files / "models" / name / "1").exists():
            publish_tiny(target.files, name, "1", 1.0)
    text = models_config(target.files, [*served_names(), *extra])
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def reload(target: Target, config: model_server_config_pb2.ModelServerConfig) -> RpcAnswer:
    """Sends a configuration."""
    request = model_management_pb2.ReloadConfigRequest(config=config)
    return target.call(target.models.HandleReloadConfigRequest, request, 120.0)


def restore(target: Target) -> None:
    """Brings back the configuration the server started with."""
    answer = reload(target, config_of(target))
    checks.holds("OK for the configuration of the start", answer.code == "OK", answer.shown(), answer.sent)


def relabel(target: Target, **labels: int) -> RpcAnswer:
    """Gives the toy model these labels."""
    config = config_of(target)
    toy = next(one for one in config.model_config_list.config if one.name == "toy")
    toy.version_labels.clear()
    toy.version_labels.update(labels)
    return reload(target, config)


@case(RELOAD)
def new_model(target: Target) -> None:
    """A reload that adds a model returns once the model is available; status OK is also in the response."""
    try:
        answer = reload(target, config_of(target, "added"))
        checks.equal("status in the response", checks.rpc_ok(answer).status.error_code, 0, answer.sent)
        checks.equal("factor", target.factor("added"), 1.0, answer.sent)
    finally:
        restore(target)


@case(RELOAD)
def absent_models(target: Target) -> None:
    """The list is replaced whole: a model that it lacks is unloaded."""
    checks.rpc_ok(reload(target, config_of(target, "removed")))
    checks.equal("factor", target.factor("removed"), 1.0)
    restore(target)
    eventually(target, "NOT_FOUND", lambda: target.factor("removed") == "NOT_FOUND", "removed")
    checks.equal("factor of a model that stays", target.factor("pair"), 3.0)


@case(RELOAD)
def new_policy(target: Target) -> None:
    """A reload changes a model's version policy."""
    config = config_of(target)
    picked = next(one for one in config.model_config_list.config if one.name == "picked")
    picked.model_version_policy.specific.versions[:] = [2]
    try:
        checks.rpc_ok(reload(target, config))
        eventually(target, "version 2 alone", lambda: available(target, "picked") == [2], "picked")
    finally:
        restore(target)
    eventually(target, "versions 1 and 3", lambda: available(target, "picked") == [1, 3], "picked")


@case(RELOAD)
def relative_path(target: Target) -> None:
    """A relative base_path: INVALID_ARGUMENT, and nothing changes."""
    config = config_of(target)
    config.model_config_list.config.add(name="relative", base_path="models/toy", model_platform="tensorflow")
    try:
        checks.rpc_error(reload(target, config), "INVALID_ARGUMENT")
        checks.equal("factor of a model that stays", target.factor("pair"), 3.0)
    finally:
        restore(target)


@case(RELOAD)
def platform_change(target: Target) -> None:
    """Another model_platform: INVALID_ARGUMENT."""
    config = config_of(target)
    for one in config.model_config_list.config:
        one.model_platform = "another"
    try:
        checks.rpc_error(reload(target, config), "INVALID_ARGUMENT")
    finally:
        restore(target)


@case(RELOAD)
def unset_config(target: Target) -> None:
    """A reload without a model_config_list: INVALID_ARGUMENT, and nothing changes."""
    # Nothing can be lost here by a server that answers right, but a wrong one may unload everything.
    before = config_of(target)
    try:
        checks.rpc_error(reload(target, model_server_config_pb2.ModelServerConfig()), "INVALID_ARGUMENT")
        checks.equal("factor of a model that stays", target.factor("pair"), 3.0)
    finally:
        reload(target, before)


@case(RELOAD)
def custom_config(target: Target) -> None:
    """A reload with a custom_model_config: INVALID_ARGUMENT."""
    config = model_server_config_pb2.ModelServerConfig()
    config.custom_model_config.type_url = "type.googleapis.com/nothing"
    checks.rpc_error(reload(target, config), "INVALID_ARGUMENT")


@case(RELOAD)
def uri_as_base_path(target: Target) -> None:
    """A base_path may be a URI."""
    config = config_of(target, "by_uri")
    config.model_config_list.config[-1].base_path = (target.files / "models" / "by_uri").as_uri()
    try:
        checks.rpc_ok(reload(target, config))
        checks.equal("factor", target.factor("by_uri"), 1.0)
    finally:
        restore(target)


@case(RELOAD)
def error_in_the_response(target: Target) -> None:
    """A refused reload leaves every model serving."""
    config = config_of(target)
    config.model_config_list.config.add(name="relative", base_path="toy", model_platform="tensorflow")
    try:
        checks.holds("an error", reload(target, config).code != "OK", "OK")
        checks.equal("states of toy", target.states("toy"), {2: "AVAILABLE", 1: "AVAILABLE"})
    finally:
        restore(target)


@case(CONFIG)
def label_is_moved(target: Target) -> None:
    """A reload moves a label to another available version."""
    try:
        checks.rpc_ok(relabel(target, stable=2))
        received = target.metadata("toy", label="stable")
        checks.equal("version", checks.rpc_ok(received).model_spec.version.value, 2, received.sent)
    finally:
        restore(target)
    received = target.metadata("toy", label="stable")
    checks.equal("version", checks.rpc_ok(received).model_spec.version.value, 1, received.sent)


@case(CONFIG)
def label_is_removed(target: Target) -> None:
    """A label that a reload lacks is unknown."""
    try:
        checks.rpc_ok(relabel(target, stable=1))
        checks.rpc_error(
            target.metadata("toy", label="canary"), "INVALID_ARGUMENT", "Unrecognized servable version label"
        )
    finally:
        restore(target)


@case(CONFIG)
def moved_label_needs_an_available_version(target: Target) -> None:
    """With --allow_version_labels_for_unavailable_models a moved label still needs an available version."""
    try:
        answer = relabel(target, stable=9, canary=2)
        checks.holds("an error", answer.code != "OK", answer.shown(), answer.sent)
        received = target.metadata("toy", label="stable")
        checks.equal("version", checks.rpc_ok(received).model_spec.version.value, 1, received.sent)
    finally:
        restore(target)


@case(CONFIG)
def new_label_for_an_unavailable_version(target: Target) -> None:
    """With --allow_version_labels_for_unavailable_models a new label may name any version."""
    try:
        checks.rpc_ok(relabel(target, stable=1, canary=2, future=9))
        answer = target.metadata("toy", label="future")
        checks.rpc_error(answer, "NOT_FOUND", "Servable not found for request: Specific(toy, 9)")
    finally:
        restore(target)


@case(CONFIG, on="plain")
def label_for_an_unavailable_version(target: Target) -> None:
    """Without the flag a label may name an available version only."""
    text = models_config(target.files, PLAIN_MODELS)
    one = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    entry = one.model_config_list.config[0]
    entry.version_labels["future"] = 9
    answer = reload(target, one)
    checks.holds("an error", answer.code != "OK", answer.shown(), answer.sent)
    entry.version_labels.clear()
    entry.version_labels["now"] = 2
    checks.rpc_ok(reload(target, one))


@case(CONFIG, on="plain")
def polled_file(target: Target) -> None:
    """With --model_config_file_poll_wait_seconds the file is read again: a model that is added appears."""
    file = target.files / "models.config"
    file.write_text(models_config(target.files, [*PLAIN_MODELS, "broken"]))
    eventually(target, "broken AVAILABLE", lambda: target.factor("broken") == 2.0, "broken")
    file.write_text(models_config(target.files, PLAIN_MODELS))
    eventually(target, "broken NOT_FOUND", lambda: target.factor("broken") == "NOT_FOUND", "broken")


def available(target: Target, model: str) -> list[int]:
    """The available versions of a model, ascending."""
    return sorted(version for version, state in target.states(model).items() if state == "AVAILABLE")
