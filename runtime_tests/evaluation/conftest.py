"""Settings that every test of evaluation shares."""

from runtime_tests.threads import one_thread

__all__ = ["one_thread"]
