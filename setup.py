"""What pyproject.toml cannot say: `configs/` becomes `mxjax._configs`."""

from setuptools import find_namespace_packages, setup

CONFIGS = {"mxjax._configs": "configs", "mxjax._configs.prompts": "configs/prompts"}

setup(packages=[*find_namespace_packages(include=["mxjax", "mxjax.*"]), *CONFIGS], package_dir=CONFIGS)
