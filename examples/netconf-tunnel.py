#!/usr/bin/env python3
"""Makes the tunnel of a slice between two nodes over NETCONF with ncclient, then rotates its keys: what the controller does.

usage: netconf-tunnel.py PASSWORD SLICE HUB HUB-HOST-KEY SPOKE SPOKE-HOST-KEY

HUB and SPOKE are HOST:PORT; a host key is the node's public key line, as in its ssh_host_ed25519_key.pub. The underlay
addresses of the tunnel are those hosts. Run it with .tools/venv/bin/python.
"""

import sys
import time
from contextlib import ExitStack

from lxml import etree
from ncclient import manager
from ncclient.xml_ import to_ele

TUNNEL = "urn:tranche:yang:tranche-backhaul"
NS = {"b": TUNNEL}
CONFIG = '<config xmlns="urn:ietf:params:xml:ns:netconf:base:1.0">{}</config>'
ACTION = '<action xmlns="urn:ietf:params:xml:ns:yang:1">{}</action>'


class Node:
    """One end: what it is called and where it is, with a session to it."""

    def __init__(self, session, name, host, address):
        self.session, self.name, self.host, self.address = session, name, host, address

    def tunnel(self, slice_id, inner):
        return f'<backhaul xmlns="{TUNNEL}"><tunnel><slice>{slice_id}</slice>{inner}</tunnel></backhaul>'

    def edit(self, slice_id, inner):
        self.session.edit_config(target="running", config=CONFIG.format(self.tunnel(slice_id, inner)))

    def act(self, slice_id, action):
        return self.session.dispatch(to_ele(ACTION.format(self.tunnel(slice_id, action)))).xml.encode()

    def state(self, slice_id):
        data = self.session.get(filter=("xpath", (NS, f"/b:backhaul/b:tunnel[b:slice='{slice_id}']/b:state"))).data_ele
        return data.find(".//b:state", NS)

    def wait(self, slice_id, leaf, value):
        deadline = time.monotonic() + 10
        while (state := self.state(slice_id)).findtext(leaf, namespaces=NS) != value:
            if time.monotonic() > deadline:
                sys.exit(f"{self.name}: {leaf} is not {value}")
            time.sleep(0.05)
        return state


def key_of(element):
    """Key and port of an interface, out of a state or the output of an action."""
    return (element.findtext(".//b:public-key", namespaces=NS), element.findtext(".//b:listen-port", namespaces=NS))


def peer(of, key, port, inner=""):
    endpoint = f"<endpoint><address>{of.host}</address><port>{port}</port></endpoint>"
    return f"<public-key>{key}</public-key>{endpoint}{inner}"


def main(password, slice_id, *ends):
    with ExitStack() as stack:
        nodes = []
        for name, at, host_key, address in (("hub", ends[0], ends[1], "10.77.0.1"), ("spoke", ends[2], ends[3], "10.77.0.2")):
            host, port = at.rsplit(":", 1)
            session = stack.enter_context(manager.connect(
                host=host, port=int(port), username="admin", password=password, hostkey_b64=host_key.split()[1],
                allow_agent=False, look_for_keys=False))
            nodes.append(Node(session, name, host, address))
        hub, spoke = nodes
        # Each end makes a key of its own, and says the public half of it.
        for node in nodes:
            node.edit(slice_id, f"<role>{node.name}</role><address>{node.address}</address><probe/>")
        keys = {node.name: key_of(node.state(slice_id)) for node in nodes}
        # The responder first.
        for node, far in ((hub, spoke), (spoke, hub)):
            inner = f"<tunnel-address>{far.address}</tunnel-address>"
            node.edit(slice_id, f"<peer><name>{far.name}</name>{peer(far, *keys[far.name], inner)}</peer>")
        print(etree.tostring(spoke.wait(slice_id, "b:oper-state", "up"), pretty_print=True).decode())

        # Make before break: a second interface at each end, routes moved when both have been heard on it.
        keys = {node.name: key_of(etree.fromstring(node.act(slice_id, "<rotate-key/>"))) for node in nodes}
        for node, far in ((hub, spoke), (spoke, hub)):
            node.edit(slice_id, f"<peer><name>{far.name}</name><next>{peer(far, *keys[far.name])}</next></peer>")
        for node in nodes:
            node.wait(slice_id, "b:next/b:phase", "ready")
        for node in nodes:
            node.act(slice_id, "<complete-rotation/>")
        for node, far in ((hub, spoke), (spoke, hub)):
            remove = '<next xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0" nc:operation="delete"/>'
            node.edit(slice_id, f"<peer><name>{far.name}</name>{peer(far, *keys[far.name], remove)}</peer>")
        state = spoke.wait(slice_id, "b:oper-state", "up")
        print("after the rotation:", state.findtext("b:epoch", namespaces=NS), state.findtext("b:public-key", namespaces=NS))


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
