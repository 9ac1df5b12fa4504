"""TWIN in plain NumPy loops, written from the equations, one candidate and one behaviour at a time."""

import math
from typing import Any

import numpy as np

from model.encoders import AGE_BOUNDARIES_MS
from model.ranker import TwinRanker


def union(rankings: list[list[int]], size: int) -> list[int]:
    """Rank 1 of every head, rank 2 of every head, ... until `size` unique behaviours."""
    taken: list[int] = []
    for rank in range(max((len(r) for r in rankings), default=0)):
        for ranking in rankings:
            if rank < len(ranking) and ranking[rank] not in taken and len(taken) < size:
                taken.append(ranking[rank])
    return taken


class Oracle:
    """Scores requests with a ranker's weights."""

    def __init__(self, ranker: TwinRanker) -> None:
        self.ranker, self.config = ranker, ranker.config
        self.tables = {name: v.numpy() for name, v in ranker.embeddings_by_name().items()}
        self.rows = {int(i): r for r, i in enumerate(ranker.item_table.ids.numpy())}
        self.index = {f: v.numpy() for f, v in ranker.item_table.index.items()}

    def embed(self, name: str, index: Any) -> np.ndarray:
        """E x_hot, index 0 contributing nothing."""
        values = [int(i) for i in np.atleast_1d(index) if i > 0]
        table = self.tables[name]
        return sum((table[i] for i in values), np.zeros(table.shape[1]))

    def inherent(self, item_id: int) -> np.ndarray:
        """One row of K_h."""
        row = self.rows.get(int(item_id), 0)
        return np.concatenate([self.embed(f"inherent/{f}", self.index[f][row]) for f in self.index])

    def encode(self, name: str, value: Any) -> int:
        """Index of one raw value by definition: boundaries counted, vocabulary searched."""
        statistics = self.ranker_encoders()[name]
        if hasattr(statistics, "dtype"):
            value = value.decode() if isinstance(value, bytes) else int(value)
            return statistics.values.index(value) + 2 if value in statistics.values else 1
        return 1 + sum(b <= value for b in statistics.values)

    @staticmethod
    def ranker_encoders() -> Any:
        """The toy encoders."""
        from tests.toy import ENCODERS

        return ENCODERS.features

    def cross(self, raw: dict[str, np.ndarray], b: int, i: int, time: int) -> dict[str, np.ndarray]:
        """K_c,1 ... K_c,J of behaviour i, for a target at `time`."""
        parts = {
            f: self.encode(f"cross/{f}", raw[f"history/{f}"][b, i]) for f in ("play_seconds", "completion", "liked")
        }
        parts["age"] = 1 + sum(a <= time - raw["history/timestamp"][b, i] for a in AGE_BOUNDARIES_MS)
        return {f: self.embed(f"cross/{f}", index) for f, index in parts.items()}

    def log_size(self, raw: dict[str, np.ndarray], b: int, i: int) -> float:
        """TWIN-V2's ln n of entry i."""
        return math.log(raw["history/cluster_size"][b, i]) if self.config.clustered else 0.0

    def alpha(self, relevance: Any, target: np.ndarray, key: np.ndarray, cross: dict[str, np.ndarray]) -> np.ndarray:
        """Eq. 5 and 6 for every head."""
        d = self.config.head_dim
        values = []
        for a in range(self.config.heads):
            head = slice(a * d, (a + 1) * d)
            w_h, w_q = relevance.inherent_kernel.numpy()[:, head], relevance.query_kernel.numpy()[:, head]
            score = (key @ w_h) @ (target @ w_q) / math.sqrt(d)
            for j, (feature, w) in enumerate(relevance.cross_kernels.items()):
                score += cross[feature] @ w.numpy()[:, a] * relevance.beta.numpy()[j]
            values.append(score)
        return np.array(values)

    def attend(
        self, esu: Any, raw: dict[str, np.ndarray], b: int, target: np.ndarray, positions: list[int], time: int
    ) -> np.ndarray:
        """Eq. 7 and 8 with values projected first, as the paper writes them."""
        heads = []
        keys = [self.inherent(raw["history/item_id"][b, i]) for i in positions]
        crosses = [self.cross(raw, b, i, time) for i in positions]
        alphas = [
            self.alpha(esu.relevance, target, k, c) + self.log_size(raw, b, i)
            for i, k, c in zip(positions, keys, crosses, strict=True)
        ]
        for a in range(self.config.heads):
            if not positions:
                heads.append(np.zeros(self.config.head_dim))
                continue
            scores = np.array([alpha[a] for alpha in alphas])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            values = [
                np.concatenate([k, *c.values()]) @ esu.value_kernel.numpy()[a]
                for k, c in zip(keys, crosses, strict=True)
            ]
            heads.append(weights @ np.array(values))
        return np.concatenate(heads) @ esu.output_kernel.numpy()

    def search(self, raw: dict[str, np.ndarray], b: int, n: int, end: int, time: int, size: int) -> list[int]:
        """The CP-GSU with projections computed live."""
        relevance = self.ranker.twin.relevance
        target = self.inherent(raw["candidate/item_id"][b, n])
        visible = [i for i in range(end) if int(raw["history/item_id"][b, i]) in self.rows]
        scores = {
            i: self.alpha(relevance, target, self.inherent(raw["history/item_id"][b, i]), self.cross(raw, b, i, time))
            + self.log_size(raw, b, i)
            for i in visible
        }
        rankings = [[i for _, i in sorted((-scores[i][a], i) for i in visible)] for a in range(self.config.heads)]
        return union(rankings, size)

    def pctr(self, raw: dict[str, np.ndarray], b: int, n: int, end: int, time: int, context: Any) -> float:
        """Predicted CTR of one candidate."""
        ranker = self.ranker
        target = self.inherent(raw["candidate/item_id"][b, n])
        positions = self.search(raw, b, n, end, time, self.config.retrieved)
        recent = list(range(max(0, end - self.config.short_term_length), end))
        x = np.concatenate(
            [
                self.attend(ranker.twin.esu, raw, b, target, positions, time),
                self.attend(ranker.short_term.attention, raw, b, target, recent, time),
                target,
                *(
                    self.embed(f"user/{f}", self.encode(f"user/{f}", raw[f"user/{f}"][b]))
                    for f in ("age_group", "activity")
                ),
                self.embed("context/page_position", self.encode("context/page_position", context)),
            ]
        )
        layers = ranker.mlp.layers
        for layer in layers[:-1]:
            x = np.maximum(x @ layer.kernel.numpy() + layer.bias.numpy(), 0)
        logit = (x @ layers[-1].kernel.numpy() + layers[-1].bias.numpy())[0]
        return float(1 / (1 + math.exp(-logit)))
