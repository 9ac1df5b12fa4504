"""Where the last pipeline run left its servable."""

from pathlib import Path

from model.errors import UserError

_LATEST = Path("runs") / "latest"


class NoRunError(UserError):
    """There is no last run to take a servable from."""


def last_model_dir() -> Path:
    """The model directory of the last successful run, as `runs/latest` names it.

    Raises:
        NoRunError: There is no such file, or the run left no servable.
    """
    try:
        run = Path(_LATEST.read_text().strip())
    except OSError:
        raise NoRunError(f"no run yet ({_LATEST} is missing): run the pipeline first, or name a directory") from None
    if not (run / "servable").is_dir():
        raise NoRunError(f"{_LATEST} names {run}, which holds no servable; run the pipeline again, or name a directory")
    return run / "servable"
