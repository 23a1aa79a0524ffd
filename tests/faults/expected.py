"""What the artist must read of each fault, and the limits that a sweep runs under."""

from __future__ import annotations

ANSWER = "answer"
"""The stage in the middle of the answer's bytes."""

# What the artist reads; None where the fault is survived without a word.
EXPECTED: dict[str, str | None] = {
    "kill": r"was killed \(signal 9\).*click again",
    "segfault": r"crashed \(signal 11\).*click again",
    "abort": r"crashed \(signal 6\).*click again",
    "exit": r"ended with exit code 3",
    "stop": r"gave no sign of life for .* click again",
    "hold-lock": r"gave no sign of life for .* click again",
    "loop": "",
    "no-memory": r"[Nn]ot enough memory to .*\. Close other programs",
    "little-memory": r"[Mm]emory|crashed \(signal",
    "error": r"The backend failed to \w+: RuntimeError: something that nobody foresaw",
    "garbage": r"sent what is not a Fairfield frame",
    "hang-up": r"closed its output; click again",
    "chatter": None,
}
BEFORE_GREETING = {
    "kill": EXPECTED["kill"],
    "segfault": EXPECTED["segfault"],
    "abort": EXPECTED["abort"],
    "exit": EXPECTED["exit"],
    "stop": r"did not answer within .* check the backend's command",
    "no-memory": r"ran out of memory",
    "error": r"ended with exit code 1; its last words were: .*nobody foresaw",
    "chatter": None,
}
IN_ANSWER = {name: EXPECTED[name] for name in ("kill", "segfault", "exit", "stop", "garbage")}
LIMITS = {
    ("backend", "PING_SECONDS"): 0.2,
    ("backend", "QUIET_SECONDS"): 0.4,
    ("backend", "HUNG_SECONDS"): 4.0,
    ("backend", "HELLO_SECONDS"): 20.0,
    ("jobs", "CANCEL_SECONDS"): 1.0,
}
"""Shorter than in Blender, so that a sweep ends today."""


def expected_words(fault: str, stage: str) -> str | None:
    """Return the pattern of the sentence; None for a fault that is survived without a word."""
    kinds = {"0": BEFORE_GREETING, ANSWER: IN_ANSWER}
    return kinds.get(stage, EXPECTED)[fault]
