"""Every broken mesh through the command and through Python: one sentence, or an answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fairfield
import numpy as np
import pytest
from fairfield import command

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from broken_meshes import OUTCOMES, Expectation, broken_meshes


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_broken_mesh(name: str, shared_data: Path, tmp_path: Path, capsys) -> None:
    expected = OUTCOMES[name]
    vertices, triangles = next(mesh for found, *mesh in broken_meshes(shared_data) if found == name)
    path, output = tmp_path / f"{name}.npz", tmp_path / "field.safetensors"
    np.savez(path, vertices=vertices, faces=triangles)
    code = command.main(
        ["fit", str(path), "-o", str(output), "--preset", "draft", "--device", "cpu", "--json"]
    )
    printed, complained = capsys.readouterr()
    if expected.refused:
        assert code == command.BAD_INPUT
        assert complained.count("\n") == 1
        assert expected.refused in complained
        assert not output.exists()
        with pytest.raises(fairfield.FairfieldError, match=expected.refused):
            fairfield.fit(fairfield.TriangleMesh(vertices, triangles), "draft", device="cpu")
        return
    assert code == 0
    _check_report(json.loads(printed), expected)
    field = fairfield.load(output)
    jets = fairfield.smooth(field, vertices)
    assert len(jets.value) == len(vertices)
    missing = np.isnan(jets.mean_curvature)
    assert jets.unanswered == missing.sum()
    assert expected.unanswered or not missing.any()
    np.testing.assert_allclose(np.linalg.norm(jets.normals[~missing], axis=1), 1)


def _check_report(report: dict, expected: Expectation) -> None:
    assert expected.warned in " ".join(report["warnings"])
    assert bool(report["warnings"]) == bool(expected.warned)
    assert not expected.repaired or report["repairs"][expected.repaired] > 0
