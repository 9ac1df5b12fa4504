"""Reading and checking the list of models, and what of a model's directory should run."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server.aspired import aspired_versions
from serving.server.model_config import ModelConfigError, check_models, local_base_path, read_model_config
from serving.server.options import single_model
from serving.server.serving_error import Code, ServingError
from serving.server.text_proto import TextProtoError, read_text_proto

FULL = """
# Two models.
model_config_list {
  config {
    name: "toy"
    base_path: "/models/toy"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 3 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 3 }
    logging_config { sampling_config { sampling_rate: 0.1 } }
  }
  config { name: "other" base_path: "file:///models/other" model_platform: "tensorflow" }
}
"""


def parse(text: str) -> model_server_config_pb2.ModelConfig:
    return text_format.Parse(text, model_server_config_pb2.ModelConfig())


def refused(*configs: model_server_config_pb2.ModelConfig, served: str = "") -> str:
    before = {served: parse(f'name: "{served}" base_path: "/m" model_platform: "tensorflow"')} if served else {}
    with pytest.raises(ServingError) as raised:
        check_models(configs, before)
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


def test_reads_every_field(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(FULL)
    models = read_model_config(file)
    assert models is not None
    toy, other = models
    assert list(toy.model_version_policy.specific.versions) == [1, 3]
    assert dict(toy.version_labels) == {"stable": 1, "canary": 3}
    assert local_base_path(other) == Path("/models/other")
    check_models((toy, other), {})


def test_a_file_without_a_list_is_no_empty_list(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("# nothing yet\n")
    assert read_model_config(file) is None
    file.write_text("model_config_list {}")
    assert read_model_config(file) == ()


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (
            b'model_config_list {\n  config {\n    nam: "toy"\n  }\n}\n',
            ":3:5: ",
            'ModelConfig" has no field named "nam"',
        ),
        (b"model_config_list {\n  config {\n", ":", 'Expected "}"'),
        (
            b'model_config_list {\n config { version_labels { key: "a"\n value: 1.5 } } }',
            ":3:9: ",
            "Couldn't parse integer: 1.5",
        ),
        (b"model_config_list {\n\xff }", ":2: ", "not UTF-8 (byte 0xff)"),
    ],
    ids=["unknown field", "unclosed", "wrong type", "not text"],
)
def test_a_malformed_file_is_told_with_its_line(tmp_path: Path, content: bytes, place: str, reason: str) -> None:
    file = tmp_path / "models.config"
    file.write_bytes(content)
    with pytest.raises(TextProtoError) as raised:
        read_model_config(file)
    assert str(raised.value).startswith(f"{file}{place}")
    assert reason in str(raised.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TextProtoError, match=r"none: No such file or directory; expected a text proto ModelConfig"):
        read_text_proto(tmp_path / "none", model_server_config_pb2.ModelConfig())


def test_a_custom_configuration_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("custom_model_config {}")
    with pytest.raises(ModelConfigError, match="custom_model_config is not supported"):
        read_model_config(file)


def test_illegal_lists() -> None:
    toy = single_model("toy", "/models/toy")
    assert refused(toy, toy) == "Illegal to list model toy multiple times in config list"
    relative = single_model("toy", "models/toy")
    assert refused(relative) == ("Expected model toy to have an absolute path or URI; got base_path()=models/toy")
    assert "reads local directories only" in refused(single_model("toy", "gs://bucket/toy"))
    assert refused(single_model("toy", "")).endswith("got base_path()=")
    unset = parse('name: "toy" base_path: "/m"')
    assert refused(unset).startswith("Illegal setting neither ModelServerConfig::model_type (deprecated) nor")
    both = parse('name: "toy" base_path: "/m" model_type: TENSORFLOW model_platform: "tensorflow"')
    assert refused(both).startswith("Illegal setting both")
    check_models((parse('name: "toy" base_path: "/m" model_type: TENSORFLOW'),), {})
    other = parse('name: "toy" base_path: "/m" model_platform: "torch"')
    assert refused(other) == "Model toy requests unsupported platform torch"
    assert refused(other, served="toy") == (
        "Illegal to change a model's platform. For model toy platform was tensorflow and new platform requested is "
        "torch"
    )


def test_version_directories_and_policies(tmp_path: Path) -> None:
    for name in ("00000003", "3", "2", "007", "notes", "-5", "1.5", "9223372036854775808", ".tmp-8-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    config = single_model("toy", str(tmp_path))
    # Of two names for version 3 the lexically later one counts.
    assert aspired_versions(config) == {7: tmp_path / "007"}
    config.model_version_policy.all.SetInParent()
    assert aspired_versions(config) == {2: tmp_path / "2", 3: tmp_path / "3", 7: tmp_path / "007"}
    config.model_version_policy.latest.num_versions = 2
    assert aspired_versions(config) == {3: tmp_path / "3", 7: tmp_path / "007"}
    config.model_version_policy.latest.num_versions = 0
    assert list(aspired_versions(config)) == [7]
    config.model_version_policy.specific.versions[:] = [2, 5]
    assert list(aspired_versions(config)) == [2]
    assert aspired_versions(None) == {}
    with pytest.raises(FileNotFoundError, match="Could not find base path /nowhere for servable toy"):
        aspired_versions(single_model("toy", "/nowhere"))
