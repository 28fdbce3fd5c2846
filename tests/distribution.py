"""Whether a statement could be sent to the machines that hold what it touches, and to no other.

faults("SELECT … FROM identifiers WHERE …")      [] or what is amiss, a line each

It is read by a parser of SQL, not by patterns, and conservatively: each mention of a distributed
table needs an equality for its `unit` among the AND-ed conditions of its own query, with a
parameter, with a column `unit` of something that is no such table, or with the unit of one that
has its own. What is inserted or copied has to name the column, and so has a conflict target.
`changes` may be followed by position instead: whoever does so asks each machine for itself.
"""

import re
from collections.abc import Iterator

from sqlglot import exp, parse_one

from registry.store.tables import DISTRIBUTED

COLUMN = "unit"
UNITS = (COLUMN, "far_unit")  # columns that hold one
NAMES = frozenset(table.name for table in DISTRIBUTED)
FOLLOWED = ("changes", "xid")  # the table, and its position

_MENTION = re.compile(rf"\b({'|'.join(sorted(NAMES))})\b", re.IGNORECASE)
_COPY = re.compile(r"COPY (\w+) \(([\w, ]+)\)")
_QUERIES = (exp.Select, exp.Update, exp.Delete, exp.Insert)


def faults(statement: str) -> list[str]:
    """Say what keeps a statement from being sent by unit."""
    copied = _COPY.fullmatch(statement)
    if copied:
        table, columns = copied[1], copied[2].split(", ")
        amiss = table in NAMES and COLUMN not in columns
        return [f"COPY {table} without {COLUMN}"] if amiss else []
    found = []
    for mention in mentions(statement):
        query = mention.find_ancestor(*_QUERIES)
        assert query is not None
        if isinstance(query, exp.Insert):
            found += _inserted(query, mention.name)
        elif not (_is_anchored(query, mention.alias_or_name) or _is_followed(query, mention)):
            found.append(f"{mention.sql()} without {COLUMN} in: {query.sql(dialect='postgres')}")
    return found


def touched(statement: str) -> set[str]:
    """Return the names of the distributed tables that a statement touches."""
    copied = _COPY.fullmatch(statement)
    if copied:
        return {copied[1]} & NAMES
    return {mention.name for mention in mentions(statement)}


def mentions(statement: str) -> Iterator[exp.Table]:
    """Yield each place where a distributed table stands."""
    if not _MENTION.search(statement):
        return  # such as what the driver asks of the catalogue, which the parser need not know
    tree = parse_one(statement, dialect="postgres")
    shadowed = {cte.alias for cte in tree.find_all(exp.CTE)}
    assert not shadowed & NAMES, f"a part of the statement is called like a table: {shadowed}"
    for table in tree.find_all(exp.Table):
        if table.name in NAMES:
            yield table


def _inserted(query: exp.Insert, table: str) -> list[str]:
    target = query.this
    columns = [item.name for item in target.expressions] if isinstance(target, exp.Schema) else []
    found = [] if COLUMN in columns else [f"INSERT INTO {table} without {COLUMN}"]
    conflict = query.args.get("conflict")
    keys = conflict.args.get("conflict_keys") if conflict else None
    if keys and COLUMN not in [key.name for item in keys for key in item.find_all(exp.Identifier)]:
        found.append(f"ON CONFLICT of {table} without {COLUMN}")
    return found


def _is_anchored(query: exp.Expression, alias: str) -> bool:
    """Tell whether the unit of this source is known before any of its rows is."""
    sources = list(_sources(query))
    distributed = {source.alias_or_name for source in sources if source.name in NAMES}
    known: set[str] = set()
    pairs: list[tuple[str, str]] = []
    for left, right in _equalities(query):
        for this, other in ((left, right), (right, left)):
            source = _unit_of(this, distributed, alone=len(sources) == 1)
            if source is None:
                continue
            beside = _unit_of(other, distributed, alone=False)
            if beside is not None:
                pairs.append((source, beside))
            elif _is_known(other):
                known.add(source)
    for _ in pairs:
        known |= {a for a, b in pairs if b in known}
    return alias in known


def _sources(query: exp.Expression) -> Iterator[exp.Expression]:
    """Yield what a query reads from, the target of an UPDATE or DELETE first."""
    if not isinstance(query, exp.Select):
        yield query.this
    for given in (*_froms(query), *_joins(query)):
        yield given.this if isinstance(given, exp.From | exp.Join) else given


def _froms(query: exp.Expression) -> list[exp.Expression]:
    given = query.args.get("from_") or query.args.get("from")
    return [*([given] if given else []), *(query.args.get("using") or [])]


def _joins(query: exp.Expression) -> list[exp.Join]:
    """Return the joins of a query; of UPDATE … FROM and DELETE … USING they hang on the source."""
    nested = [
        join
        for given in _froms(query)
        for join in (given.this if isinstance(given, exp.From) else given).args.get("joins") or ()
    ]
    return [*(query.args.get("joins") or ()), *nested]


def _equalities(query: exp.Expression) -> Iterator[tuple[exp.Expression, exp.Expression]]:
    """Yield both sides of each equality that every row of the query has to meet."""
    where = query.args.get("where")
    conditions = [where.this] if where else []
    # The condition of an outer join keeps no row of the other side out: it counts for nothing.
    conditions += [
        join.args["on"] for join in _joins(query) if join.args.get("on") and not join.side
    ]
    while conditions:
        condition = conditions.pop()
        if isinstance(condition, exp.Paren):
            conditions.append(condition.this)
        elif isinstance(condition, exp.And):
            conditions += [condition.left, condition.right]
        elif isinstance(condition, exp.EQ):
            yield condition.left, condition.right


def _unit_of(side: exp.Expression, distributed: set[str], *, alone: bool) -> str | None:
    """Return the alias whose column `unit` this is; an unqualified one if it is the only source."""
    if not isinstance(side, exp.Column) or side.name != COLUMN:
        return None
    if side.table in distributed:
        return side.table
    return next(iter(distributed)) if alone and not side.table and distributed else None


def _is_known(side: exp.Expression) -> bool:
    """Tell whether this is a value, or the unit of something that is no distributed table."""
    columns = list(side.find_all(exp.Column))
    if not columns:
        return True
    return isinstance(side, exp.Column) and bool(side.table) and side.name in UNITS


def _is_followed(query: exp.Expression, mention: exp.Table) -> bool:
    """Tell whether this reads `changes` from a position on, up to a snapshot's xmin."""
    table, position = FOLLOWED
    if mention.name != table or not isinstance(query, exp.Select):
        return False
    where = query.args.get("where")
    found = where.find_all(exp.GT, exp.GTE, exp.LT) if where else ()
    bounds = {type(item) for item in found if _names(item.left, position)}
    return exp.LT in bounds and len(bounds) > 1


def _names(side: exp.Expression, column: str) -> bool:
    return column in {item.name for item in side.find_all(exp.Column)}
