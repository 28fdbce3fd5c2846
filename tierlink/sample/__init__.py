"""The sample: a traction battery, from lithium carbonate to the vehicle, made anew from a seed.

The companies, their products and every address are invented. Keys follow from the seed, so that
whoever knows it can sign for the sample: load it to try things out, never beside real data.
"""

from .battery import DEFAULT_SEED, EXAMPLES, examples, plan

__all__ = ["DEFAULT_SEED", "EXAMPLES", "examples", "plan"]
