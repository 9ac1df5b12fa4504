"""What is on record of the components of a run."""

import logging

from pipelines.tfx.component_watch import ComponentWatch


def test_watch_puts_an_interrupted_component_on_record() -> None:
    with ComponentWatch() as watch:
        logging.getLogger("absl").info("Component %s is running.", "Somebody")
        assert watch.running == "Somebody"
    assert watch.components == {}
