"""A network of four nodes on one machine, to try what companies do between their nodes.

process     one node in a process of its own, started and ended
tethered    what that process runs: a node that ends with the network
network     which nodes there are, where, and how they join each other
chain       the sample supply chain, spread over them, and what its companies grant
tour        what to try, in words
"""
