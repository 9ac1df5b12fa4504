"""The polled configuration file."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import time
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server.config_poller import ConfigPoller
from serving.server.model_store import ModelStore
from serving.server.serving_error import ServingError
from serving.server.version import State
from tests import store_support
from tests.store_support import POLL_S, Config, Put, answer, config, running, states
from tests.waiting import until

exported, put = store_support.exported, store_support.put


def test_the_configuration_file_is_read_again(put: Put, tmp_path: Path) -> None:
    file = tmp_path / "models.config"

    def write(*configs: Config) -> None:
        content = model_server_config_pb2.ModelServerConfig()
        content.model_config_list.config.extend(configs)
        file.write_text(text_format.MessageToString(content))

    one, two = config("one", put("one")), config("two", put("two", 3.0))
    write(one)
    with running(one) as store:
        poller = ConfigPoller(str(file), POLL_S, store)
        poller.start()
        try:
            for unusable in ("model_config_list {", ""):
                file.write_text(unusable)
                time.sleep(5 * POLL_S)
                assert answer(store, "one") == (1, 2.0)
            # The label is taken as soon as the version it names is available.
            write(two)
            until(lambda: states(store, "two") == {1: State.AVAILABLE})
            two.version_labels["stable"] = 1
            write(two)
            until(lambda: _labelled(store, "two", "stable"))
            until(lambda: states(store, "one") == {1: State.END})
        finally:
            poller.stop()


def _labelled(store: ModelStore, name: str, label: str) -> bool:
    try:
        return answer(store, name, label=label)[0] > 0
    except ServingError:
        return False
