"""``python -m trialigngr``: the command line."""

from trialigngr.cli.main import main

if __name__ == "__main__":
    main()
