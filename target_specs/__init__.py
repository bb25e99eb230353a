"""One TOML file for each target; README.md explains every key."""
