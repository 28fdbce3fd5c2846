"""`python -m tierlink`: the command line, where the console script is not on the path."""

from tierlink.cli import main

if __name__ == "__main__":
    main()
