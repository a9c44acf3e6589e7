"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A request that cannot be carried out; its message is the whole story, exit code 2."""
