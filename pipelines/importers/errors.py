"""The error of every importer."""

from model.errors import UserError


class DataImportError(UserError):
    """A table to import is missing, empty or malformed; the message names file and column."""
