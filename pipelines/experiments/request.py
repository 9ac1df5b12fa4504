"""What `twin experiment` was asked for; quick to import, so that mistakes are told at once."""

import dataclasses
import math
import tempfile
from pathlib import Path

from model.config import TwinConfig
from model.errors import UserError
from model.schema import load_schema
from pipelines.experiments.budget import BUDGETS, Budget
from pipelines.experiments.cells import CELLS
from pipelines.experiments.contenders import choose
from pipelines.tfx.dataset_json import read_borders, read_oracle, read_schema_name

# Where an experiment keeps the data set's Examples, below its folder of results.
PREPARED = "prepared"

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
        models: Names separated by commas; empty = all that the experiment compares.
        budget: A key of `BUDGETS`.
        rates: Factors on the learning rates that every model tries, separated by commas; empty = the budget's.
        config: YAML file; None = the schema folder's `config.yaml`, if it has one, else the built-in values.
        command: The command line that makes the result again.

    Raises:
        UserError: On an unknown name, model or budget, models that the experiment does not compare, unusable rates, a
            missing folder or file, or mistakes in `config`, `dataset.json` or the schema.
    """

    name: str
    data: Path | None
    out: Path
    seeds: int | None
    models: str
    budget: str
    rates: str
    config: Path | None
    command: str

    def __post_init__(self) -> None:
        """Checks names and paths."""
        for option, value, known in (("NAME", self.name, HEADINGS), ("--budget", self.budget, BUDGETS)):
            if value not in known:
                raise UserError(f"{option}: expected {', '.join(known)}, got {value!r}")
        self.chosen_models()
        self.chosen_budget()
        if self.data is not None and not self.data.is_dir():
            raise UserError(f"--data {self.data}: no such folder; `twin simulate` and `twin import` make one")
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out}: a file; expected a folder, which need not exist yet")
        if self.config is not None and not self.config.is_file():
            raise UserError(f"--config {self.config}: no such file; leave the option out for the schema folder's")
        TwinConfig.load(self.config)
        if self.data is not None:
            about = self.data / "dataset.json"
            load_schema(read_schema_name(about))
            read_borders(about)
            read_oracle(about)

    def make_out(self) -> None:
        """Makes the folder of results.

        Raises:
            UserError: If it cannot be, or nothing can be written in it.
        """
        for folder in (self.out, self.out / CELLS, self.out / PREPARED, self.out / self.name):
            _make_writable(folder)

    def chosen_models(self) -> list[str]:
        """Names of the models to compare."""
        return choose(self.models, self.name)

    def chosen_budget(self) -> Budget:
        """The budget, with `rates` as its search space where they are given."""
        budget = BUDGETS[self.budget]
        if not self.rates.strip():
            return budget
        try:
            factors = tuple(float(rate) for rate in self.rates.split(","))
        except ValueError:
            factors = ()
        if not factors or not all(0 < factor < math.inf for factor in factors) or len(set(factors)) < len(factors):
            raise UserError(
                f"--rates: expected different factors above 0, separated by commas, as 0.3,1,3; got {self.rates!r}"
            )
        return dataclasses.replace(budget, rate_factors=factors)


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror}); name a folder that can") from None
