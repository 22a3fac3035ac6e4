"""What is built and installed; the settings of the tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Read the version from the source: importing the package would need its dependencies."""
    source = (ROOT / "pooldaemon" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError('pooldaemon/__init__.py has no line __version__ = "…"')
    return found[1]


MYSQL = ["mysqlclient>=2.2.1"]
OPENTELEMETRY = ["opentelemetry-sdk>=1.30,<2"]
PROMETHEUS = ["prometheus-client>=0.20"]
TOP = ["rich>=13.7"]
EXAMPLE = ["dj-database-url>=2.2", *TOP, "urllib3>=2.2"]
# Servers that fork. uWSGI is not among them: it has to be compiled.
SERVERS = ["celery>=5.5", "gunicorn>=23"]
SPHINX = ["furo>=2024.8", "sphinx>=8.1"]
PYTEST = ["pytest>=8.2", "pytest-django>=4.11", "pytest-timeout>=2.3", "pytest-xdist>=3.6"]

setup(
    name="pooldaemon",
    version=read_version(),
    description="Pooled MySQL and MariaDB connections for Django, and daemons that run on them.",
    long_description=(ROOT / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="pooldaemon contributors",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["pooldaemon", "pooldaemon.*"]),
    include_package_data=True,
    zip_safe=False,
    python_requires=">=3.11",
    install_requires=[
        "Django>=5.2,<6.2",
        # The default pool leans on names SQLAlchemy does not promise to keep.
        "SQLAlchemy>=2.0,<2.2",
        "python-daemon>=3.1",
    ],
    # By this name, and not a shorter one, it is the same plugin with -p and without.
    entry_points={"pytest11": ["pooldaemon.pytest_plugin = pooldaemon.pytest_plugin"]},
    extras_require={
        "mysql": MYSQL,
        "top": TOP,
        "example": EXAMPLE,
        "pytest": ["pytest>=8.2"],
        "opentelemetry": OPENTELEMETRY,
        "prometheus": PROMETHEUS,
        "test": [
            *MYSQL,
            *EXAMPLE,
            *TOP,
            *PYTEST,
            *SERVERS,
            *OPENTELEMETRY,
            *PROMETHEUS,
            *SPHINX,
            "hypothesis>=6.100",
            "pyyaml>=6",
            "eventlet>=0.36",
            "gevent>=24.10",
            "opentelemetry-instrumentation-mysqlclient>=0.51b0",
            "grafana-foundation-sdk",  # its versions are numbered by Grafana's, in epochs
            "selenium>=4.25",
            "uvicorn>=0.30",
        ],
        "bench": [
            *MYSQL,
            *EXAMPLE,
            *SERVERS,
            *OPENTELEMETRY,
            *PROMETHEUS,
            "django-db-connection-pool>=1.2.6",
            "matplotlib>=3.9",
        ],
        # What Django's tests skip themselves without, services excepted.
        "conformance": [
            *MYSQL,
            *("aiosmtpd", "argon2-cffi", "bcrypt", "docutils", "geoip2", "jinja2", "numpy"),
            *("Pillow", "PyYAML", "tblib", "tzdata"),
        ],
        # Up to a bound: a linter's new release must not turn a clean tree red.
        "lint": [
            *PYTEST,  # mypy reads the tests' helpers, and the types of what is exported to
            *EXAMPLE,  # and the settings, for the types of models
            *OPENTELEMETRY,
            *PROMETHEUS,
            "django-stubs>=6.1,<6.2",
            "import-linter>=2.16,<3",
            "mypy>=2.4,<2.5",
            "ruff>=0.17.5,<0.18",
        ],
        "docs": [*SPHINX, *OPENTELEMETRY, *PROMETHEUS],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.1",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Database",
        "Typing :: Typed",
    ],
)
