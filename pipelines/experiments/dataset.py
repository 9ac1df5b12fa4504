"""Raw tables to what training reads, once per data folder and without TFX."""

import dataclasses
import functools
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_transform.beam as tft_beam
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import metadata_io
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tfx_bsl.public import tfxio

from model.catalog import CatalogRows, read_catalog
from model.config import TwinConfig
from model.encoders import Encoders
from model.errors import UserError
from model.feature import Table
from model.schema import DatasetSchema, load_schema
from pipelines.aside import folder_aside
from pipelines.beam_options import beam_options
from pipelines.dataset_folder import DatasetFolderError
from pipelines.example_schema import catalog_example_schema, user_example_schema
from pipelines.experiments.cells import fingerprint
from pipelines.preprocess.job import OutputPaths, preprocess
from pipelines.preprocess.split_config import SplitConfig
from pipelines.readers import find_files
from pipelines.simulator import simulate
from pipelines.tfx.dataset_json import read_borders, read_oracle, read_schema_name
from pipelines.tfx.fingerprints import code_fingerprint, schema_fingerprint
from pipelines.transform import catalog_transform_config, preprocessing_fn, read_encoders, user_transform_config
from serving.publisher import flush_tree

_USERS_PER_BATCH = 8
# In what was made aside, the sizes of its files.
_FILES = "files.json"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set, ready to train on.

    Attributes:
        data: Folder of the raw tables.
        folder: What was made of them.
        schema: Their columns.
        encoders: Vocabularies and buckets.
        content: Fingerprint of the raw tables and the schema.
        fingerprint: Of both, the split, and how they were prepared.
        oracle: `auc` and `gauc` that the true probabilities reach on the test split; empty where nobody knows them.
    """

    data: Path
    folder: Path
    schema: DatasetSchema
    encoders: Encoders
    content: str
    fingerprint: str
    oracle: dict[str, float]

    def files(self, split: str) -> list[str]:
        """Per-user Examples of a split, or those of the `catalog`."""
        parent = "catalog" if split == "catalog" else "examples"
        return sorted(str(path) for path in (self.folder / parent / f"Split-{split}").glob("*.gz"))

    def catalog(self, config: TwinConfig) -> CatalogRows:
        """The items, encoded."""
        return read_catalog(self.files("catalog"), self.schema, self.encoders, config)


def prepare(data: Path, config: TwinConfig, cache: Path) -> Prepared:
    """Preprocesses and analyses a data folder, or takes what an earlier call made of the same.

    Args:
        data: Folder of the raw tables, with a `dataset.json` that names schema and split.
        config: `feedback_delay_ms`, `max_dead_letter_share`, `min_value_frequency`, `quantile_buckets`.
        cache: Folder of the results.

    Raises:
        UserError: If tables, schema or `dataset.json` are unusable, or the folder of the results was damaged.
    """
    about = data / "dataset.json"
    schema, oracle = load_schema(read_schema_name(about)), read_oracle(about)
    tables: tuple[Table, ...] = ("events", "items") if schema.user_key is None else ("events", "items", "users")
    content = fingerprint({"tables": _content_hash(data, tables), "schema": schema_fingerprint(schema.folder)})
    split = SplitConfig(
        **read_borders(about),
        feedback_delay_ms=config.feedback_delay_ms,
        max_dead_letter_share=config.max_dead_letter_share,
    )
    identity: dict[str, Any] = {
        "data": content,
        "split": dataclasses.asdict(split),
        "frequency": config.min_value_frequency,
        "buckets": config.quantile_buckets,
        "code": code_fingerprint(__name__),
    }
    of_all = fingerprint(identity)
    folder = cache / of_all[:16]
    if not folder.is_dir():
        _make(data, schema, split, config, folder)
    check_whole(folder)
    return Prepared(data, folder, schema, Encoders.load(folder / "encoders.json"), content, of_all, oracle)


def _make(data: Path, schema: DatasetSchema, split: SplitConfig, config: TwinConfig, folder: Path) -> None:
    with made_aside(folder) as temporary:
        paths = output_paths(temporary, folder)
        preprocess(data, schema, split, paths, beam_options())
        users = _analyse(
            f"{paths.examples}/Split-train/*",
            user_example_schema(schema),
            user_transform_config(schema, config),
            temporary / "user_transform",
        )
        items = _analyse(
            f"{paths.catalog}/Split-catalog/*",
            catalog_example_schema(schema),
            catalog_transform_config(schema, config),
            temporary / "catalog_transform",
        )
        read_encoders(users, items, schema).save(temporary / "encoders.json")


def output_paths(temporary: Path, folder: Path) -> OutputPaths:
    """Where `preprocess` writes what is made aside for `folder`; dead letters outlast a failure, beside the folder."""
    # A folder for each time: two processes may prepare the same at once.
    letters = folder.with_name(f"{folder.name}-dead_letters-{uuid.uuid4().hex[:8]}")
    return dataclasses.replace(OutputPaths.under(temporary), dead_letters=str(letters))


@contextmanager
def made_aside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its place when the block ends well, else goes.

    It gets a list of its files, for `check_whole`. Where another process was first, its equal one stays.
    """
    with folder_aside(folder) as temporary:
        yield temporary
        sizes = _sizes(temporary, temporary.rglob("*"))
        (temporary / _FILES).write_text(json.dumps(sizes, indent=1, sort_keys=True) + "\n")
        flush_tree(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def check_whole(folder: Path) -> None:
    """Compares names and sizes with the list that `made_aside` wrote; in the folders of its files, none may be new.

    Raises:
        UserError: If a file is missing, of another size, or was not made with the others.
    """
    try:
        listed: dict[str, int] = dict(json.loads((folder / _FILES).read_text()))
    except (OSError, ValueError, TypeError):
        listed = {}
    parents = {folder, *((folder / name).parent for name in listed)}
    found = _sizes(folder, (path for parent in parents for path in parent.glob("*") if path != folder / _FILES))
    damaged = sorted(name for name in {*listed, *found} if listed.get(name) != found.get(name))
    if damaged or not listed:
        raise UserError(
            f"{folder}: {damaged[0] if listed else _FILES} is missing or of another size, or was not made there, so it "
            "is not what was prepared; delete the folder to make it again"
        )


def _sizes(folder: Path, paths: Iterator[Path]) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in paths if path.is_file()}


def _analyse(pattern: str, schema: schema_pb2.Schema, transform: dict[str, Any], out: Path) -> Path:
    """Transform's full pass, its result in the layout of TFX."""
    source = tfxio.TFExampleRecord(pattern, schema=schema)
    with beam.Pipeline(options=beam_options()) as pipeline, tft_beam.Context(str(out / "temporary")):
        records = pipeline | source.BeamSource(batch_size=_USERS_PER_BATCH)
        function = functools.partial(preprocessing_fn, custom_config=transform)
        analysed = (records, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(function)
        _ = analysed | tft_beam.WriteTransformFn(str(out / "graph"))
    metadata_io.write_metadata(DatasetMetadata(schema), str(out / "graph" / "metadata"))
    return out / "graph"


def _content_hash(data: Path, tables: Sequence[Table]) -> str:
    """Hash of the tables' bytes, so that a copy of the data is the same data."""
    digest = hashlib.sha256()
    for file in raw_files(data, *tables):
        with file.open("rb") as stream:
            digest.update(f"{file.relative_to(data)}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def raw_files(data: Path, *tables: Table) -> Iterator[Path]:
    """Files of raw tables, in order.

    Raises:
        RawDataError: If a table has none.
    """
    for table in tables:
        yield from (Path(file.path) for file in find_files(str(data), table))


def simulated(parent: Path, users: int, events_per_user: int, items: int, targets: int | None) -> Path:
    """A simulated data set in a folder of its own under `parent`, made unless it is there."""
    folder = parent / f"simulated-{users}x{events_per_user}-{items}-{targets or 'default'}"
    if not (folder / "dataset.json").is_file():
        try:
            simulate(folder, users, events_per_user, items, targets=targets)
        except DatasetFolderError:
            # Another process may have been first, with an equal one.
            if not (folder / "dataset.json").is_file():
                raise
    return folder
