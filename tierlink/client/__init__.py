"""The client of the HTTP API for partners' own programs, blocking and asynchronous.

call, problem, wire     one exchange as data; failures as exceptions; HTTP
reading, writing,
prefixes, custody, batch
                        what can be done, each operation written once for both clients
answer, verdict, trace  what programs get to see
blocking, asynchronous  the two clients
"""

from .answer import Answer, Links, Neighbour, Resolution, Target
from .asynchronous import AsyncClient
from .batch import Item, Result
from .blocking import Client
from .call import Retry
from .custody import Exchange
from .deliveries import OnItsWay
from .epcis import Captured
from .grants import Granted
from .notices import Recalled
from .prefixes import ApiKey, NewKey, PrefixView, ProvedKey
from .reading import Listed, Page, Proof, StandingLink, Version
from .trace import Blinded, Broken, Continuation, Edge, Node, Part, Trace
from .verdict import Delegated, Logged, Verdict, verify
from .writing import Asserted, Registered

__all__ = [
    "Answer",
    "ApiKey",
    "Asserted",
    "AsyncClient",
    "Blinded",
    "Broken",
    "Captured",
    "Client",
    "Continuation",
    "Delegated",
    "Edge",
    "Exchange",
    "Granted",
    "Item",
    "Links",
    "Listed",
    "Logged",
    "Neighbour",
    "NewKey",
    "Node",
    "OnItsWay",
    "Page",
    "Part",
    "PrefixView",
    "Proof",
    "ProvedKey",
    "Recalled",
    "Registered",
    "Resolution",
    "Result",
    "Retry",
    "StandingLink",
    "Target",
    "Trace",
    "Verdict",
    "Version",
    "verify",
]
