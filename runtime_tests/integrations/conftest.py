"""Settings that every test of integrations shares."""

from runtime_tests.threads import one_thread

__all__ = ["one_thread"]
