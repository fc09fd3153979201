"""The three ways in which headtohead says that something went wrong."""


class InputError(ValueError):
    """Bad input from the user: one sentence with the value, what is allowed and the fix (exit code 2)."""


class Unavailable(InputError):
    """Data or weights that can be neither found on this machine nor downloaded."""


class TrainingError(RuntimeError):
    """A run that cannot go on, a loss that is not finite for example; other runs continue (exit code 1)."""
