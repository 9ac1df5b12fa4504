"""How requests are merged into batches: `BatchingParameters` of TF Serving."""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from serving.server import config_messages
from serving.server.serving_error import Code, ServingError, invalid
from serving.server.text_proto import TextProtoError, read_text_proto

PER_MODEL_FILE = "batching_params.pbtxt"


@dataclass(frozen=True)
class BatchingParameters:
    """Sizes count rows, dimension 0 of every input; for a model of histories a row is a user.

    Attributes:
        max_batch_size: Most rows of one request; without splitting also of one batch.
        batch_timeout_micros: How long an incomplete batch waits for more rows.
        max_enqueued_batches: Batches that may wait for a thread; more are refused with UNAVAILABLE.
        num_batch_threads: Batches that run at once.
        allowed_batch_sizes: Batches are padded to one of these sizes; empty = any size.
        pad_variable_length_inputs: Pad inputs of different lengths with each input's first value; else only inputs of
            equal shapes (dimension 0 aside) fit into one batch.
        enable_large_batch_splitting: Spread the rows of a large request over several batches.
        max_execution_batch_size: Most rows of one batch with splitting; None = max_batch_size.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise invalid(f"max_batch_size must be positive; was {self.max_batch_size}")
        if self.batch_timeout_micros < 0:
            raise invalid(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        if self.max_enqueued_batches < 0 or (self.enable_large_batch_splitting and self.max_enqueued_batches == 0):
            raise invalid(f"max_enqueued_batches must be positive; was {self.max_enqueued_batches}")
        if self.num_batch_threads < 1:
            raise invalid(f"num_batch_threads must be positive; was {self.num_batch_threads}")
        if not 1 <= self.execution_batch_size <= self.max_batch_size:
            raise invalid(
                f"max_execution_batch_size must be positive and at most max_batch_size, {self.max_batch_size}; was "
                f"{self.execution_batch_size}"
            )
        self._check_allowed_sizes()

    @property
    def execution_batch_size(self) -> int:
        """Most rows of one batch."""
        if not self.enable_large_batch_splitting or self.max_execution_batch_size is None:
            return self.max_batch_size
        return self.max_execution_batch_size

    def padded_size(self, size: int) -> int:
        """The smallest allowed batch size that holds so many rows."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)

    def _check_allowed_sizes(self) -> None:
        sizes = self.allowed_batch_sizes
        if any(size >= larger for size, larger in pairwise(sizes)) or (sizes and sizes[0] < 1):
            raise invalid("allowed_batch_sizes entries must be monotonically increasing")
        if not sizes or sizes[-1] == self.execution_batch_size:
            return
        wanted = "be equal to max_execution_batch_size" if self.enable_large_batch_splitting else "match max_batch_size"
        raise invalid(
            f"Last entry in allowed_batch_sizes must {wanted}; last entry was {sizes[-1]}; expected "
            f"{self.execution_batch_size}"
        )


def server_batching_parameters(enable: bool, file: str | None) -> BatchingParameters | None:
    """The parameters a server was started with.

    Args:
        enable: Whether requests are merged at all.
        file: A text proto `BatchingParameters`; None = the defaults.

    Returns:
        The parameters, or None when batching is off.

    Raises:
        ServingError: INVALID_ARGUMENT, a file without `enable`, or parameters that contradict each other.
        TextProtoError: The file cannot be read or parsed.
    """
    if not enable:
        if file:
            raise invalid(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return None
    return read_batching_parameters(Path(file)) if file else BatchingParameters()


def read_batching_parameters(file: Path) -> BatchingParameters:
    """Reads a text proto `BatchingParameters`; what it does not name has the default.

    Raises:
        TextProtoError: The file cannot be read or parsed.
        ServingError: INVALID_ARGUMENT, parameters that contradict each other.
    """
    proto = read_text_proto(file, config_messages.BatchingParameters())
    named: dict[str, Any] = {
        field.name: getattr(proto, field.name).value
        for field, _ in proto.ListFields()
        if field.message_type is not None and field.name != "thread_pool_name"
    }
    return BatchingParameters(
        allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        pad_variable_length_inputs=proto.pad_variable_length_inputs,
        **named,
    )


def model_batching_parameters(version: Path) -> BatchingParameters | None:
    """The parameters a version brings in `batching_params.pbtxt`, or None: then its requests are not merged.

    Raises:
        ServingError: INVALID_ARGUMENT, the file cannot be parsed or contradicts itself; the version does not load.
    """
    file = version / PER_MODEL_FILE
    if not file.is_file():
        return None
    try:
        return read_batching_parameters(file)
    except TextProtoError as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{file}': {error}") from None
