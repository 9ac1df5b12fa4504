"""Which scenarios there are, and running some of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tensorflow_serving.apis import predict_pb2

from model.errors import UserError
from serving.soak.deadline import deadline
from serving.soak.fuzz import fuzz
from serving.soak.model import example_request, newest, recorded_request, write_model
from serving.soak.outcome import Outcome, Say
from serving.soak.overload import overload
from serving.soak.stop import kill, sigterm
from serving.soak.swap import Swaps, swap

NAMES = ("swap", "overload", "deadline", "sigterm", "kill", "fuzz")
_SMALL = 2


class ScenarioError(UserError):
    """A name that no scenario has."""


@dataclass(frozen=True)
class Plan:
    """What is run, and how long.

    Attributes:
        names: Of `NAMES`.
        model_dir: The model to serve where a scenario can do with any; None = one made for these tests.
        swaps: Of `swap`.
        overload_s: Of `overload`.
        fuzz_requests: Of `fuzz`.
        seed: Of the model's weights and of the wrong requests.
        deadline_rounds: Of `deadline`.
        kills: Of `kill`.
    """

    names: tuple[str, ...]
    model_dir: Path | None
    swaps: Swaps
    overload_s: float
    fuzz_requests: int
    seed: int
    deadline_rounds: int = 10
    kills: int = 3


def parse_names(text: str) -> tuple[str, ...]:
    """The scenarios of a list with commas, in their own order; all of them for an empty one.

    Raises:
        ScenarioError: One is unknown.
    """
    wanted = {name.strip() for name in text.split(",") if name.strip()}
    unknown = wanted - set(NAMES)
    if unknown:
        raise ScenarioError(f"--only: expected some of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    return tuple(name for name in NAMES if not wanted or name in wanted)


def run_scenarios(plan: Plan, folder: Path, say: Say) -> Iterator[Outcome]:
    """Runs scenarios one after another, each with a server of its own.

    Args:
        plan: What is run.
        folder: Scratch directory.
        say: Told of the progress; the seconds left are those of all scenarios together.

    Yields:
        What each found.

    Raises:
        UserError: The model directory cannot be used, or a server does not start.
    """
    made = folder / "made"
    write_model(made, plan.seed)
    later = _expected_seconds(plan)
    runs = _runs(plan, made)
    for name in plan.names:
        scratch = folder / name
        scratch.mkdir()
        later.pop(name)
        rest = sum(later.values())

        def say_all(text: str, left_s: float, name: str = name, rest: float = rest) -> None:
            say(f"{name}: {text}", left_s + rest)

        yield runs[name](scratch, say_all)


def _runs(plan: Plan, made: Path) -> dict[str, Callable[[Path, Say], Outcome]]:
    source, request, wrong = _subject(plan, made)
    small = example_request(_SMALL)
    return {
        "swap": lambda folder, say: swap(source, request, plan.swaps, folder, say),
        "overload": lambda folder, say: overload(source, request, plan.overload_s, folder, say),
        "deadline": lambda folder, say: deadline(made, plan.deadline_rounds, folder, say),
        "sigterm": lambda folder, say: sigterm(made, small, folder, say),
        "kill": lambda folder, say: kill(source, request, plan.kills, folder, say),
        "fuzz": lambda folder, say: fuzz(source, wrong, plan.fuzz_requests, plan.seed, folder, say),
    }


def _subject(plan: Plan, made: Path) -> tuple[Path, predict_pb2.PredictRequest, predict_pb2.PredictRequest]:
    """A SavedModel, a request that is some work, and one to make wrong ones of."""
    if plan.model_dir is None:
        return made, example_request(), example_request(_SMALL)
    source = newest(plan.model_dir)
    request = recorded_request(source)
    return source, request, request


def _expected_seconds(plan: Plan) -> dict[str, float]:
    """Roughly, for the time that is left."""
    start_s = 8.0
    seconds = {
        "swap": 1.2 * plan.swaps.seconds + start_s,
        "overload": plan.overload_s + 16 + start_s,
        "deadline": 1.3 * plan.deadline_rounds + 3 + start_s,
        "sigterm": 2 * start_s,
        "kill": (plan.kills + 1) * start_s,
        "fuzz": plan.fuzz_requests * 0.004 + start_s,
    }
    return {name: seconds[name] for name in plan.names}
