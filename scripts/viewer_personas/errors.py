"""Errors that reach the user as one message and an exit status.

0 done · 1 a check or test failed · 2 the input or the configuration is wrong ·
3 a source or a target cannot be reached.
"""

import sys


class PersonasError(Exception):
    """A failure that a person can act on: the message says what, where and what to do."""

    exit_status = 1

    def say(self) -> int:
        """Print the message and return the exit status."""
        print(f"Error: {self}", file=sys.stderr)
        return self.exit_status


class CheckFailed(PersonasError):
    """A check or a test failed: the data is loaded, but something is wrong with it."""

    exit_status = 1


class InputError(PersonasError):
    """The input or the configuration is wrong; nothing was changed."""

    exit_status = 2


class Unreachable(PersonasError):
    """A source or a target cannot be reached; the run can be repeated."""

    exit_status = 3
