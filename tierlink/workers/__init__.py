"""Several resolver processes on one host: one parent, which answers nothing, and its workers.

    accepting   each worker takes its share of the connections
    channel     the pair of sockets between the parent and a worker: what travels on it
    herald      the parent's side of freshness: polls once, and hands the batch to every worker
    following   a worker's side: which batch it may apply, and when it has to begin anew
    scraping    one page of metrics for all of them
    supervisor  begins workers, replaces those that die, renews them one by one, ends them

A worker itself is `tierlink.worker`. ADR 0021 tells why it is so, docs/operations.md how to run it.
"""
