"""Arguments that several benchmarks of training steps have; without heavy imports, so that --help comes at once."""

from __future__ import annotations

import argparse


def add_workload(parser: argparse.ArgumentParser) -> None:
    """What is trained on, and how: pictures, gated blocks, precision."""
    parser.add_argument('--images', type=int, default=1, help='of a sample, all distinct; default: %(default)s')
    parser.add_argument('--text-only', type=float, default=0.0, help='share of samples without any; default: none')
    parser.add_argument('--every', type=int, default=1, help='layers from one gated block to the next; default: 1')
    parser.add_argument('--precision', choices=('fp32', 'bf16'), default='fp32')
