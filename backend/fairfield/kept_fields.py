"""The fields that a server holds for later requests."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .field import Field

MAX_BYTES = 2 << 30
"""What all fields together may take; a field of the standard preset takes about 10 MB."""


class KeptFields:
    """Fields by key. Where they take too much, those used longest ago are released.

    Every method may be called from any thread.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._fields: OrderedDict[str, Field] = OrderedDict()
        self._changing = threading.Lock()

    @property
    def total_bytes(self) -> int:
        """What the fields take."""
        with self._changing:
            return sum(field.nbytes for field in self._fields.values())

    def keep(self, key: str, field: Field) -> None:
        """Keep a field, in place of an earlier one of the same key."""
        with self._changing:
            self._fields[key] = field
            self._fields.move_to_end(key)
        self.shrink(self._max_bytes)

    def get(self, key: str) -> Field | None:
        """Return a field, which thereby counts as just used; None if it is not here."""
        with self._changing:
            if key in self._fields:
                self._fields.move_to_end(key)
            return self._fields.get(key)

    def release(self, key: str) -> bool:
        """Forget a field; return whether it was here."""
        with self._changing:
            return self._fields.pop(key, None) is not None

    def shrink(self, max_bytes: int) -> int:
        """Release fields until the others take no more than this; return the bytes released.

        The one used last is kept: it is what the client is working with.
        """
        released = 0
        with self._changing:
            total = sum(field.nbytes for field in self._fields.values())
            while total - released > max_bytes and len(self._fields) > 1:
                _, field = self._fields.popitem(last=False)
                released += field.nbytes
        return released
