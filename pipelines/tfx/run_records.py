"""What ML Metadata knows of a run: its components' outputs."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Event, Value  # type: ignore[attr-defined]
from tfx import v1 as tfx


@dataclasses.dataclass(frozen=True)
class Output:
    """An artifact that a component of the run made, or took from the cache.

    Attributes:
        uri: Its folder.
        properties: Its custom properties.
    """

    uri: Path
    properties: Mapping[str, Any]


def last_run_outputs(metadata_file: Path) -> dict[str, dict[str, Output]]:
    """Component id -> output name -> artifact, of the last pipeline run in an SQLite metadata file."""
    store = MetadataStore(tfx.orchestration.metadata.sqlite_metadata_connection_config(str(metadata_file)))
    run = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    outputs: dict[str, dict[str, Output]] = {}
    for execution in store.get_executions_by_context(run.id):
        component = _component_of(store, execution.id)
        events = store.get_events_by_execution_ids([execution.id])
        made = [e for e in events if e.type in (Event.OUTPUT, Event.DECLARED_OUTPUT)]
        artifacts = {a.id: a for a in store.get_artifacts_by_id([event.artifact_id for event in made])}
        for event in made:
            artifact = artifacts[event.artifact_id]
            properties = {name: _value(value) for name, value in artifact.custom_properties.items()}
            outputs.setdefault(component, {})[event.path.steps[0].key] = Output(Path(artifact.uri), properties)
    return outputs


def _component_of(store: MetadataStore, execution: int) -> str:
    node = next(c for c in store.get_contexts_by_execution(execution) if c.type == "node")
    # The context's name is "<pipeline>.<component>".
    return str(node.name).rsplit(".", 1)[-1]


def _value(value: Value) -> Any:
    return getattr(value, value.WhichOneof("value"))
