"""Where pip and uv take packages from, and what that means for Python, torch and the disk.

pip fetches uv, and uv installs the rest. A studio configures pip (an index, certificates, a proxy)
and expects that to be enough, so pip's settings are handed on to uv, which does not read them.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .environment import PYTHON_VERSIONS
from .install_request import InstallOptions

GIGABYTE = 10**9
NEEDED_BYTES = 3 * GIGABYTE
NEEDED_BYTES_WITH_CUDA = 12 * GIGABYTE
# torch, scipy and numba take about 3.6 times the size of their wheels once unpacked.
UNPACKED_PER_PACKED = 4

# uv's settings about the network and indexes are the artist's to make. Its others, such as
# UV_SYSTEM_PYTHON or UV_CONSTRAINT, would change what is installed, or where.
_KEPT_UV_VARIABLES = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|INDEX_STRATEGY|TORCH_BACKEND"
    r"|INDEX_\w+_(USERNAME|PASSWORD)|KEYRING_PROVIDER|INSECURE_HOST|NATIVE_TLS|SYSTEM_CERTS"
    r"|OFFLINE|HTTP_TIMEOUT|HTTP_RETRIES|REQUEST_TIMEOUT|CONCURRENT_DOWNLOADS"
    r"|PYTHON_DOWNLOADS|PYTHON_INSTALL_MIRROR)"
)
_DROPPED_PIP_VARIABLES = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT")
_PYTHON_TAG = re.compile(r"-cp(\d)(\d+)-cp\1\2-")


@dataclass(frozen=True)
class UvSources:
    """What uv needs to know: variables, arguments of `uv pip install`, and whether it is offline.

    `cuda_expected` tells whether the torch that these sources offer brings CUDA's libraries.
    """

    variables: dict[str, str]
    arguments: list[str]
    offline: bool
    cuda_expected: bool


def pip_variables(options: InstallOptions, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for pip, starting from `variables`."""
    result = {
        name: value
        for name, value in _with_proxy(options.proxy, variables).items()
        if name not in _DROPPED_PIP_VARIABLES
        and (not name.startswith("UV_") or _KEPT_UV_VARIABLES.fullmatch(name))
    }
    result.update(PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_USER="0")
    if options.wheelhouse:
        # Written as an address because pip splits this variable at spaces.
        result.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=Path(options.wheelhouse).as_uri())
    elif options.index_url:
        result["PIP_INDEX_URL"] = options.index_url
    return result


def pip_arguments(options: InstallOptions) -> list[str]:
    """Return the arguments of `pip install` that `pip_variables` cannot express."""
    if options.find_links and not options.wheelhouse:
        return ["--find-links", options.find_links]
    return []


def read_pip_settings(listing: str) -> dict[str, list[str]]:
    """Read what `pip config list` prints into settings by name, each a list of its words.

    Settings of the `install` command replace general ones, and variables replace both, as in pip.
    """
    settings: dict[str, list[str]] = {}
    for section in ("global.", "install.", ":env:."):
        for line in listing.splitlines():
            name, equals, value = line.partition("=")
            if equals and name.startswith(section):
                try:
                    words = str(ast.literal_eval(value)).split()
                except (ValueError, SyntaxError):
                    continue
                if words:
                    settings[name.removeprefix(section)] = words
    return settings


def uv_sources(
    options: InstallOptions, settings: Mapping[str, list[str]], variables: Mapping[str, str]
) -> UvSources:
    """Decide how uv is called.

    Parameters
    ----------
    options
        The artist's settings.
    settings
        pip's settings, from `read_pip_settings`.
    variables
        What `pip_variables` returned.
    """
    result = dict(variables)
    # The certificates of the operating system know a studio's own TLS proxy.
    result.setdefault("UV_SYSTEM_CERTS", "1")
    if options.wheelhouse:
        arguments = ["--no-index", "--offline", "--find-links", options.wheelhouse]
        return UvSources(result, arguments, offline=True, cuda_expected=False)

    for name in ("proxy", "cert"):
        if name in settings and name == "proxy" and not options.proxy:
            result = _with_proxy(settings["proxy"][0], result)
        elif name in settings and name == "cert":
            result.setdefault("SSL_CERT_FILE", settings["cert"][0])
    if "trusted-host" in settings:
        result.setdefault("UV_INSECURE_HOST", " ".join(settings["trusted-host"]))

    index = options.index_url or " ".join(settings.get("index-url", [])[:1])
    if index:
        result.pop("UV_INDEX_URL", None)
        result["UV_DEFAULT_INDEX"] = index
    if "extra-index-url" in settings:
        result.setdefault("UV_INDEX", " ".join(settings["extra-index-url"]))
        # pip takes the best of all indexes; uv would stop at the first that knows a package.
        result.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")

    arguments = []
    links = [options.find_links] if options.find_links else []
    for link in links + settings.get("find-links", []):
        arguments += ["--find-links", link]
    if "no-index" in settings and settings["no-index"][0].lower() in ("1", "true", "yes", "on"):
        arguments += ["--no-index"]

    # The builds of torch for each graphics driver lie on an index of its makers that uv knows. It
    # would pass over an index or folder that the studio has named, so it is asked only without.
    own_source = bool(
        index or arguments or {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS"} & result.keys()
    )
    backend = options.torch_backend or ("" if own_source else "auto")
    if backend and (options.torch_backend or "UV_TORCH_BACKEND" not in result):
        result["UV_TORCH_BACKEND"] = backend
    return UvSources(
        result,
        arguments,
        offline=False,
        cuda_expected=_brings_cuda(result.get("UV_TORCH_BACKEND", ""), bool(arguments)),
    )


def python_versions(wheelhouse: str) -> tuple[tuple[int, int], ...]:
    """Return the versions of Python to try, the best first.

    The oldest comes first: it is the version inside most Blenders and the one for which every
    pinned package has had wheels for longest. A wheelhouse allows those for which it holds
    compiled packages.
    """
    if not wheelhouse:
        return PYTHON_VERSIONS
    tags = {
        (int(tag[1]), int(tag[2]))
        for name in _wheel_names(wheelhouse)
        if (tag := _PYTHON_TAG.search(name))
    }
    return tuple(version for version in PYTHON_VERSIONS if version in tags) or PYTHON_VERSIONS


def wheelhouse_bytes(wheelhouse: str) -> int:
    """Return the size of all wheels in the folder, in bytes."""
    return sum((Path(wheelhouse) / name).stat().st_size for name in _wheel_names(wheelhouse))


def needed_bytes(options: InstallOptions, *, cuda_expected: bool) -> int:
    """Return the free space that an installation needs, in bytes."""
    if options.wheelhouse:
        unpacked = UNPACKED_PER_PACKED * wheelhouse_bytes(options.wheelhouse)
        return min(unpacked, NEEDED_BYTES_WITH_CUDA)
    return NEEDED_BYTES_WITH_CUDA if cuda_expected else NEEDED_BYTES


def _wheel_names(folder: str) -> Iterable[str]:
    return (name for name in os.listdir(folder) if name.endswith(".whl"))


def _with_proxy(proxy: str, variables: Mapping[str, str]) -> dict[str, str]:
    result = dict(variables)
    if proxy:
        address = proxy if "://" in proxy else f"http://{proxy}"
        result["PIP_PROXY"] = address
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            result[name] = address
            # Where both are set, some programs read the lower-case one.
            if name.lower() in result:
                result[name.lower()] = address
    return result


def _brings_cuda(torch_backend: str, own_links: bool) -> bool:
    if sys.platform == "darwin" or torch_backend in ("cpu", "xpu"):
        return False
    if torch_backend == "auto":
        return _has_nvidia_driver()
    if torch_backend:
        return True
    # The public index's own build of torch for Linux on a PC has CUDA, that for Windows has not.
    return sys.platform == "linux" and platform.machine() == "x86_64" and not own_links


def _has_nvidia_driver() -> bool:
    if os.name == "nt":
        system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32"
        return (system / "nvcuda.dll").exists()
    return Path("/proc/driver/nvidia/version").exists() or bool(shutil.which("nvidia-smi"))
