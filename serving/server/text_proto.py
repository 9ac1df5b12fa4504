"""Configuration files in protobuf's text format."""

import os
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from model.errors import UserError

Proto = TypeVar("Proto", bound=Message)


class TextProtoError(UserError):
    """A configuration file that cannot be read or is no text proto of its kind."""


def read_text_proto(path: str | os.PathLike[str], message: Proto) -> Proto:
    """Fills a message from a file.

    Args:
        path: The file, UTF-8.
        message: An empty message of the expected type; it is filled and returned.

    Raises:
        TextProtoError: The file is missing, unreadable or malformed; names file, line and column.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise TextProtoError(f"{path}: {error.strerror}; expected a text proto {message.DESCRIPTOR.name}") from None
    try:
        text_format.Parse(content.decode(), message)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TextProtoError(f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x})") from None
    except text_format.ParseError as error:
        place = f"{path}:{error.GetLine()}:{error.GetColumn()}" if error.GetLine() else str(path)
        # The parser repeats line and column before its text.
        reason = str(error).split(" : ", 1)[-1]
        raise TextProtoError(f"{place}: {reason} (reading a {message.DESCRIPTOR.name})") from None
    return message
