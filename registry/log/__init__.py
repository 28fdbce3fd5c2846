"""The transparency log of a node: leaves, tree, sequencer, checkpoints, and their check."""
