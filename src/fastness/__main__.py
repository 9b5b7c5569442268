"""`python -m fastness`."""

from fastness.interfaces.cli import main

if __name__ == "__main__":
    main()
