"""Give a process the signal handlers that it would have in a terminal."""

import signal


def as_in_a_terminal() -> None:
    """Stop ignoring signals, which nohup and background jobs make children do; for ``preexec_fn``."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
