#!/usr/bin/env python3
"""Asks a node over NETCONF with ncclient what a change would do, and changes nothing.

usage: netconf-plan.py HOST:PORT PASSWORD HOST-KEY FILE

The host key is the node's public key line, as in its ssh_host_ed25519_key.pub. FILE has what edit-config would get: the content
of its parameter config, in XML. Prints what would be done, warnings, and what would refuse the change; exits with 1 where
something does. Run it with .tools/venv/bin/python.
"""

import sys

from lxml import etree
from ncclient import manager

PLAN = "urn:tranche:yang:tranche-plan"


def main(at, password, host_key, file):
    host, port = at.rsplit(":", 1)
    with open(file, encoding="utf-8") as text:
        edit = etree.fromstring(f"<config xmlns='{PLAN}'>{text.read()}</config>")
    request = etree.Element(f"{{{PLAN}}}plan")
    request.append(edit)
    with manager.connect(
            host=host, port=int(port), username="admin", password=password, hostkey_b64=host_key.split()[1],
            allow_agent=False, look_for_keys=False) as session:
        reply = etree.fromstring(session.rpc(request).xml.encode())

    def leaves(entry, *names):
        return [entry.findtext(f"{{{PLAN}}}{name}") for name in names]

    for step in reply.iter(f"{{{PLAN}}}step"):
        print("{}. {}: {}".format(*leaves(step, "number", "domain", "action")))
    for warning in reply.iter(f"{{{PLAN}}}warning"):
        print("warning ({}): {}".format(*leaves(warning, "kind", "message")))
    refusals = list(reply.iter(f"{{{PLAN}}}refusal"))
    for refusal in refusals:
        print("refused: {2} ({0} at {1})".format(*leaves(refusal, "error-tag", "error-path", "error-message")))
    return 1 if refusals else 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
