"""The command line: python -m lib COMMAND."""

from lib.apps.cli.main import main

if __name__ == "__main__":
    main()
