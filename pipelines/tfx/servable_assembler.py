"""`ServableAssembler`: the trained model and the projected catalog become one servable."""

import json
from pathlib import Path

import numpy as np
from tfx import v1 as tfx
from tfx.types.standard_artifacts import Examples, InferenceResult, Model

from model.schema import load_schema
from model.servable_table import TWIN_JSON, TableRows, read_ids, read_spec, replace_table
from pipelines.projection_shards import read_rows
from pipelines.tfx.files import local_path, servable_path, split_files
from pipelines.warmup_requests import write_warmup_requests


@tfx.dsl.components.component
def ServableAssembler(  # noqa: N802
    model: tfx.dsl.components.InputArtifact[Model],
    projections: tfx.dsl.components.InputArtifact[InferenceResult],
    examples: tfx.dsl.components.InputArtifact[Examples],
    schema_folder: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    servable: tfx.dsl.components.OutputArtifact[Model],
) -> None:
    """Copies the trained model's SavedModel, with the projections as its item table and with warm-up requests.

    Args:
        model: The trained model; its own item table says which items get a row (frequency control).
        projections: The projected catalog.
        examples: The warm-up requests are made of their `train` split; the trained model, with the table that training
            left in it, gives the recorded answers.
        schema_folder: Columns of the data set.
        code_fingerprint: Nothing but a part of the cache key.
        servable: A SavedModel directory in the layout of a version.
    """
    trained, out = servable_path(model), servable_path(servable)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = _rows_of(read_ids(trained), read_rows(local_path(projections.uri), read_spec(trained)))
    replace_table(trained, rows, out, made_from=model.uri)
    _keep_coverage(trained, out)
    write_warmup_requests(trained, split_files(examples, "train"), load_schema(schema_folder), out)


def _keep_coverage(trained: Path, out: Path) -> None:
    """A new table's coverage is unknown in general; here the rows are those of the trained model."""
    coverage = json.loads((trained / TWIN_JSON).read_text())["table_coverage"]
    content = json.loads((out / TWIN_JSON).read_text()) | {"table_coverage": coverage}
    (out / TWIN_JSON).write_text(json.dumps(content, indent=2) + "\n")


def _rows_of(ids: np.ndarray, rows: TableRows) -> TableRows:
    kept = np.isin(rows.ids, ids, assume_unique=True)
    if kept.all():
        return rows
    index = {feature: values[kept] for feature, values in rows.index.items()}
    return TableRows(rows.ids[kept], rows.projection[kept], rows.scale, index)
