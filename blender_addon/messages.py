"""What the artist is told after a click, as long as it is about something that is still there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import bpy


@dataclass(frozen=True)
class Message:
    """One sentence.

    Parameters
    ----------
    text
        The sentence.
    objects
        `session_uid` of what it is about. When all of them are gone, it is told no more; without
        any it stays.
    brief
        What the panel's one row of status says of it.
    """

    text: str
    objects: tuple[int, ...] = ()
    brief: str = "See Report"


def still_true(messages: Iterable[Message]) -> list[Message]:
    """Return those whose objects are there."""
    messages = list(messages)
    if not any(each.objects for each in messages):
        return messages
    present = present_objects()
    return [each for each in messages if not each.objects or not present.isdisjoint(each.objects)]


def present_objects() -> set[int]:
    """Return the `session_uid` of every object of the file."""
    return {each.session_uid for each in bpy.data.objects}


def each_once(messages: Iterable[Message]) -> list[Message]:
    """Return one message for each text, about the objects of all that have it."""
    merged: dict[str, Message] = {}
    for each in messages:
        earlier = merged.get(each.text)
        objects = each.objects if earlier is None else earlier.objects + each.objects
        merged[each.text] = replace(each, objects=objects)
    return list(merged.values())
