"""Which packages the wheel holds; everything else is in pyproject.toml, which cannot mix found packages with a renamed folder."""

import sys

from setuptools import find_namespace_packages, setup

# Folders without Python files, such as cpu/kernels, count as packages too, so that their C text is installed.
packages = find_namespace_packages(include=["hyperion", "hyperion.*"], exclude=["*__pycache__*"])
if "editable_wheel" in sys.argv:
    # Nothing is renamed: then the checkout itself is on the path, and a folder above a clone called hyperion does not hide the package.
    setup(packages=packages, package_dir={"": "."})
else:
    # The top-level folder scenarios/, under a name nobody else uses. A checkout finds its scenarios without it.
    setup(packages=[*packages, "hyperion_scenarios"], package_dir={"hyperion_scenarios": "scenarios"})
