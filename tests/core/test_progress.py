"""The one progress bar: late, on a terminal alone, and gone when it is done."""

import threading
import time

import pytest
import rich.console

from nce_bias import _progress
from nce_bias._progress import Bar, track


class _Terminal(rich.console.Console):
    """A console that is a terminal, whatever standard error is."""

    def __init__(self, **settings):
        super().__init__(**settings, force_terminal=True, width=60)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(rich.console, "Console", _Terminal)
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(_progress, "REFRESH", 0.0)


def _shown(bar):
    """Wait for the bar of a terminal."""
    end = time.monotonic() + 30
    while bar._bar is None and time.monotonic() < end:
        time.sleep(0.001)
    assert bar._bar is not None
    return bar._bar.tasks[0]


def test_a_bar_says_what_is_done_and_goes_away(terminal, capfd):
    with Bar(4, "training") as bar:
        bar.advance()
        task = _shown(bar)
        assert (task.description, task.total) == ("training", 4)
        bar.advance(2, lambda: "loss 0.5")
        assert (task.description, task.completed) == ("training, loss 0.5", 3)
    assert "training" in capfd.readouterr().err
    assert not bar._bar.live.is_started


def test_a_note_is_made_only_where_it_is_shown(capfd):
    with Bar(2, "training") as bar:
        bar.advance(1, lambda: pytest.fail("nobody can read this"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_shown_without_a_terminal_or_a_wish(enabled, monkeypatch, capfd):
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    if not enabled:
        monkeypatch.setattr(rich.console, "Console", _Terminal)
    with Bar(1, "training", enabled=enabled) as bar:
        time.sleep(0.05)
    assert bar._bar is None
    assert capfd.readouterr().err == ""


def test_what_ends_early_shows_nothing_and_leaves_no_thread(monkeypatch, capfd):
    monkeypatch.setattr(rich.console, "Console", _Terminal)
    before = threading.active_count()
    assert list(track("abc", "letters")) == ["a", "b", "c"]
    time.sleep(0.05)
    assert threading.active_count() == before
    assert capfd.readouterr().err == ""


def test_an_interrupt_takes_the_bar_away(terminal):
    with pytest.raises(KeyboardInterrupt), Bar(3, "training") as bar:
        _shown(bar)
        raise KeyboardInterrupt
    assert not bar._bar.live.is_started
