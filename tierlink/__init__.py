"""The roof: the command line, the composition of the wings, and the client that partners import."""
