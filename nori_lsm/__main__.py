import sys

from nori_lsm.cli import main

if __name__ == "__main__":
    sys.exit(main())
