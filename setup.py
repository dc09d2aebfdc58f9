"""The wheel holds the experiments: gin/ as recalign/gin (all else: pyproject.toml)."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExperiments(build_py):
    """Copies gin/, which lies beside the package so that T5X finds it from the repository's root.

    It is no package and must have no `__init__.py`, or it would hide gin-config.
    """

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            experiments = pathlib.Path(self.build_lib) / "recalign" / "gin"
            shutil.rmtree(experiments, ignore_errors=True)
            shutil.copytree("gin", experiments, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithExperiments})
