"""Signals as a process of a terminal has them, whatever started the tests."""

import signal


def as_in_a_terminal() -> None:
    """For ``preexec_fn``: nohup and background jobs of shells hand down that these are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
