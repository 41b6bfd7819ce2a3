"""One cell in a process of its own: a Spec as JSON in, a line of JSON out."""

import gc
import json
import sys

from .cell import run_cell
from .spec import Spec


def main() -> None:
    gc.disable()  # The collector would walk millions of keys in the middle of a measurement.
    print(json.dumps(run_cell(Spec(**json.loads(sys.argv[1])))), flush=True)


if __name__ == "__main__":
    main()
