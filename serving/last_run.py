"""Where the last pipeline run lies, and its servable."""

from pathlib import Path

from model.errors import UserError

_LATEST = Path("runs") / "latest"


class NoRunError(UserError):
    """There is no last run to take a servable from."""


def last_run() -> Path:
    """The directory of the last successful run, as `runs/latest` names it.

    Raises:
        NoRunError: There is no such file.
    """
    try:
        return Path(_LATEST.read_text().strip())
    except OSError:
        raise NoRunError(f"no run yet ({_LATEST} is missing): run the pipeline first, or name a directory") from None


def last_model_dir() -> Path:
    """The model directory of the last successful run.

    Raises:
        NoRunError: There is no last run, or it left no servable.
    """
    run = last_run()
    if not (run / "servable").is_dir():
        raise NoRunError(f"{_LATEST} names {run}, which holds no servable; run the pipeline again, or name a directory")
    return run / "servable"
