"""The whole job through Beam's portable job service, with its worker pool in another process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.readers import RawDataError
from serving.serve import free_port
from tests.preprocess_support import event_rows, read_all, run, write_data, write_schema

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def portable_args(tmp_path: Path) -> Iterator[list[str]]:
    """Starts a job service and an external worker pool; gives the Beam flags that use them."""
    # Worker pools start "python": the one of this environment must come first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    job_port, pool_port = free_port(), free_port()
    staging = str(tmp_path / "staging")
    modules = (
        ["apache_beam.runners.portability.local_job_service_main", "--port", str(job_port), "--staging_dir", staging],
        ["apache_beam.runners.worker.worker_pool_main", "--service_port", str(pool_port)],
    )
    log = (tmp_path / "services.log").open("w")
    services = [
        subprocess.Popen(
            [sys.executable, "-m", *module],
            env=environment,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        for module in modules
    ]
    try:
        for service, port in zip(services, (job_port, pool_port), strict=True):
            wait_for(service, port, tmp_path / "services.log")
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{pool_port}",
        ]
    finally:
        for service in services:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
        log.close()


def wait_for(service: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        assert service.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"port {port} did not open:\n{log.read_text()}")


def test_a_portable_runner_gives_what_the_process_itself_gives(tmp_path: Path, portable_args: list[str]) -> None:
    rng = np.random.default_rng(3)
    columns = [rng.integers(10, 16, 300), rng.integers(1, 5, 300), rng.integers(0, 400, 300)]
    columns += [rng.integers(0, 2, 300), rng.integers(0, 2, 300)]
    # Item 4 is in no catalog and some (user, item, time) repeat: dead letters travel as well.
    rows = [row for row in zip(*(c.tolist() for c in columns), strict=True) if row[1] != 4 or row[2] < 20]
    data = write_data(tmp_path / "data", event_rows(*rows, rows[0]))
    schema = write_schema(tmp_path / "schema")
    here = run(data, schema, tmp_path / "here")
    there = run(data, schema, tmp_path / "there", args=portable_args)
    assert here.events["dead_letters"] > 0
    assert (there.events, there.examples, there.dead_letters) == (here.events, here.examples, here.dead_letters)
    assert read_all(tmp_path / "there") == read_all(tmp_path / "here")

    # What a worker in another process finds wrong with a file is still a plain error here.
    file = data / "events" / "part-0.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = b"\xff" * 196
    file.write_bytes(content)
    with pytest.raises(RawDataError, match=r"part-0\.parquet: row group 0 is damaged") as error:
        run(data, schema, tmp_path / "damaged", args=portable_args)
    assert "Traceback" not in str(error.value)
