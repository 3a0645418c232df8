"""What the benchmarks share: models of the same sizes, samples of realistic lengths, and measuring in turn."""
