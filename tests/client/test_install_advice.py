"""What pip and uv really print when they fail, and the sentence that an artist gets."""

from __future__ import annotations

import pytest
from fairfield_extension.blender_addon.client.install_advice import advise
from fairfield_extension.blender_addon.client.install_request import InstallOptions, Step

NO_OPTIONS = InstallOptions()
WHEELHOUSE = InstallOptions(wheelhouse="/wheels")
MIRROR = InstallOptions(index_url="https://me:secret@mirror.invalid/simple")

UV_DNS = """\
error: Request failed after 3 retries in 6.3s
  cause: Failed to fetch: https://index.invalid/simple/tinyone/
  cause: error sending request for url (https://index.invalid/simple/tinyone/)
  cause: client error (Connect)
  cause: dns error
  cause: failed to lookup address information: Name or service not known
exit code 2"""
UV_NO_TORCH_INDEX = """\
error: Request failed after 3 retries in 13.0s
  cause: Failed to fetch: https://download.pytorch.org/whl/cpu/torch/
  cause: error sending request for url (https://download.pytorch.org/whl/cpu/torch/)
  cause: client error (Connect)
  cause: dns error
exit code 2"""
UV_PROXY = """\
error: Request failed after 3 retries in 4.0s
  cause: error sending request for url (https://index.invalid/simple/tinyone/)
  cause: client error (Connect)
  cause: tunnel error: failed to create underlying connection
  cause: tcp connect error
  cause: Connection refused (os error 111)"""
UV_TLS = """\
error: Request failed after 3 retries
  cause: error sending request for url (https://index.invalid/simple/tinyone/)
  cause: client error (Connect)
  cause: invalid peer certificate: UnknownIssuer"""
UV_NO_PACKAGE = """\
error: No solution found when resolving dependencies
  cause: Because tinyone was not found in the provided package locations and you require \
tinyone==1.0, we can conclude that your requirements are unsatisfiable."""
UV_NO_VERSION = """\
error: No solution found when resolving dependencies
  cause: Because there is no version of safetensors==99.0 and you require safetensors==99.0, we \
can conclude that your requirements are unsatisfiable."""
UV_NO_PLATFORM = """\
error: No solution found when resolving dependencies
  cause: Because torch==2.13.0 has no wheels with a matching platform tag (e.g., \
`macosx_14_0_x86_64`) and you require torch==2.13.0, we can conclude that your requirements are \
unsatisfiable.

hint: Wheels are available for `torch` (v2.13.0) on the following platform: `win_amd64`
exit code 1"""
PIP_NO_NETWORK = """\
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError(\
'<HTTPSConnection>: Failed to establish a new connection: [Errno 111] Connection refused')'
ERROR: Could not find a version that satisfies the requirement uv (from versions: none)
ERROR: No matching distribution found for uv>=0.8,<1
exit code 1"""
PIP_NO_PACKAGE = """\
ERROR: Could not find a version that satisfies the requirement uv<1,>=0.8 (from versions: none)
ERROR: No matching distribution found for uv<1,>=0.8"""
NO_PYTHON = """\
error: No interpreter found for Python 3.11 in managed installations
error: Request failed after 3 retries in 6.5s
  cause: Failed to download `https://github.com/builds/cpython-3.11.18-x86_64.tar.gz`
  cause: dns error"""


@pytest.mark.parametrize(
    ("step", "output", "options", "expected"),
    [
        (Step.PACKAGES, UV_DNS, NO_OPTIONS, "https://index.invalid cannot be reached; check the"),
        (Step.PACKAGES, UV_DNS.replace("index.invalid", "me:secret@mirror.invalid"), MIRROR,
         "The package index https://mirror.invalid/simple cannot be reached"),
        (Step.PACKAGES, UV_NO_TORCH_INDEX, NO_OPTIONS, "https://download.pytorch.org cannot be"),
        (Step.PACKAGES, UV_NO_TORCH_INDEX, MIRROR, "https://download.pytorch.org cannot be"),
        (Step.PACKAGES, UV_NO_TORCH_INDEX, NO_OPTIONS, "The log is /data/install.log."),
        (Step.TOOL, PIP_NO_NETWORK, NO_OPTIONS, "index that pip uses cannot be reached; check"),
        (Step.PACKAGES, UV_PROXY, InstallOptions(proxy="http://p:1"), "The proxy http://p:1 did"),
        (Step.PACKAGES, UV_TLS, NO_OPTIONS, "certificate is not trusted"),
        (Step.PACKAGES, UV_NO_PACKAGE, WHEELHOUSE, "/wheels has no wheel of tinyone;"),
        (Step.PACKAGES, UV_NO_VERSION, MIRROR, "does not offer safetensors==99.0;"),
        (Step.TOOL, PIP_NO_PACKAGE, WHEELHOUSE, "/wheels has no wheel of uv<1,>=0.8;"),
        (Step.PACKAGES, UV_NO_PLATFORM, NO_OPTIONS, "no build of torch for this system"),
        (Step.PACKAGES, UV_NO_PLATFORM, WHEELHOUSE, "has torch only for other systems"),
        (Step.PYTHON, NO_PYTHON, NO_OPTIONS, "could not be downloaded from https://github.com;"),
        (Step.PYTHON, NO_PYTHON, NO_OPTIONS, "The log is /data/install.log."),
        (Step.PYTHON, NO_PYTHON, WHEELHOUSE, "that suits the wheels in /wheels"),
        (Step.PYTHON, NO_PYTHON, InstallOptions(python="3.9"), "The Python '3.9' set in"),
        (Step.PACKAGES, "cause: No space left on device (os error 28)", NO_OPTIONS, "is full;"),
        (Step.TOOL, "[Errno 13] Permission denied: '/data'", NO_OPTIONS, "cannot be written;"),
        (Step.TOOL, "[WinError 32] it is being used by another process", NO_OPTIONS, "in use;"),
        (Step.PACKAGES, "The filename or extension is too long. (os error 206)", NO_OPTIONS,
         "too long for this system; enable long paths"),
        (Step.VERIFY, "OSError: [WinError 126] Error loading c10.dll", NO_OPTIONS,
         "Visual C++ Redistributable"),
        (Step.VERIFY, "exit code -9", NO_OPTIONS, "lack of memory"),
        (Step.VERIFY, "ImportError: odd\nexit code 1", NO_OPTIONS, "failed: ImportError: odd; in"),
    ],
)  # fmt: skip
def test_known_failures(step: Step, output: str, options: InstallOptions, expected: str):
    sentence = advise(step, output, options, "/data", "/data/install.log")
    assert expected in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "secret" not in sentence


def test_unknown_failure_shows_the_last_line():
    log = "/data/install.log"
    sentence = advise(Step.PACKAGES, "first\nsomething odd\n", NO_OPTIONS, "/data", log)
    assert sentence.startswith("'Installing packages' failed: something odd; install again")
    assert sentence.endswith(f"{log}.")
