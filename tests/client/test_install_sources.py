"""How pip's settings and the artist's become what uv is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from fairfield_extension.blender_addon.client import install_sources as sources
from fairfield_extension.blender_addon.client.environment import PYTHON_VERSIONS
from fairfield_extension.blender_addon.client.install_request import InstallOptions

NO_OPTIONS = InstallOptions()


def test_pip_settings_are_read_in_pips_order():
    listing = "\n".join(
        [
            ":env:.index-url='https://env.invalid/simple'",
            "global.index-url='https://global.invalid/simple'",
            "global.find-links='/first\\n/second'",
            "install.find-links='/third'",
            "global.cert=not a literal",
            "a line that is no setting",
        ]
    )
    assert sources.read_pip_settings(listing) == {
        "index-url": ["https://env.invalid/simple"],
        "find-links": ["/third"],
    }


def test_public_index_lets_uv_choose_the_build_of_torch():
    found = sources.uv_sources(NO_OPTIONS, {}, {"PATH": "p"})
    assert found.variables["UV_TORCH_BACKEND"] == "auto"
    assert found.arguments == []
    assert not found.offline


def test_a_chosen_build_of_torch_wins_everywhere():
    options = InstallOptions(torch_backend="cpu", index_url="https://mirror.invalid/simple")
    found = sources.uv_sources(options, {}, {"UV_TORCH_BACKEND": "cu128"})
    assert found.variables["UV_TORCH_BACKEND"] == "cpu"
    assert not found.cuda_expected


def test_variable_of_the_artist_chooses_the_build_of_torch():
    found = sources.uv_sources(NO_OPTIONS, {}, {"UV_TORCH_BACKEND": "cpu"})
    assert found.variables["UV_TORCH_BACKEND"] == "cpu"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (InstallOptions(index_url="https://mirror.invalid/simple"), {}),
        (NO_OPTIONS, {"index-url": ["https://mirror.invalid/simple"]}),
        (InstallOptions(find_links="/wheels"), {}),
        (NO_OPTIONS, {"find-links": ["/wheels"]}),
    ],
)
def test_a_studios_own_source_is_not_passed_over(
    options: InstallOptions, settings: dict[str, list[str]]
):
    found = sources.uv_sources(options, settings, {})
    assert "UV_TORCH_BACKEND" not in found.variables


def test_pips_settings_reach_uv():
    settings = {
        "index-url": ["https://mirror.invalid/simple"],
        "extra-index-url": ["https://a.invalid", "https://b.invalid"],
        "find-links": ["/wheels", "https://links.invalid"],
        "proxy": ["proxy.invalid:8080"],
        "cert": ["/certificates.pem"],
        "trusted-host": ["mirror.invalid"],
    }
    found = sources.uv_sources(NO_OPTIONS, settings, {})
    assert found.variables["UV_DEFAULT_INDEX"] == "https://mirror.invalid/simple"
    assert found.variables["UV_INDEX"] == "https://a.invalid https://b.invalid"
    assert found.variables["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found.variables["HTTPS_PROXY"] == "http://proxy.invalid:8080"
    assert found.variables["SSL_CERT_FILE"] == "/certificates.pem"
    assert found.variables["UV_INSECURE_HOST"] == "mirror.invalid"
    assert found.arguments == ["--find-links", "/wheels", "--find-links", "https://links.invalid"]


def test_the_preferences_win_over_pips_settings():
    options = InstallOptions(index_url="https://mine.invalid", proxy="http://mine.invalid:1")
    settings = {"index-url": ["https://theirs.invalid"], "proxy": ["theirs.invalid:2"]}
    found = sources.uv_sources(options, settings, sources.pip_variables(options, {}))
    assert found.variables["UV_DEFAULT_INDEX"] == "https://mine.invalid"
    assert found.variables["PIP_INDEX_URL"] == "https://mine.invalid"
    assert found.variables["HTTPS_PROXY"] == "http://mine.invalid:1"


def test_wheelhouse_stays_offline(tmp_path: Path):
    folder = tmp_path / "wheel house"
    folder.mkdir()
    options = InstallOptions(wheelhouse=str(folder), index_url="https://unused.invalid")
    variables = sources.pip_variables(options, {"PIP_FIND_LINKS": "/elsewhere"})
    assert variables["PIP_NO_INDEX"] == "1"
    assert variables["PIP_FIND_LINKS"] == folder.as_uri()
    assert " " not in variables["PIP_FIND_LINKS"]
    found = sources.uv_sources(options, {"extra-index-url": ["https://unused.invalid"]}, variables)
    assert found.offline
    assert found.arguments == ["--no-index", "--offline", "--find-links", str(folder)]
    assert not {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_TORCH_BACKEND"} & found.variables.keys()


def test_variables_that_would_redirect_the_installation_are_dropped():
    given = {
        "UV_PYTHON": "3.9", "UV_SYSTEM_PYTHON": "1", "UV_CONSTRAINT": "x", "PIP_TARGET": "/x",
        "UV_INDEX_STUDIO_PASSWORD": "secret", "UV_HTTP_TIMEOUT": "90", "PIP_CERT": "/c",
    }  # fmt: skip
    kept = sources.pip_variables(NO_OPTIONS, given)
    assert kept.keys() & given.keys() == {"UV_INDEX_STUDIO_PASSWORD", "UV_HTTP_TIMEOUT", "PIP_CERT"}


def test_wheelhouse_decides_the_python(tmp_path: Path):
    assert sources.python_versions("") == PYTHON_VERSIONS
    for name in ("pure-1-py3-none-any.whl", "stable-1-cp38-abi3-linux_x86_64.whl"):
        (tmp_path / name).touch()
    assert sources.python_versions(str(tmp_path)) == PYTHON_VERSIONS
    (tmp_path / "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl").touch()
    (tmp_path / "old-1-cp39-cp39-manylinux_2_28_x86_64.whl").touch()
    assert sources.python_versions(str(tmp_path)) == ((3, 12),)


def test_needed_space(tmp_path: Path):
    assert sources.needed_bytes(NO_OPTIONS, cuda_expected=False) == 3e9
    assert sources.needed_bytes(NO_OPTIONS, cuda_expected=True) == 12e9
    (tmp_path / "a.whl").write_bytes(bytes(1000))
    options = InstallOptions(wheelhouse=str(tmp_path))
    assert sources.needed_bytes(options, cuda_expected=False) == 4000
