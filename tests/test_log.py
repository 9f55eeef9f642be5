"""Where log lines go."""

import contextlib
import logging
import sys

import pytest

from torchestimator.log import LOG, TERMINAL


@contextlib.contextmanager
def unconfigured():
    """Without the handlers that the test runner installs anew for each test: a program that configures nothing."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = handlers


@pytest.fixture
def handler():
    """A handler that keeps what it is given."""

    class Keeps(logging.Handler):
        def __init__(self):
            super().__init__()
            self.lines = []

        def emit(self, record):
            self.lines.append(record.getMessage())

    return Keeps()


def test_lines_go_to_standard_error_of_a_program_without_configuration(capsys):
    with unconfigured():
        LOG.info("one of %d", 2)
        logging.getLogger("torchestimator.part").warning("two")
        LOG.debug("not shown")
    assert capsys.readouterr() == ("", "INFO:torchestimator: one of 2\nWARNING:torchestimator.part: two\n")


def test_a_handler_of_the_root_gets_each_line_once(handler, capsys):
    with unconfigured():
        logging.getLogger().addHandler(handler)
        LOG.info("one")
        logging.getLogger("torchestimator.part").info("two")
    assert handler.lines == ["one", "two"]
    assert capsys.readouterr() == ("", "")


def test_a_handler_of_the_package_gets_each_line_once(handler, capsys):
    with unconfigured():
        LOG.addHandler(handler)
        try:
            LOG.info("one")
            logging.getLogger("torchestimator.part").info("two")
        finally:
            LOG.removeHandler(handler)
        LOG.info("three")
    assert handler.lines == ["one", "two"]
    assert capsys.readouterr().err == "INFO:torchestimator: three\n"


def test_a_handler_that_does_not_get_the_lines_does_not_count(handler, monkeypatch, capsys):
    monkeypatch.setattr(LOG, "propagate", False)
    with unconfigured():
        logging.getLogger().addHandler(handler)
        LOG.info("one")
    assert handler.lines == []
    assert capsys.readouterr().err == "INFO:torchestimator: one\n"


def test_the_program_chooses_the_level(capsys):
    with unconfigured():
        LOG.setLevel(logging.WARNING)
        try:
            LOG.info("hidden")
            LOG.warning("shown")
        finally:
            LOG.setLevel(logging.INFO)
    assert capsys.readouterr().err == "WARNING:torchestimator: shown\n"


def test_a_line_that_cannot_be_written_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with unconfigured():
        LOG.info("unseen")
    assert TERMINAL in LOG.handlers
