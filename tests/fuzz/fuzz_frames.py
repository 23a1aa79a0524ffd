"""Coverage-guided fuzzing of the frame reader, by hand: needs `pip install atheris`.

    python tests/fuzz/fuzz_frames.py -max_total_time=120 FOLDER tests/fuzz/corpus

The first byte of an input says which side reads it and how it is cut. New inputs that reach more of
the code are kept in FOLDER.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["fairfield.wire", "json"]):
    from frame_oracle import check


def try_input(data: bytes) -> None:
    """Take one input of the fuzzer."""
    if data:
        check(data[1:], expect_magic=bool(data[0] & 1), step=1 + data[0] // 2)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_input)
    atheris.Fuzz()
