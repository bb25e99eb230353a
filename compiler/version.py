"""The one place that says which release this is; `pyproject.toml` reads it from here."""

VERSION = "0.1.0"
