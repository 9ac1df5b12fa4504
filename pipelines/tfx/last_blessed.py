"""Which blessed model a run starts from or is compared with."""

import itertools
import logging
from collections.abc import Mapping

from ml_metadata import MetadataStore
from tfx import v1 as tfx
from tfx.types import Artifact

from model.config import TwinConfig
from model.export import EXTRA
from model.warm_start import why_cold
from pipelines.tfx.files import servable_path

BLESSED = "blessed"
CURRENT_MODEL_ID = "current_model_id"


class LastBlessedBefore(tfx.dsl.experimental.ResolverStrategy):
    """The last blessed model that is older than the artifact `before`, or none.

    TFX's own strategy takes the last blessed model of all. A rerun of unchanged work would then find the model that it
    made itself the first time, so its inputs would differ and nothing after it would be taken from the cache. Age
    against an artifact of the run gives the same answer every time: a training starts from the model that was there
    before its examples were made, and a model is compared with the one blessed before it.

    Args:
        unseen_from_ms: Begin of the targets on which models are compared. A model that has learned some of them, as it
            may after the split's borders moved back, would win unfairly: it is passed over for the one before it, and
            the log tells why. None: any model will do.
        clustered: Where models are compared, whether on Examples of clustered histories: a model of others is passed
            over too, as one cannot read them and the other would not know their sizes.
    """

    def __init__(self, unseen_from_ms: int | None = None, clustered: bool = False) -> None:
        self._unseen_from_ms, self._clustered = unseen_from_ms, clustered

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
        newest_first = sorted(blessed, key=lambda model: model.id, reverse=True)
        last = list(itertools.islice(filter(self._fair, newest_first), 1))
        return {
            "model": last,
            "model_blessing": [blessings[model.id] for model in last],
            "before": input_dict["before"],
        }

    def _fair(self, model: Artifact) -> bool:
        if self._unseen_from_ms is None:
            return True
        servable = servable_path(model)
        reason = why_cold(servable, self._unseen_from_ms, self._unseen_from_ms)
        if TwinConfig.load(servable / EXTRA / "config.yaml").clustered != self._clustered:
            reason = "the last blessed model reads other histories: one of the two reads clusters"
        if reason:
            logging.getLogger("absl").warning("Not compared with %s: %s", model.uri, reason)
        return reason is None
