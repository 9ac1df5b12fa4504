"""The package and its extras; also what Beam's --setup_file points at."""

from pathlib import Path

from setuptools import find_packages, setup

# Every command prints with these two; all else belongs to an extra.
BASE = ["typer>=0.29,<1", "rich>=13"]
CLIENT = ["numpy>=1.26,<3", "httpx>=0.27", "grpcio>=1.60", "protobuf>=4.25", "tensorflow-serving-api>=2.16,<2.22"]
SERVING = [
    *CLIENT,
    "tensorflow>=2.16,<2.22",
    "starlette>=0.37",
    "uvicorn>=0.29",
    "psutil>=5.9",
    "pyyaml>=6",
    "grpcio-health-checking>=1.60",
    "cryptography",  # the certificates of `twin conformance`
]
# What `twin refresh` needs: no TFX, tfx-bsl or training code.
REFRESH = [
    "tensorflow>=2.16,<2.22",
    "tf-keras>=2.16,<2.22",
    "tensorflow-metadata>=1.16,<1.22",
    "tensorflow-serving-api>=2.16,<2.22",
    "apache-beam>=2.60,<3",
    "numpy>=1.26,<3",
    "pyarrow>=10",
    "pydantic>=2.6,<3",
    "pyyaml>=6",
]
PIPELINES = [
    "tfx>=1.16,<1.22",
    "tensorflow>=2.16,<2.22",
    "tf-keras>=2.16,<2.22",
    "tensorflow-recommenders>=0.7.7,<0.8",
    "apache-beam>=2.60,<3",
    "pyarrow>=10",
    "pydantic>=2.6,<3",
    "pyyaml>=6",
    "psutil>=5.9",
    "scikit-learn>=1.4",
    "scipy>=1.10",
    "threadpoolctl>=3",
    "nltk>=3.8",
    "dill",  # tfx-bsl imports it; Beam has it only as an extra
    "pip",  # TFX builds and installs a wheel of the user's modules
]
DEV = [
    *SERVING,
    *PIPELINES,
    "kfp-pipeline-spec",
    "prometheus-client>=0.20",
    "pytest>=8",
    "pytest-xdist>=3",
    "hypothesis>=6",
    "ruff>=0.6",
    "mypy>=1.11",
]

setup(
    name="twin-ctr",
    version="0.1.0",
    description="TWIN: click-through rates from life-long user histories, on TensorFlow and TFX",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # From 3.11 on for enum.StrEnum; below 3.13 because tensorflow 2.16 to 2.19 have no wheels for it.
    python_requires=">=3.11,<3.13",
    py_modules=["twin"],
    packages=find_packages(include=["model*", "pipelines*", "serving*", "schemas*"]),
    package_data={"schemas": ["*/*.pbtxt", "*/*.yaml"], "pipelines": ["*.yaml"], "serving": ["deploy/*", "deploy/*/*"]},
    install_requires=BASE,
    extras_require={"client": CLIENT, "serving": SERVING, "refresh": REFRESH, "pipelines": PIPELINES, "dev": DEV},
    entry_points={"console_scripts": ["twin=twin:main"]},
    classifiers=["Operating System :: POSIX :: Linux", "Programming Language :: Python :: 3.11"],
)
