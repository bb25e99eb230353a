"""``python -m compiler`` is ``tunesmith``."""

from compiler.cli import main

if __name__ == "__main__":
    main()
