"""Which blessed model a run starts from or is compared with."""

from collections.abc import Mapping

from ml_metadata import MetadataStore
from tfx import v1 as tfx
from tfx.types import Artifact

BLESSED = "blessed"
CURRENT_MODEL_ID = "current_model_id"


class LastBlessedBefore(tfx.dsl.experimental.ResolverStrategy):
    """The last blessed model that is older than the artifact `before`, or none.

    TFX's own strategy takes the last blessed model of all. A rerun of unchanged work would then find the model that it
    made itself the first time, so its inputs would differ and nothing after it would be taken from the cache. Age
    against an artifact of the run gives the same answer every time: a training starts from the model that was there
    before its examples were made, and a model is compared with the one blessed before it.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: Mapping[str, list[Artifact]]
    ) -> dict[str, list[Artifact]] | None:
        """Picks the model.

        Args:
            store: Not needed: all candidates are given.
            input_dict: `model`, `model_blessing`: all there are; `before`: the artifact whose age decides.
        """
        before = max(artifact.id for artifact in input_dict["before"])
        blessings = {
            blessing.get_int_custom_property(CURRENT_MODEL_ID): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(BLESSED) == 1
        }
        blessed = [model for model in input_dict["model"] if model.id in blessings and model.id < before]
        last = sorted(blessed, key=lambda model: model.id)[-1:]
        return {
            "model": last,
            "model_blessing": [blessings[model.id] for model in last],
            "before": input_dict["before"],
        }
