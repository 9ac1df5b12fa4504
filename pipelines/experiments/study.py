"""What all experiments share: data, budget, and the trained models, each trained once."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from model.catalog import CatalogRows
from model.config import TwinConfig
from model.errors import UserError
from model.ranker import TwinRanker
from model.search_features import SearchArray
from model.train import DivergedError, Progress
from pipelines.experiments.budget import Budget
from pipelines.experiments.cells import CELLS, CellStore, fingerprint
from pipelines.experiments.contenders import configure, title
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.periods import Period
from pipelines.experiments.pretrained import search_arrays
from pipelines.experiments.scored import METRICS, Scored, Scorer
from pipelines.experiments.training import fit, fit_further, fresh_ranker, load_state, save_state
from pipelines.tfx.fingerprints import code_fingerprint

FIRST_SEED = 1
TRAINING_CODE = "pipelines.experiments.study"
"""The module on whose code, and that of all it imports, a training's results depend."""


class Display(Protocol):
    """Shows how far an experiment is."""

    def expect(self, cells: int) -> None:
        """More cells are to come; fewer, where negative."""

    def start(self, text: str) -> None:
        """A cell begins."""

    def within(self, share: float, text: str) -> None:
        """It is at `share` of it."""

    def done(self) -> None:
        """It is finished."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One training.

    Attributes:
        model: A name of `MODELS`.
        seed: Of weights and shuffling.
        rate: Factor on both learning rates.
        history_length: L; None = the configuration's.
    """

    model: str
    seed: int = FIRST_SEED
    rate: float = 1.0
    history_length: int | None = None

    @property
    def name(self) -> str:
        """Readable and fit for a file."""
        length = "" if self.history_length is None else f"-length{self.history_length}"
        return f"{self.model}-seed{self.seed}-rate{self.rate:g}{length}"

    def config(self, base: TwinConfig) -> TwinConfig:
        """The training's configuration."""
        return dataclasses.replace(
            configure(self.model, base),
            seed=self.seed,
            history_length=self.history_length or base.history_length,
            embedding_learning_rate=base.embedding_learning_rate * self.rate,
            dense_learning_rate=base.dense_learning_rate * self.rate,
        )


class Study:
    """Trains what experiments ask for and remembers it, in memory and on disk.

    Args:
        data: The data set.
        config: The configuration that all models share.
        budget: Search space and sizes.
        seeds: Trainings per model.
        models: Those to compare.
        out: Folder of cells and trained states.
        display: Shows how far it is.
        about: Recorded in every cell: what made it.
    """

    def __init__(
        self,
        data: Prepared,
        config: TwinConfig,
        budget: Budget,
        seeds: int,
        models: Sequence[str],
        out: Path,
        display: Display,
        about: Mapping[str, str],
    ) -> None:
        self.data, self.config, self.budget, self.models = data, config, budget, list(models)
        self.seeds = list(range(FIRST_SEED, FIRST_SEED + seeds))
        self.display = display
        self.about = about
        self._cells = CellStore(out / CELLS)
        self._known: dict[Setting, dict[str, Any]] = {}
        self._catalog: CatalogRows | None = None

    def train(self, setting: Setting) -> dict[str, Any]:
        """A training's results: `train`, `eval` and `test`."""
        if setting not in self._known:
            self._known[setting] = self.cell(setting.name, self._identity(setting), lambda: self._train(setting))
        return self._known[setting]

    def trained_seeds(self) -> list[int]:
        """Seeds of all trainings that `train` was asked for."""
        return sorted({setting.seed for setting in self._known})

    def cell(self, name: str, identity: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A cell's result, made and written if there is none of this identity, and shown while it is made."""
        if (found := self._cells.find(name, identity)) is not None:
            self.display.expect(-1)
            return found
        self.display.start(name)
        result = make()
        self._cells.put(name, identity, result, self.about)
        self.display.done()
        return result

    def search_space(self, model: str) -> list[Setting]:
        """What `tuned_rate` tries."""
        return [Setting(model, rate=rate) for rate in self.budget.rate_factors]

    def tuned_rate(self, model: str) -> float:
        """The factor on the learning rates with which the first seed's AUC on the eval split is highest.

        Trainings that diverged have none; where all have, the first factor stands for them.
        """
        tried = {setting: self.train(setting)["eval"]["auc"] for setting in self.search_space(model)}
        return max(tried, key=lambda setting: tried[setting] or 0.0).rate

    def tuned(self, model: str, seed: int = FIRST_SEED, history_length: int | None = None) -> Setting:
        """A training with the model's best learning rates."""
        return Setting(model, seed, self.tuned_rate(model), history_length)

    def tuned_results(self, model: str) -> list[dict[str, Any]]:
        """Results of all seeds with the best learning rates."""
        return [self.train(self.tuned(model, seed)) for seed in self.seeds]

    def rolled(self, model: str, seed: int, periods: Sequence[Period]) -> dict[str, Any]:
        """Metrics of all `periods` as `test`, and of each: before every one, the model has learned from all before it.

        The model is trained as for `train`, and goes on with the eval split and one period after another.
        """
        setting = self.tuned(model, seed)
        self.train(setting)
        identity = self._identity(setting) | {"protocol": "rolling", "periods": [p.start_ms for p in periods]}

        def make() -> dict[str, Any]:
            try:
                ranker = self.ranker(model, seed)
            except DivergedError:
                undefined = dict.fromkeys(METRICS) | {"targets": 0}
                return {"test": undefined, "periods": [undefined] * len(periods)}
            score = Scorer(ranker, self.data.schema)
            learned, scored = self.data.files("eval"), []
            for number, period in enumerate(periods, start=1):
                progress = self.progress(f"{setting.name}, before period {number} of {len(periods)}")
                fit_further(ranker, self.data, learned, progress)
                scored.append(score(period.files))
                learned = period.files
            of_period = [part.metrics() for part in scored]
            return {"test": Scored.joined(scored).metrics(), "periods": of_period}

        return self.cell(f"rolling-{setting.name}", identity, make)

    def sound(self, model: str) -> bool:
        """Whether the first seed's training with the best learning rates ended well."""
        return self.train(self.tuned(model))["train"]["loss"] is not None

    def sound_models(self, cells: int = 1) -> tuple[list[str], list[str]]:
        """The models whose first training ended well, and what the report must say of the others.

        Args:
            cells: How many were to measure each; those of the others are no longer expected.

        Raises:
            UserError: If there is none.
        """
        diverged = [model for model in self.models if not self.sound(model)]
        if len(diverged) == len(self.models):
            raise UserError("every training diverged; name lower factors on the learning rates with --rates")
        self.display.expect(-cells * len(diverged))
        remarks = [f"{title(model)} was left out: its training diverged." for model in diverged]
        return [model for model in self.models if model not in diverged], remarks

    def ranker(self, model: str, seed: int = FIRST_SEED) -> TwinRanker:
        """A seed's ranker as trained with the best learning rates, its optimiser and a fresh item table with it.

        Raises:
            DivergedError: If the pre-training that its search needs diverged.
        """
        setting = self.tuned(model, seed)
        self.train(setting)
        state = self._state(setting)
        if not state.is_dir():
            # Metrics and weights of one model must be of one training.
            self._cells.file(setting.name, self._identity(setting)).unlink(missing_ok=True)
            del self._known[setting]
            self.display.expect(1)
            self.train(setting)
        ranker = fresh_ranker(self.data, setting.config(self.config), self.catalog(), self.search(setting))
        load_state(ranker, state)
        return ranker

    def catalog(self) -> CatalogRows:
        """The items."""
        if self._catalog is None:
            self._catalog = self.data.catalog(self.config)
        return self._catalog

    def search(self, setting: Setting) -> dict[str, SearchArray]:
        """What the model's search reads of items, pre-trained on whole histories with the training's rates and seed."""
        config = dataclasses.replace(setting, history_length=None).config(self.config)
        identity = self._identity(Setting("twin", setting.seed, setting.rate))
        name = f"item-embeddings-seed{setting.seed}-rate{setting.rate:g}"
        file = self._cells.file(name, identity).with_suffix(".npz")
        return search_arrays(self.data, config, file, self.progress(f"{title(setting.model)}, pre-training"))

    def folder(self, kind: str, identity: Mapping[str, Any]) -> Path:
        """Where something of this identity is kept; the folder it lies in is there."""
        parent = self._cells.folder.parent / kind
        parent.mkdir(exist_ok=True)
        return parent / fingerprint(identity)[:16]

    def identity_of(self, model: str, module: str, **more: Any) -> dict[str, Any]:
        """What a measurement of the model's first trained ranker depends on.

        Args:
            model: A name of `MODELS`.
            module: The module that measures, whose code counts with all that it imports.
            more: Whatever else.
        """
        return self._identity(self.tuned(model)) | {"measured_by": code_fingerprint(module)} | more

    def _train(self, setting: Setting) -> dict[str, Any]:
        config = setting.config(self.config)
        try:
            search = self.search(setting)
        except DivergedError:
            # A pre-training that diverged counts as the training's own divergence.
            undefined = dict.fromkeys(METRICS)
            return {"train": {"loss": None, "targets_per_s": None}, "eval": undefined, "test": undefined}
        trained = fit(self.data, config, self.catalog(), search, self.progress(setting.name))
        score = Scorer(trained.ranker, self.data.schema)
        train = trained.report | {"machine": self.about["machine"]}
        if "cluster" in search:
            train["clusters"] = np.count_nonzero(np.unique(search["cluster"].values))
        result = {"train": train} | {split: score(self.data.files(split)).metrics() for split in ("eval", "test")}
        if setting.history_length is None:
            # That of an earlier training, whose cell is lost, would stay.
            shutil.rmtree(self._state(setting), ignore_errors=True)
            save_state(trained.ranker, self._state(setting))
        return result

    def progress(self, name: str) -> Progress:
        """Shows the progress of a training under a name."""
        return lambda done, total, text: self.display.within(done / total, f"{name}, {text}")

    def _state(self, setting: Setting) -> Path:
        return self._cells.file(setting.name, self._identity(setting)).with_suffix("")

    def _identity(self, setting: Setting) -> dict[str, Any]:
        return {
            "model": setting.model,
            "seed": setting.seed,
            "config": setting.config(self.config).to_yaml(),
            "data": self.data.fingerprint,
            "code": code_fingerprint(TRAINING_CODE),
        }
