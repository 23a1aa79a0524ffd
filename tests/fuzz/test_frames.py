"""Nearly right streams, and the inputs that a coverage-guided fuzzer found, on both sides."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fairfield import wire
from frame_oracle import check, read, spoil, valid_frames
from hypothesis import given
from hypothesis import strategies as st

CORPUS = sorted(Path(__file__).with_name("corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_inputs_of_the_corpus(path: Path) -> None:
    data = path.read_bytes()
    for expect_magic in (False, True):
        check(data[1:], expect_magic=expect_magic, step=1 + data[0] // 2)


@pytest.mark.parametrize("seed", range(200))
def test_spoiled_streams(seed: int) -> None:
    generator = random.Random(seed)
    stream = spoil(generator, valid_frames(generator, 5))
    check(stream, expect_magic=False, step=generator.randrange(1, 60))
    check(wire.MAGIC + stream, expect_magic=True, step=generator.randrange(1, 60))


@given(st.randoms(use_true_random=False), st.integers(1, 50))
def test_whole_frames_come_out_as_they_went_in_whatever_their_order(generator, step) -> None:
    """Duplicated and reordered frames are still frames; what they mean is for the reader above."""
    frames = valid_frames(generator, 4)
    order = [generator.randrange(4) for _ in range(6)]
    reading = read(b"".join(frames[number] for number in order), step, expect_magic=False)
    assert not reading.refused
    alone = [read(frame, len(frame), expect_magic=False).frames[0].header for frame in frames]
    assert [frame.header for frame in reading.frames] == [alone[number] for number in order]


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check(data, expect_magic=False)
    check(wire.MAGIC + data, expect_magic=True)


@pytest.mark.parametrize("version", [0, 2, 10, 999_999_999])
def test_frames_of_another_version_are_refused_with_the_remedy(version: int) -> None:
    stream = b"motd\nfairfield-frames %d\n" % version
    for step in (1, len(stream)):
        reader = wire.FrameReader(expect_magic=True)
        with pytest.raises(wire.VersionMismatch, match=f"protocol {version} .*the same version"):
            for start in range(0, len(stream), step):
                list(reader.feed(stream[start : start + step]))
