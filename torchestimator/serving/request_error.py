"""An answer to a request that cannot be done."""

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """Ends a request with a status other than 200.

    Args:
        status: of HTTP: 400 and above.
        message: what the client has to change.
        allow: with status 405, the method that the path takes.
    """

    def __init__(self, status: int, message: str, allow: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.allow = allow


def one_of(name: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the one that was meant, and all there are."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, 1)
    listed = ", ".join(f'"{each}"' for each in names)
    return f'did you mean "{close[0]}"? There are: {listed}.' if close else f"there are: {listed}."
