"""What the method and path of a REST request ask for, by TF Serving's rules."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from serving.server.serving_error import Code, ServingError, invalid

# The paths are matched whole, with the query string, before %-decoding: so does the real one.
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.ASCII)
_VERSION_OR_LABEL = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_POST = re.compile(rf"/v1/models/([^/:]+){_VERSION_OR_LABEL}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_GET = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION_OR_LABEL}(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_INT64_MAX = 2**63 - 1


class VersionTooLargeError(ServingError):
    """A version above int64. TF Serving answers it with an empty body."""


@dataclass(frozen=True)
class Target:
    """What a path names.

    Attributes:
        name: The model; "" when the path has none.
        version: The version or None.
        label: The version label or None.
        verb: predict, classify, regress, metadata, or "" for the status.
    """

    name: str
    version: int | None
    label: str | None
    verb: str


def is_api(path: str) -> bool:
    """Whether a path belongs to the API; all others are unknown pages."""
    return _API.fullmatch(path) is not None


def parse_target(method: str, path: str) -> Target:
    """Reads a request line.

    Args:
        method: The HTTP method.
        path: Path and query string, still %-encoded.

    Returns:
        What it asks for.

    Raises:
        VersionTooLargeError: The version is above int64.
        ServingError: INVALID_ARGUMENT "Malformed request: <method> <path>".
    """
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise invalid(f"Malformed request: {method} {path}")
    name, version, label, verb = match.groups()
    number = _version_number(version) if version else None
    # The pattern ignores case, the dispatch after it does not.
    if method == "POST" and verb not in ("classify", "regress", "predict"):
        raise invalid(f"Malformed request: {method} {path}")
    return Target(
        name=unquote(name or "", errors="surrogateescape"),
        version=number,
        label=unquote(label, errors="surrogateescape") if label else None,
        verb=verb if verb in ("classify", "regress", "predict", "metadata") else "",
    )


def _version_number(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    # Python refuses to read very long numbers; all of them are above int64.
    number = int(significant) if len(significant) <= 19 else _INT64_MAX + 1
    if number > _INT64_MAX:
        raise VersionTooLargeError(Code.INVALID_ARGUMENT, f"Failed to convert version: {digits} to numeric.")
    return number
