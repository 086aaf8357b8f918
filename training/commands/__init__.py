"""The commands of anomalyd-train, one file each: `add` says its options, `run` does it and returns the exit status."""
