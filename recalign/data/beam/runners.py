"""Where the pipelines run."""

import dataclasses
import shlex
from collections.abc import Callable
from typing import Any

from recalign.errors import UserError

RUNNERS = {
    "direct": "DirectRunner",
    "dataflow": "DataflowRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
}
"""What --beam_runner may be, and Beam's name for it."""


@dataclasses.dataclass(frozen=True)
class Runner:
    """A way to run pipelines."""

    name: str  # a key of `RUNNERS`
    options: tuple[str, ...] = ()  # Beam's own flags, as on a command line

    def run(self, build: Callable[[Any], None]) -> None:
        """Builds a pipeline with `build(pipeline)`, runs it and waits for its end.

        A job that failed on other machines is a UserError; the local one's errors come as they are.
        """
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        # DirectRunner would look for a binary on the network before it falls back to this one.
        runner = FnApiRunner() if self.name == "direct" else RUNNERS[self.name]
        pipeline = beam.Pipeline(runner=runner, options=PipelineOptions(list(self.options)))
        build(pipeline)
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            if self.name == "direct":
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UserError(f"the pipeline failed on {self.name}: {reason}") from error


def find_runner(name: str, options: str, paths: list[str]) -> Runner:
    """The runner that was asked for, once it is clear that it can work.

    Args:
        name: a key of `RUNNERS`.
        options: Beam's own flags in one text, quoted as for a shell.
        paths: the files and directories that the workers must reach.
    """
    if name not in RUNNERS:
        raise UserError(f"--beam_runner {name!r} is none of {', '.join(RUNNERS)}")
    try:
        flags = tuple(shlex.split(options))
    except ValueError as error:
        raise UserError(f"--beam_options {options!r}: {error}") from error
    if flags and not flags[0].startswith("--"):
        raise UserError(f"--beam_options {options!r}: Beam's own flags, as in '--project=p'")
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--beam_runner {name} needs Apache Beam, which is not installed ({error}):"
            " pip install 'recalign[beam]'"
        ) from error
    if name == "dataflow":
        for path in paths:
            if "://" not in path:
                raise UserError(f"{path}: --beam_runner dataflow reaches gs:// paths only")
    return Runner(name, flags)
