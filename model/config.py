"""The configuration of a run: one validated dataclass, YAML in and out."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from model.errors import UserError

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
TableDtype = Literal["float32", "bfloat16", "int8"]
Pooling = Literal["sum", "mean", "sqrtn"]
InterestName = Literal[
    "twin",
    "avg_pooling",
    "din",
    "dien",
    "mimn",
    "ubr4ctr",
    "sim_hard",
    "sim_soft",
    "sim_cluster",
    "sim_cluster_plus",
    "eta",
    "sdim",
    "twin_without_consistency",
    "twin_raw_mhta",
    "twin_without_bias",
    "twin_v2",
]
Clustering = Literal["hierarchical", "bisecting", "kmeans", "chunks"]


class ConfigError(UserError):
    """A configuration file or value is wrong; the message names the field, the value and what was expected."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TwinConfig:
    """Every choice of a run. Defaults are the paper's where it names one (sections 3.2, 3.3.3 and 4.3).

    Attributes:
        interest: The long-term interest module: `twin`, `twin_v2`, a method the paper compares with, or one of its
            ablations; see `model.interest`.
        heads: Attention heads h.
        head_dim: Projected width d_k per head.
        retrieved: Behaviours K that the CP-GSU hands to the ESU.
        history_length: Behaviours L that the CP-GSU searches: the most recent ones.
        short_term_length: Most recent behaviours of the short-term module.
        recent_length: Most recent behaviours that `din`, `dien` and `mimn` read; 0 = 100, 100 and 1,000.
        category_feature: The inherent feature by which `sim_hard` searches; None = the first multi-hot one, else the
            first categorical one that is not `wide`.
        search_width: Width of the pre-trained item embeddings by which `sim_soft` searches.
        id_width: Embedding width of item ids and `wide` features.
        feature_width: Embedding width of all other features.
        mlp: Widths of the hidden layers.
        multi_hot_width: Most values of a multi-hot feature that the item table keeps.
        multi_hot_pooling: How a multi-hot feature's embeddings become one: their `sum` (Eq. 3), their `mean`, or
            `sqrtn`, the sum over the root of their number: inner products of lists of any length then start as the
            cosines of their multi-hot codes.
        similarity_start: Weight c of similarity in the relevance before training: W^q = W^h, each feature's inner
            product counting c times its width over the widest feature's; 0 = random kernels.
        clustering: How `twin_v2` divides a group of behaviours: `hierarchical`, k-means again and again into parts
            whose number follows the size; `bisecting`, the same always into two; `kmeans`, once, into clusters of
            `max_cluster_size` on average; `chunks`, consecutive behaviours.
        max_cluster_size: Members gamma of a cluster, at most.
        partition_exponent: A set S is divided into floor(|S| ** exponent) parts, at least 2.
        completion_groups: Groups M by completion ratio that are clustered apart.
        recluster_after: Behaviours since the last clustering after which a training Example ends.
        table_dtype: Type of the stored projections.
        max_candidates: Most candidates of one request, all its users together; each takes about 1.3 MB while scored.
        table_rows: Row budget of the item table; 0 = one row for every catalog item. The most frequent items stay.
        table_refresh_steps: Training steps between two recomputations of the table; 1 = always fresh.
        min_item_frequency: Training lookups below which an item shares the embedding of unknown ids.
        min_value_frequency: Occurrences below which a value is out of vocabulary.
        quantile_buckets: Buckets of a numeric feature.
        feedback_delay_ms: Time until a behaviour is visible to later targets.
        users_per_batch: Windows per training step.
        targets_per_window: Targets T that share one window's history.
        epochs: Passes over the training targets.
        embedding_learning_rate: AdaGrad's rate for embeddings.
        dense_learning_rate: Adam's rate for everything else. The paper's 5e-6 goes with batches of 8,192 and billions
            of samples a day.
        ema_momentum: Momentum of the average of the weights over steps that the trained model is (`WeightAverage`); 0 =
            the weights of the last step. SIM's pre-training ends with such an average too.
        shuffle_windows: Windows in the shuffle buffer.
        max_dead_letter_share: Share of bad rows above which preprocessing stops.
        min_auc: Evaluation AUC below which a model is not blessed.
        max_auc_drop: Largest drop of AUC against the last blessed model.
        seed: Seed of initial weights and shuffling.
    """

    interest: InterestName = "twin"
    heads: Positive = 4
    head_dim: Positive = 32
    retrieved: Positive = 100
    history_length: Positive = 10_000
    short_term_length: Positive = 50
    recent_length: NonNegative = 0
    category_feature: str | None = None
    search_width: Positive = 64
    id_width: Positive = 64
    feature_width: Positive = 8
    mlp: tuple[Positive, ...] = (256, 128, 64)
    multi_hot_width: Positive = 32
    multi_hot_pooling: Pooling = "sum"
    similarity_start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clustering: Clustering = "hierarchical"
    max_cluster_size: Positive = 20
    partition_exponent: Annotated[float, Field(gt=0, lt=1)] = 0.3
    completion_groups: Positive = 5
    recluster_after: Positive = 1_000
    table_dtype: TableDtype = "float32"
    max_candidates: Positive = 4096
    table_rows: NonNegative = 0
    table_refresh_steps: Positive = 10
    min_item_frequency: Positive = 2
    min_value_frequency: Positive = 2
    quantile_buckets: Annotated[int, Field(ge=2, le=1000)] = 32
    feedback_delay_ms: NonNegative = 0
    users_per_batch: Positive = 8
    targets_per_window: Positive = 64
    epochs: Positive = 1
    embedding_learning_rate: Rate = 0.05
    dense_learning_rate: Rate = 1e-3
    ema_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shuffle_windows: Positive = 256
    max_dead_letter_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_auc: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_auc_drop: Annotated[float, Field(ge=0, le=1)] = 0.01
    seed: int = 1

    @property
    def projection_dim(self) -> int:
        """Width h * d_k of a table row's projection."""
        return self.heads * self.head_dim

    @property
    def clustered(self) -> bool:
        """Whether the entries of a history stand for clusters of behaviours, with sizes."""
        return self.interest == "twin_v2"

    def to_yaml(self) -> str:
        """The configuration as YAML text; `from_yaml` reads it back equal."""
        return yaml.safe_dump(_plain(dataclasses.asdict(self)), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str, source: str = "configuration") -> "TwinConfig":
        """Reads YAML text; fields left out keep their defaults.

        Raises:
            ConfigError: On text that is not a YAML mapping, an unknown field or a value out of range.
        """
        try:
            content = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise ConfigError(f"{source}: not YAML: {error}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: expected a mapping of field: value, got {type(content).__name__}")
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()
            )
            raise ConfigError(f"{source}: {problems}") from None

    @classmethod
    def load(cls, file: Path | None) -> "TwinConfig":
        """Reads a YAML file; None gives the defaults."""
        if file is None:
            return cls()
        if not file.is_file():
            raise ConfigError(f"{file}: no such configuration file")
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file}: not UTF-8 text: {error}") from None
        return cls.from_yaml(text, str(file))


def as_configured(name: str) -> str:
    """A model's name as people write it, with dashes or underscores, in any case, as configurations spell it."""
    return name.strip().lower().replace("-", "_")


def interest_name(name: str) -> InterestName:
    """The interest of a name as people write it, with dashes or underscores, in any case: `twin-v2`.

    Raises:
        ConfigError: If there is none.
    """
    written = as_configured(name)
    names: tuple[InterestName, ...] = get_args(InterestName)
    for known in names:
        if known == written:
            return known
    raise ConfigError(f"no model {name!r}; there are {', '.join(known.replace('_', '-') for known in names)}")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
