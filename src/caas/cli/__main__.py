"""`python -m caas.cli`: the command line, for programs that start it as a module."""

from caas.cli import main

if __name__ == "__main__":
    main()
