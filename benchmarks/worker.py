"""One stage of one engine, in a process of its own: a Spec as JSON in, a line of JSON for each workload out."""

import gc
import json
import sys

from .stage import Spec
from .workloads import STAGES


def main() -> None:
    spec = Spec(**json.loads(sys.argv[1]))
    stage, _workloads = STAGES[spec.stage]
    # The collector would walk a million keys in the middle of a measurement.
    gc.disable()
    for measured in stage(spec):
        print(json.dumps(measured.to_dict()), flush=True)


if __name__ == "__main__":
    main()
