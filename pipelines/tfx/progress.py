"""Progress of a run as JSON lines, for whoever shows it."""

import json
import os
import time
from typing import Any

PROGRESS_FILE = "TWIN_PROGRESS_FILE"
"""Environment variable with the file's path; as a parameter of a component it would be in the cache key."""


def emit(component: str, event: str, **details: Any) -> None:
    """Appends `{"time_s", "component", "event", ...}` to the progress file, if there is one.

    Args:
        component: The component's id.
        event: `started`, `progress` (with `done`, `total`, `message`), `finished`, `cached` or `failed`.
        **details: Further JSON values.
    """
    path = os.environ.get(PROGRESS_FILE)
    if path:
        line = json.dumps({"time_s": round(time.time(), 3), "component": component, "event": event, **details})
        # One short write in append mode: lines of several processes do not mix.
        with open(path, "a") as file:
            file.write(line + "\n")
