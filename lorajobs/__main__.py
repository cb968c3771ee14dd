"""`python -m lorajobs` is `lorajobs`."""

from lorajobs.cli import main

# A worker's child may import this file again under another name.
if __name__ == "__main__":
    main()
