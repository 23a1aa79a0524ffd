"""From what pip and uv print when they fail to one sentence that helps an artist."""

from __future__ import annotations

import re

from .environment import spoken_versions
from .install_request import InstallOptions, Step

_PERMISSION = re.compile(
    r"permission denied|access is denied|os error 13\b|os error 5\b|winerror 5\b|errno 13\b"
    r"|read-only file system|os error 30\b",
    re.IGNORECASE,
)
_IN_USE = re.compile(r"os error 32\b|winerror 32\b|being used by another process", re.IGNORECASE)
_DISK_FULL = re.compile(
    r"no space left|not enough space|disk quota|os error 28\b|os error 112\b|errno 28\b",
    re.IGNORECASE,
)
_LONG_PATH = re.compile(
    r"os error 206\b|winerror 206\b|os error 36\b|file ?name too long|filename or extension is too",
    re.IGNORECASE,
)
_PROXY = re.compile(
    r"proxyerror|cannot connect to proxy|tunnel error|proxy authentication|\b407\b", re.IGNORECASE
)
_TLS = re.compile(
    r"certificate_verify_failed|invalid peer certificate|unknownissuer|certificate verify failed"
    r"|self[- ]signed certificate|sslerror|badsignature",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(
    r"\b40[13] (client error|unauthorized|forbidden)|status code.{0,40}\b40[13]\b"
    r"|lack of valid authentication",
    re.IGNORECASE,
)
_NO_WHEEL = re.compile(
    r"no wheels with |wheel for the current platform|not a supported wheel"
    r"|no wheels are available|wheels are not available",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"error sending request|dns error|failed to resolve|name resolution|name or service not known"
    r"|failed to establish a new connection|connection refused|connection reset|timed? ?out"
    r"|network is unreachable|newconnectionerror|request failed after|connection was broken"
    r"|incompleteread|network connectivity is disabled",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"(failed to fetch: |failed to download `|for url \()(?P<url>https?://[^\s)`]+)", re.IGNORECASE
)
_HOST = re.compile(r"https?://[^/]+")
_NOT_FOUND = re.compile(
    r"no matching distribution found for (?P<pip>[^\s(]+)"
    r"|because (?P<folder>\S+) was not found"
    r"|there is no version of (?P<index>\S+)",
    re.IGNORECASE,
)
_HASH = re.compile(r"hash mismatch for `(?P<package>[\w.-]+)==", re.IGNORECASE)
_RUNTIME_LIBRARY = re.compile(r"winerror (126|1114)|dll load failed", re.IGNORECASE)
_PLATFORM_HINT = re.compile(r"`(?P<package>[\w.-]+)` \(v[^)]+\)")
_BECAUSE_PACKAGE = re.compile(r"Because (?:all versions of )?(?P<package>[\w.-]+)")
_KILLED = "exit code -9"


def advise(step: Step, output: str, options: InstallOptions, root: str, log: str) -> str:
    """Return what went wrong and what to do about it, as one sentence.

    Parameters
    ----------
    step
        The step that failed.
    output
        The last lines that the failed command printed.
    options
        The settings of the installation, which decide what can be advised.
    root
        The folder of the installation.
    log
        The file that has all that was printed.
    """
    if _DISK_FULL.search(output):
        return f"The disk that holds {root} is full; free some space and install again."
    if _LONG_PATH.search(output):
        return (
            f"A path below {root} is too long for this system; enable long paths in Windows, or "
            "move Blender's user folder to a shorter path, and install again."
        )
    if _IN_USE.search(output):
        return f"A file below {root} is in use; close every other Blender and install again."
    if _PERMISSION.search(output):
        return (
            f"Files below {root} cannot be written; close every other Blender, see that your "
            "account may write to that folder, and install again."
        )
    if step is Step.PYTHON:
        return _no_python(output, options, log)
    if _TLS.search(output):
        return (
            "The package index's certificate is not trusted, as happens behind a proxy that opens "
            "encrypted connections; have the proxy's certificate installed in the system, or set "
            "SSL_CERT_FILE and PIP_CERT to its file, and install again."
        )
    if _PROXY.search(output):
        named = f"The proxy {_without_password(options.proxy)}" if options.proxy else "The proxy"
        return (
            f"{named} did not pass the download on; check the proxy in the Fairfield preferences "
            "and install again."
        )
    if _CREDENTIALS.search(output):
        return (
            "The package index refused the download (401 or 403); check the user name and "
            "password in the index URL and install again."
        )
    mismatch = _HASH.search(output)
    if mismatch:
        return (
            f"The file of {mismatch['package']} is not the one that Fairfield was tested with (its "
            "hash differs), so it is not installed; let the index or wheelhouse offer the "
            "package's original files, and install again."
        )
    if _NO_WHEEL.search(output):
        return _no_wheel(output, options)
    if _UNREACHABLE.search(output):
        return _unreachable(output, options, log)
    missing = _NOT_FOUND.search(output)
    if missing:
        package = next(group for group in missing.groups() if group).rstrip(",.;")
        return _not_found(package, options)
    if step is Step.VERIFY and _RUNTIME_LIBRARY.search(output):
        return (
            "The packages are installed but Windows lacks a library that they need; install the "
            "Microsoft Visual C++ Redistributable (x64) and install again."
        )
    if _KILLED in output:
        return (
            f"'{step.value}' was ended by the system, probably for lack of memory; close other "
            "programs and install again."
        )
    return (
        f"'{step.value}' failed: {_last_line(output)}; install again, and report the log if it "
        f"fails again: {log}."
    )


def _no_python(output: str, options: InstallOptions, log: str) -> str:
    if options.python:
        return (
            f"The Python {options.python!r} set in the Fairfield preferences cannot be used for "
            f"the backend; enter the path of a Python {spoken_versions()}, or clear it, and "
            "install again."
        )
    if options.wheelhouse:
        return (
            f"No Python {spoken_versions()} that suits the wheels in {options.wheelhouse} is on "
            "this computer; install one, or add wheels for the Python that is there, and install "
            "again."
        )
    host = _HOST.match(_address(output))
    return (
        f"No Python {spoken_versions()} is on this computer and one could not be downloaded"
        f"{f' from {host[0]}' if host else ''}; check the internet connection, or install such a "
        f"Python yourself, and install again. The log is {log}."
    )


def _unreachable(output: str, options: InstallOptions, log: str) -> str:
    index = _without_password(options.index_url)
    address = _address(output)
    if index and (not address or address.startswith(index)):
        return (
            f"The package index {index} cannot be reached; check its address in the Fairfield "
            f"preferences and the network, and install again. The log is {log}."
        )
    host = _HOST.match(address)
    named = host[0] if host else "The package index that pip uses"
    return (
        f"{named} cannot be reached; check the internet connection, or set a proxy, another "
        "package index or a wheelhouse folder in the Fairfield preferences, and install again. "
        f"The log is {log}."
    )


def _not_found(package: str, options: InstallOptions) -> str:
    if options.wheelhouse:
        return (
            f"The wheelhouse {options.wheelhouse} has no wheel of {package}; add it and install "
            "again."
        )
    if options.index_url:
        return (
            f"The package index {_without_password(options.index_url)} does not offer {package}; "
            "add it there, or clear the index URL in the Fairfield preferences, and install again."
        )
    return (
        f"The package index offers no {package}, or cannot be reached; check the internet "
        "connection and pip's configuration, and install again."
    )


def _no_wheel(output: str, options: InstallOptions) -> str:
    named = _PLATFORM_HINT.search(output) or _BECAUSE_PACKAGE.search(output)
    package = named["package"].split("==")[0] if named else "a package"
    if options.wheelhouse:
        return (
            f"The wheelhouse {options.wheelhouse} has {package} only for other systems or other "
            "versions of Python; add the wheel for this one and install again."
        )
    return (
        f"There is no build of {package} for this system (Macs with an Intel processor, for "
        "example, are no longer served); choose a Python environment or a command, such as ssh to "
        "another computer, as the backend in the Fairfield preferences."
    )


def _address(output: str) -> str:
    """The first address that could not be downloaded from; empty if none is named."""
    found = _ADDRESS.search(output)
    return _without_password(found["url"]) if found else ""


def _without_password(address: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", address)


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("exit code ")] or lines
    return told[-1].rstrip(".") if told else "it printed nothing"
