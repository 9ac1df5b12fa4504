"""What one run of the pipeline works on."""

import dataclasses
import hashlib
import uuid
from pathlib import Path

from google.protobuf import text_format

from model.config import TwinConfig
from model.schema import DatasetSchema
from pipelines.example_schema import catalog_example_schema, user_example_schema
from pipelines.preprocess.split_config import SplitConfig
from pipelines.tfx.dataset_json import read_borders

_FOLDER_ID = ".folder-id"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one run works on.

    Attributes:
        data: Folder of the raw tables, readable by every worker.
        schema: Their columns.
        schema_folder: Where components read them, readable by every worker.
        schema_file, catalog_schema_file: TF Metadata schemas of the per-user and the catalog Examples, as text.
        split: The time ranges.
        config: The model's and the run's configuration.
        model_dir: Folder of the published versions.
        failed_dead_letters: Folder for the dead letters of a run that fails over them.
        model_dir_id: Identity of that folder: in a new one, what the cache holds as pushed must be pushed again.
    """

    data: str
    schema: DatasetSchema
    schema_folder: str
    schema_file: str
    catalog_schema_file: str
    split: SplitConfig
    config: TwinConfig
    model_dir: str
    failed_dead_letters: str
    model_dir_id: str


def make_plan(data: Path, schema: DatasetSchema, config: TwinConfig, run_dir: Path) -> Plan:
    """Completes a plan from the data folder's `dataset.json`, and writes the schemas of the Examples to `run_dir`.

    Args:
        data: Folder of the raw tables.
        schema: Their columns.
        config: The configuration.
        run_dir: The run directory; versions are published to its `servable/`.

    Raises:
        UserError: If `dataset.json` is missing or has no usable `split`.
    """
    model_dir = run_dir / "servable"
    users, catalog = _write_example_schemas(schema, run_dir / "schemas")
    return Plan(
        data=str(data.resolve()),
        schema=schema,
        schema_folder=str(schema.folder.resolve()),
        schema_file=users,
        catalog_schema_file=catalog,
        split=SplitConfig(
            **read_borders(data / "dataset.json"),
            feedback_delay_ms=config.feedback_delay_ms,
            max_dead_letter_share=config.max_dead_letter_share,
        ),
        config=config,
        model_dir=str(model_dir.resolve()),
        failed_dead_letters=str(run_dir.resolve() / "dead_letters"),
        model_dir_id=_identity(model_dir),
    )


def _identity(folder: Path) -> str:
    """A name that lives and dies with the folder."""
    file = folder / _FOLDER_ID
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(uuid.uuid4().hex)
    return file.read_text()


def _write_example_schemas(schema: DatasetSchema, folder: Path) -> tuple[str, str]:
    """Writes the TF Metadata schemas of the Examples; the names hold a hash, as TFX's cache key has the path alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[str] = []
    for name, proto in (("users", user_example_schema(schema)), ("catalog", catalog_example_schema(schema))):
        text = text_format.MessageToString(proto)
        path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pbtxt"
        path.write_text(text)
        paths.append(str(path.resolve()))
    return paths[0], paths[1]
