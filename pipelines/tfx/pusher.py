"""`AtomicPusher`: publishes a blessed servable as the next version, whole or not at all."""

import shutil
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tfx import v1 as tfx
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.types import Artifact, artifact_utils


class Executor(executor.Executor):
    """Like TFX's, except that the version gets the next number and appears by a rename."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model if it is blessed.

        Args:
            input_dict: `model`, `model_blessing`, `infra_blessing`.
            output_dict: `pushed_model`, which gets the properties `pushed`, `pushed_destination`, `pushed_version`.
            exec_properties: `push_destination`, a JSON `PushDestination` whose `filesystem.base_directory` is the
                folder of the versions.
        """
        # The one step from this side to the serving side; everything else here works without it.
        from serving.publisher import publish

        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = json_format.Parse(exec_properties["push_destination"], tfx.proto.PushDestination())
        folder = Path(destination.filesystem.base_directory)
        model = self.GetModelPath(input_dict)
        version = publish(folder, lambda out: _copy(Path(model), out))
        self._MarkPushed(pushed, pushed_destination=str(folder / str(version)), pushed_version=str(version))


class AtomicPusher(component.Pusher):
    """TFX's Pusher with an atomic push."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def _copy(model: Path, out: Path) -> None:
    shutil.copytree(model, out, dirs_exist_ok=True)
