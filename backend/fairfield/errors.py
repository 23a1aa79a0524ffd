"""What can go wrong, as types. Every message is one sentence with the value and the remedy."""

from __future__ import annotations


class FairfieldError(Exception):
    """Base of every error that Fairfield raises on purpose."""


class MeshError(FairfieldError, ValueError):
    """The mesh has no right answer, or cannot be read."""


class SettingError(FairfieldError, ValueError):
    """An option has a value that is not among the allowed ones."""


class FieldFileError(FairfieldError, ValueError):
    """The file is not a field that this version can load."""


class OutOfMemoryError(FairfieldError, MemoryError):
    """The memory of the machine or of its GPU does not suffice."""


class Cancelled(FairfieldError):
    """Raised from a progress callback to stop a long call; nothing is left half done."""
