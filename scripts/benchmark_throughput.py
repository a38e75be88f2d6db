"""Measure SignFlow against its in-process limit; the same as ``python -m benchmarks.throughput``.

python scripts/benchmark_throughput.py --mode batch --batch-size 32
python scripts/benchmark_throughput.py --help
"""

import sys

from benchmarks.throughput import main

if __name__ == "__main__":
    sys.exit(main())
