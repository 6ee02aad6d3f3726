"""`python -m vggnet`, which is what `torchrun -m vggnet` starts."""

from vggnet.cli import main

if __name__ == "__main__":
    main()
