"""Pipeline options of every Beam job here: any runner and any Beam flag, with a sensible local default."""

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

IN_PROCESS_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Runs in this process, all of it Python, nothing to download."""

# DirectRunner first tries to download the Prism binary; without a network that costs time and prints errors.
_LOCAL_NAMES = frozenset({None, "DirectRunner", "SwitchingDirectRunner"})


def beam_options(args: Sequence[str] = ()) -> PipelineOptions:
    """Builds the options of a Beam job from command-line arguments.

    Args:
        args: Beam flags, passed through as they are, such as `["--runner=PortableRunner", "--job_endpoint=..."]`.
            Without `--runner`, or with `--runner=DirectRunner`, the job runs inside this process.

    Returns:
        The options; `PipelineOptions.from_dictionary` and `view_as` work on them as usual.
    """
    options = PipelineOptions(list(args))
    return in_process_by_default(options)


def in_process_by_default(options: PipelineOptions) -> PipelineOptions:
    """Replaces an absent or direct runner by the in-process one; leaves every other choice alone."""
    standard = options.view_as(StandardOptions)
    if standard.runner in _LOCAL_NAMES:
        standard.runner = IN_PROCESS_RUNNER
    return options
