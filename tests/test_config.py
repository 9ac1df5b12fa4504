"""The configuration."""

from pathlib import Path

import pytest

from model.config import ConfigError, TwinConfig, interest_name


def test_yaml_round_trip() -> None:
    config = TwinConfig(heads=2, mlp=(8, 4), table_dtype="int8", dense_learning_rate=5e-6)
    assert TwinConfig.from_yaml(config.to_yaml()) == config


def test_fields_left_out_keep_their_defaults() -> None:
    assert TwinConfig.from_yaml("heads: 2") == TwinConfig(heads=2)
    assert TwinConfig.from_yaml("") == TwinConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heads: 0", r"heads: Input should be greater than 0 \(got 0\)"),
        ("dense_learning_rate: .inf", r"dense_learning_rate: .*finite number"),
        ("similarity_start: .nan", r"similarity_start: .*"),
        ("head: 4", r"head: Unexpected keyword argument"),
        ("mlp: [8, x]", r"mlp\.1: .*valid integer.*\(got 'x'\)"),
        ("table_dtype: float16", r"table_dtype: .*'float32', 'bfloat16' or 'int8'"),
        ("- 1", r"expected a mapping .* got list"),
        ("a: [", r"not YAML"),
    ],
)
def test_mistakes_name_the_field_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TwinConfig.from_yaml(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such configuration file"):
        TwinConfig.load(tmp_path / "gone.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"c\.yaml: not UTF-8 text"):
        TwinConfig.load(tmp_path / "c.yaml")


def test_values_given_in_code_are_validated_too() -> None:
    with pytest.raises(ValueError, match="heads"):
        TwinConfig(heads=-1)


def test_a_model_is_named_with_dashes_or_underscores() -> None:
    assert [interest_name(name) for name in ("twin", "twin-v2", "TWIN_V2", "sim-hard")] == [
        *("twin", "twin_v2", "twin_v2", "sim_hard")
    ]
    with pytest.raises(ConfigError, match=r"no model 'twin-v3'; there are twin, avg-pooling, .*, twin-v2"):
        interest_name("twin-v3")
    assert [TwinConfig(interest=interest_name(name)).clustered for name in ("twin", "twin-v2")] == [False, True]
