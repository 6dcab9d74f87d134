"""What is said, and how: warnings are marked on the console and in files, and kept as they are."""

import io
import logging
import re
from collections.abc import Iterator

import pytest

from utils.system.logger import Formatter, WarningCollector, get_logger


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What a handler with our formatter writes of the project's logger."""
    stream, logger = io.StringIO(), get_logger()
    before = list(logger.handlers)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter("%(message)s"))
    logger.addHandler(handler)
    yield stream
    logger.handlers[:] = before


def test_warning_says_that_it_is_one(said: io.StringIO) -> None:
    """Information and errors do not."""
    get_logger().info("a step")
    get_logger().warning("mind the %s", "step")
    get_logger().error("no step")
    assert said.getvalue().splitlines() == ["a step", "WARNING: mind the step", "no step"]


def test_time_comes_first() -> None:
    """The mark is the message's, not the line's."""
    record = logging.LogRecord("autospeech", logging.WARNING, __file__, 1, "100 %", (), None)
    line = Formatter("%(asctime)s %(message)s", "%H:%M:%S").format(record)
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING: 100 %", line)
    assert record.getMessage() == "100 %"  # what other handlers get


def test_collected_warnings_are_bare(said: io.StringIO) -> None:
    """As they were written, each once, in order; nothing of before or of lesser weight."""
    get_logger().warning("too early")
    collector = WarningCollector()
    for message in ("second thoughts", "first thoughts", "second thoughts"):
        get_logger().warning(message)
    get_logger().info("nothing")
    assert collector.messages == ["second thoughts", "first thoughts"]
    assert "WARNING: second thoughts" in said.getvalue()


def test_one_collector_at_a_time(said: io.StringIO) -> None:
    """A later one takes the place of an earlier one, which hears nothing more."""
    earlier, later = WarningCollector(), WarningCollector()
    get_logger().warning("now")
    assert (earlier.messages, later.messages) == ([], ["now"])


def test_logger_is_made_once() -> None:
    """Else every line would stand there twice."""
    before = list(get_logger().handlers)
    assert before
    assert get_logger().handlers == before
