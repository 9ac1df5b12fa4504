"""What experiments cluster by."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from model.config import TableDtype
from model.item_table import ItemTable
from pipelines.experiments.clustered import item_vectors
from pipelines.experiments.dataset import Prepared


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_vectors_are_the_projections_whatever_the_table_holds(dtype: TableDtype) -> None:
    table = ItemTable({"author": None}, 2, 2, dtype)
    table.assign(np.array([3, 8]), {"author": np.array([1, 2], np.int32)})
    exact = np.array([[0, 0, 0, 0], [1.5, -2.0, 0.25, 0.125], [-0.75, 1.0, 0.5, -0.375]], np.float32)
    table.refresh(lambda rows: exact[rows.numpy()])
    vectors = item_vectors(cast(Prepared, SimpleNamespace(schema=SimpleNamespace(duration=None))), table)
    assert vectors.ids.tolist() == [3, 8]
    np.testing.assert_allclose(vectors.at(np.array([0, 1])), exact[1:], atol=0.02)
