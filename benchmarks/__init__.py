"""Speed against the peers, measured side by side: `make bench`, or one `python -m benchmarks.X`."""
