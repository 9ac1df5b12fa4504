"""What `twin experiment` was asked for; quick to import, so that mistakes are told at once."""

import dataclasses
from pathlib import Path

from model.errors import UserError
from pipelines.experiments.budget import BUDGETS
from pipelines.experiments.contenders import choose

HEADINGS = {
    "overall": "Overall performance",
    "rolling": "Overall performance of models that learn on",
    "consistency": "Consistency of search and attention",
    "length": "Effect of the history's length",
    "ablation": "What each part of TWIN is worth",
    "case": "A case: what is retrieved and what is weighed",
    "efficiency": "What each model costs",
    "lives": "Whole lives",
}
"""Name of every experiment to the heading of its report."""


@dataclasses.dataclass(frozen=True)
class ExperimentRequest:
    """What `twin experiment` was asked for.

    Attributes:
        name: A key of `HEADINGS`.
        data: Folder of the raw tables; None simulates one.
        out: Folder of all results; experiments share what is trained in it.
        seeds: Trainings per model; None = the budget's.
        models: Names separated by commas; empty = all.
        budget: A key of `BUDGETS`.
        config: YAML file; None = the schema folder's `config.yaml`, if it has one, else the built-in values.
        command: The command line that makes the result again.

    Raises:
        UserError: On an unknown name, model or budget, or a missing folder or file.
    """

    name: str
    data: Path | None
    out: Path
    seeds: int | None
    models: str
    budget: str
    config: Path | None
    command: str

    def __post_init__(self) -> None:
        """Checks names and paths."""
        for option, value, known in (("NAME", self.name, HEADINGS), ("--budget", self.budget, BUDGETS)):
            if value not in known:
                raise UserError(f"{option}: expected {', '.join(known)}, got {value!r}")
        choose(self.models)
        if self.data is not None and not self.data.is_dir():
            raise UserError(f"--data {self.data}: no such folder; `twin simulate` and `twin import` make one")
        if self.config is not None and not self.config.is_file():
            raise UserError(f"--config {self.config}: no such file; leave the option out for the schema folder's")
