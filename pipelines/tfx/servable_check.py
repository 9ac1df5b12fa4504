"""`ServableCheck`: the servable loads by itself and answers as the trained model does."""

import json
import math
import subprocess
import sys
from pathlib import Path

from tfx import v1 as tfx
from tfx.types.standard_artifacts import InfraBlessing, Model

from pipelines.tfx import compare_in_fresh_process
from pipelines.tfx.files import servable_path

_TOLERANCE = 1e-4
_ERROR_CHARS = 1000


@tfx.dsl.components.component
def ServableCheck(  # noqa: N802
    servable: tfx.dsl.components.InputArtifact[Model],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    blessing: tfx.dsl.components.OutputArtifact[InfraBlessing],
) -> None:
    """Loads the servable in a fresh process that imports nothing of this project and replays its warm-up requests.

    Args:
        servable: The assembled servable; its warm-up requests carry the answers of the trained model.
        code_fingerprint: Nothing but a part of the cache key.
        blessing: Property `blessed`, and `reason` where it is 0.
    """
    reason = check_servable(servable_path(servable))
    blessing.set_int_custom_property("blessed", int(reason is None))
    blessing.set_string_custom_property("reason", reason or "")


def check_servable(servable: Path) -> str | None:
    """Why the servable must not be served, or None."""
    # -I: neither the working directory nor PYTHONPATH, so the project cannot be imported.
    command = [sys.executable, "-I", str(compare_in_fresh_process.__file__), str(servable)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"it does not load or answer: {done.stderr.strip()[-_ERROR_CHARS:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    if not result["requests"]:
        return "it has no warm-up requests"
    difference = result["largest_difference"]
    if not math.isfinite(difference) or difference > _TOLERANCE:
        return f"its answers differ from the trained model's by {difference:.3g}, more than {_TOLERANCE:g}"
    return None
