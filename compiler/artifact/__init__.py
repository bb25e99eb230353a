"""The artifact: C interface, runtime sources, link, manifest and report."""
