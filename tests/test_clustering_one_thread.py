"""The numeric libraries keep to one thread as long as anyone needs it."""

import threading

from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from pipelines.clustering.one_thread import one_thread


def numbers() -> set[int]:
    """Threads of the libraries, seen from this thread."""
    return {library["num_threads"] for library in threadpool_info()}


def test_the_limit_is_lifted_afterwards() -> None:
    with threadpool_limits(2):
        with one_thread():
            assert numbers() == {1}
        assert numbers() == {2}


def test_whoever_leaves_first_lifts_no_limit_of_others() -> None:
    entered, left = threading.Event(), threading.Event()
    seen: list[set[int]] = []

    def second() -> None:
        with one_thread():
            entered.set()
            assert left.wait(30)
            seen.append(numbers())

    with threadpool_limits(2):
        other = threading.Thread(target=second)
        with one_thread():
            other.start()
            assert entered.wait(30)
            assert numbers() == {1}
        left.set()
        other.join()
        assert seen == [{1}]
