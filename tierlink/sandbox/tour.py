"""What to try in the network, in the order in which it makes sense."""

from __future__ import annotations

from collections.abc import Mapping

from .chain import RECALL
from .network import MINERALS, NAMES, ROOT, SECONDARY, VEHICLE, Network

_TELLS = {
    ROOT: "the root and 88",
    SECONDARY: "88.118, eight companies, 88.118.108 and 88.118.107 among them",
    VEHICLE: "88.118.109, the vehicle maker",
    MINERALS: "88.118.101, the maker of lithium salts",
}


def told(network: Network, named: Mapping[str, str]) -> str:
    """Return the text that is printed once everything is ready."""
    van, lot, pack = named["vehicle"], named["material_batch"], named["pack"]
    rows = "\n".join(f"  {name:<10} {network.url(name)}   {_TELLS[name]}" for name in NAMES)
    root, vehicle, minerals = (network.url(name) for name in (ROOT, VEHICLE, MINERALS))
    as_vehicle = f"TIERLINK_DATA_DIR={network.folder / VEHICLE} tierlink"
    as_minerals = f"TIERLINK_DATA_DIR={network.folder / MINERALS} tierlink"
    as_secondary = f"TIERLINK_DATA_DIR={network.folder / SECONDARY} tierlink"
    of_vehicle, of_minerals = (network.address[name].prefix for name in (VEHICLE, MINERALS))
    return f"""
{rows}

  one node asks another: any of them answers for all, and '?recursive=false' names who would know
    curl -s {root}/{van}
    curl -s '{root}/{van}?recursive=false'
    {as_vehicle} resolve {lot} --url {vehicle}

  need to know: nobody in particular sees the van alone; its maker sees the pack, what the pack
  maker opened to him, and pseudonyms where the module maker blinded; in a recall both ends see all
    {as_vehicle} trace {van} --url {vehicle}
    {as_vehicle} trace {van} --url {vehicle} --as {of_vehicle}
    {as_vehicle} trace {van} --url {vehicle} --as {of_vehicle} --no-across
    {as_vehicle} trace {van} --url {vehicle} --as {of_vehicle} --purpose {RECALL}
    {as_minerals} trace {lot} -d downstream --url {minerals} --as {of_minerals} --purpose {RECALL}
    {as_secondary} grant list {pack.partition("/")[0]} --url {network.url(SECONDARY)}

  links between companies: stated at one node, delivered to the other, mutual once both have
    {as_vehicle} register {of_vehicle}/VAN-1 --kind item --url {vehicle} --as {of_vehicle}
    {as_vehicle} link {pack} {of_vehicle}/VAN-1 --side downstream --url {vehicle} --as {of_vehicle}
    {as_vehicle} deliveries --url {vehicle} --as {of_vehicle}

  a node away: the trace names what it lacks, and goes on when the node does
    kill -STOP {network.nodes[SECONDARY].pid}; sleep 9; kill -CONT {network.nodes[SECONDARY].pid}

  a recursive node beside them: it holds nothing, needs no database, and answers for all
    TIERLINK_ROOT_FILE={network.root_file} TIERLINK_ROOT_URL={root} TIERLINK_PEERS_PRIVATE=1 \\
    TIERLINK_PORT={network.recursive_port} tierlink up --role recursive

  every node says what it does in node.log in its folder under {network.folder}
"""
