"""Refuse a request with a status and a message."""

from collections.abc import Mapping


class Refused(Exception):
    """A request that gets no answer; `status` is HTTP's, `message` says why and what to do next."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
