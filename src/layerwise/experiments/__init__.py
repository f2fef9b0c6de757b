"""Published results, run again: one file per table or claim, each a command (`python -m layerwise.experiments.NAME --help`)."""
