"""EPCIS 2.0 events in JSON-LD: read strictly, hashed by CBV 2.0, and what they say of links.

    jsonld      bounded JSON whose numbers stay exact; contexts, without ever fetching one
    gs1         GS1 keys: EPC URNs and Digital Link URIs, one canonical path for both
    vocabulary  the words of CBV and the measurement types
    fields      the members of an event, taken one by one; every refusal names event and member
    event       the five event types
    document    EPCISDocument and EPCISQueryDocument
    eventhash   the event hash of CBV 2.0, ni:///sha-256;…?ver=CBV2.0
    naming      from an EPC to an identifier under the prefix of who captures
    moves       what an event says of links: opened, closed, seen
    periods     what one side of a link states after such moves

Everything here is pure. The package refers to `schemas` by its name, since it lies below it.
"""
