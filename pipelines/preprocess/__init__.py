"""Beam preprocessing: raw tables in; training examples, catalog and dead letters out."""

from pipelines.preprocess.job import OutputPaths, preprocess
from pipelines.preprocess.report import CountMismatchError, PreprocessReport
from pipelines.preprocess.split_config import SplitConfig

__all__ = ["CountMismatchError", "OutputPaths", "PreprocessReport", "SplitConfig", "preprocess"]
