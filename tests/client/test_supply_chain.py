"""What the managed environment is made of: pinned, with hashes, under licences that go together."""

from __future__ import annotations

import re
import sys

import extension_package
import pytest

ROOT = extension_package.ROOT
sys.path.insert(0, str(ROOT / "scripts"))

import list_licences  # noqa: E402

UNHASHED = {"torch"}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_file_but_torch_s_has_its_hash() -> None:
    text = (ROOT / "constraints-hashed.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    hashed = {entry[0]: entry[1:] for entry in entries}
    assert set(hashed) == {
        f"{_normalized(name)}=={version}" for name, version in list_licences.pins()
    }
    for pin, hashes in hashed.items():
        if pin.partition("==")[0] in UNHASHED:
            assert not hashes
        else:
            assert hashes
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes)


def test_the_list_of_licences_is_that_of_the_pins() -> None:
    written = list_licences.DOCUMENT.read_text(encoding="utf-8")
    assert written == list_licences.document(), "run scripts/list_licences.py"


@pytest.mark.parametrize("name", [name for name, _ in list_licences.pins()])
def test_licences_go_together_with_the_gpl(name: str) -> None:
    assert list_licences.incompatible(list_licences.licence_of(name)) == []


def test_what_is_not_known_to_be_compatible_is_noticed() -> None:
    assert list_licences.incompatible("MIT AND (BSD-2-Clause OR SSPL-1.0)") == ["SSPL-1.0"]
    assert list_licences.incompatible("Apache-2.0 WITH LLVM-exception AND GPL-2.0-only") == [
        "GPL-2.0-only"
    ]
