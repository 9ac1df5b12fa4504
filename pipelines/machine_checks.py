"""What a machine needs for TWIN, checked one by one."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"
MIN_MEMORY_GB = 6.0
MIN_DISK_GB = 5.0
GRPC_PORT = 8500
REST_PORT = 8501

Status = Literal["ok", "warning", "problem"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One finding: what was looked at, how it stands, what was found, and what to do about it."""

    name: str
    status: Status
    found: str
    advice: str = ""


def check_machine(run_root: Path) -> Iterator[Check]:
    """Yields the findings, cheap ones first.

    Args:
        run_root: The folder runs are to be written below.
    """
    yield check_python()
    yield from check_packages()
    yield check_lock()
    yield check_keras()
    yield check_cores()
    yield check_memory()
    yield check_disk(run_root)
    yield check_writable("run folder", run_root)
    yield check_writable("temporary folder", Path(tempfile.gettempdir()))
    yield check_port("gRPC port", GRPC_PORT)
    yield check_port("REST port", REST_PORT)
    yield check_server()


def check_python() -> Check:
    """The interpreter's version against the range of setup.py."""
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check("python", "ok", found)
    return Check("python", "problem", found, "use Python 3.11 or 3.12; `make env` makes an environment with 3.11")


def check_packages() -> Iterator[Check]:
    """Whether the packages are there; read from their metadata, since importing tfx takes half a minute."""
    needed_for = {
        "tensorflow": "everything but the client",
        "tf-keras": "training and refresh (Keras 2)",
        "tfx": "twin run",
        "apache-beam": "twin run and twin refresh",
        "tensorflow-recommenders": "training",
    }
    for name, use in needed_for.items():
        try:
            yield Check(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "warning", "not installed", f"needed for {use}: make env installs it")
    # tfx-bsl imports dill without declaring it; TFX calls pip to build a wheel of the user's modules.
    for name in ("dill", "pip"):
        if importlib.util.find_spec(name) is not None:
            yield Check(name, "ok", "importable")
        else:
            yield Check(name, "problem", "not importable", f"TFX needs it without declaring it: pip install {name}")


def check_lock(lock: Path = LOCK) -> Check:
    """The installed versions against the lock file; a host without a checkout has none."""
    if not lock.is_file():
        return Check("locked versions", "ok", "no lock file here (not a checkout)")
    differ = list(_differences(lock.read_text()))
    if not differ:
        return Check("locked versions", "ok", "as in requirements/dev.lock")
    shown = ", ".join(differ[:4]) + (f" and {len(differ) - 4} more" if len(differ) > 4 else "")
    return Check("locked versions", "warning", shown, "tested only as locked: rm -rf .venv && make env")


def _differences(lock: str) -> Iterator[str]:
    for name, wanted, marker in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)( ;)?", lock, flags=re.MULTILINE):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if not marker:  # with one, the package may not be meant for this platform
                yield f"{name} missing"
            continue
        if found != wanted:
            yield f"{name} {found} instead of {wanted}"


def check_keras() -> Check:
    """Whether TensorFlow imports and its Keras is Keras 2; in a child, since a broken build may kill its process."""
    if importlib.util.find_spec("tensorflow") is None:
        return Check("Keras", "warning", "TensorFlow is not installed", "only the client works without it")
    code = "from model.keras_check import require_keras_2; print(require_keras_2())"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if done.returncode == 0:
        return Check("Keras", "ok", done.stdout.strip().splitlines()[-1])
    if done.returncode < 0:
        advice = "this build of TensorFlow does not run on this processor; a signal 4 means it lacks AVX"
        return Check("Keras", "problem", f"import tensorflow died of signal {-done.returncode}", advice)
    lines = done.stderr.strip().splitlines() or ["import failed without a message"]
    return Check("Keras", "problem", lines[-1], "set TF_USE_LEGACY_KERAS=1 and install tf-keras, or make env")


def check_cores() -> Check:
    """Cores this process may use."""
    cores = len(os.sched_getaffinity(0))
    if cores >= 2:
        return Check("cores", "ok", str(cores))
    return Check("cores", "warning", str(cores), "everything works, at half the speed or less; two are recommended")


def check_memory(read: Callable[[], str] = Path("/proc/meminfo").read_text) -> Check:
    """Memory that can be had without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", read(), flags=re.MULTILINE)
    if found is None:
        return Check("free memory", "warning", "unknown", f"a run needs about {MIN_MEMORY_GB:.0f} GB")
    gigabytes = int(found.group(1)) * 1024 / 1e9
    if gigabytes >= MIN_MEMORY_GB:
        return Check("free memory", "ok", f"{gigabytes:.1f} GB")
    return Check("free memory", "warning", f"{gigabytes:.1f} GB", f"a run needs {MIN_MEMORY_GB:.0f} GB: free some")


def check_disk(folder: Path) -> Check:
    """Free disk below the run folder."""
    gigabytes = shutil.disk_usage(_existing(folder)).free / 1e9
    if gigabytes >= MIN_DISK_GB:
        return Check("free disk", "ok", f"{gigabytes:.0f} GB")
    advice = f"a small run needs {MIN_DISK_GB:.0f} GB; delete old folders below {folder} or choose another --run-dir"
    return Check("free disk", "problem" if gigabytes < 1 else "warning", f"{gigabytes:.1f} GB", advice)


def check_writable(name: str, folder: Path) -> Check:
    """Whether files can be made in a folder, or in the one it would be made in."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return Check(name, "ok", str(folder))
    except OSError as error:
        return Check(name, "problem", f"{folder}: {error.strerror}", "make it writable or choose another")


def _existing(folder: Path) -> Path:
    resolved = folder.resolve()
    return next(path for path in (resolved, *resolved.parents) if path.is_dir())


def check_port(name: str, port: int) -> Check:
    """Whether a server could listen on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Check(name, "warning", f"{port}: {error.strerror}", "twin serve needs another one there")
    return Check(name, "ok", f"{port} is free")


def check_server() -> Check:
    """Whether the real TensorFlow Serving is there."""
    path = shutil.which("tensorflow_model_server")
    if path is not None:
        return Check("tensorflow_model_server", "ok", path)
    advice = "twin serve uses its embedded server; for production install TensorFlow Serving"
    return Check("tensorflow_model_server", "ok", "not on PATH", advice)
