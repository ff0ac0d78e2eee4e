"""Exit codes of all programs; docs/exit-codes.md explains them."""

DONE = 0
NO = 1
"""The answer is no: data check says stop, not a member, audit log broken, run not finished, not confirmed."""
USER_ERROR = 2
"""Something for the user to fix; the message says what."""
INTERRUPTED = 130
"""Interrupted by Ctrl-C or a termination signal."""
