"""Which packages the wheel holds; everything else is in pyproject.toml, which cannot mix found packages with a renamed folder."""

from setuptools import find_namespace_packages, setup

setup(
    # Folders without Python files, such as cpu/kernels, count as packages too, so that their C text is installed.
    packages=[*find_namespace_packages(include=["hyperion", "hyperion.*"], exclude=["*__pycache__*"]), "hyperion_scenarios"],
    package_dir={"hyperion_scenarios": "scenarios"},       # the top-level folder scenarios/, under a name nobody else uses
)
