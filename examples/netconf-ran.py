#!/usr/bin/env python3
"""Makes a slice on an NR cell of a simulated node over NETCONF with ncclient, and shows what it gets.

usage: netconf-ran.py HOST:PORT PASSWORD HOST-KEY

The cell has 52 PRB and a core at the edge and in the data centre. The slice city-cam is owed 30 % of it; another one, guests, has no
guarantee, and both have four UEs that always want more. HOST-KEY is the node's public key line, as in its
ssh_host_ed25519_key.pub. Run it with .tools/venv/bin/python.
"""

import sys
import time

from lxml import etree
from ncclient import manager

RAN, SIM = "urn:tranche:yang:tranche-ran", "urn:tranche:yang:tranche-sim"
NS = {"r": RAN}
CONFIG = '<config xmlns="urn:ietf:params:xml:ns:netconf:base:1.0">{}</config>'

CELL = """
  <cell><name>c1</name><rat>nr</rat><arfcn>632628</arfcn><bandwidth-prb>52</bandwidth-prb><tac>7</tac></cell>
  <core><name>edge</name><kind>amf</kind><location>edge</location><address>192.0.2.10</address></core>
  <core><name>dc</name><kind>amf</kind><location>data-centre</location><address>198.51.100.10</address></core>"""

PROFILE = """
  <slice-profile>
    <name>{name}</name><slice>{name}</slice><mcc>001</mcc><mnc>{mnc}</mnc><sst>1</sst>
    <cell>c1</cell><core>edge</core><core>dc</core>
    <rrm-policy><resource-type>prb</resource-type><min-ratio>{min}</min-ratio></rrm-policy>
    <access><imsi-range><first>001{mnc}0000000001</first><last>001{mnc}0000000999</last></imsi-range></access>
  </slice-profile>"""

UES = """
  <ue-group>
    <name>{name}</name><first-imsi>001{mnc}0000000001</first-imsi><count>4</count><down><model>full-buffer</model></down>
  </ue-group>"""


def states(session):
    data = session.get(filter=("xpath", (NS, "/r:ran/r:slice-profile"))).data_ele
    return {profile.findtext("r:name", namespaces=NS): profile.find("r:state", NS)
            for profile in data.iterfind(".//r:slice-profile", NS)}


def main(at, password, host_key):
    host, port = at.rsplit(":", 1)
    with manager.connect(host=host, port=int(port), username="admin", password=password, hostkey_b64=host_key.split()[1],
                         allow_agent=False, look_for_keys=False) as session:
        slices = [dict(name="city-cam", mnc="01", min="30"), dict(name="guests", mnc="02", min="0")]
        ran = CELL + "".join(PROFILE.format(**one) for one in slices)
        sim = "".join(UES.format(**one) for one in slices)
        config = f'<ran xmlns="{RAN}">{ran}</ran><sim xmlns="{SIM}">{sim}</sim>'
        session.edit_config(target="candidate", config=CONFIG.format(config))
        session.commit()
        committed = time.monotonic()
        while any(state.findtext("r:oper-state", namespaces=NS) != "active" for state in states(session).values()):
            if time.monotonic() > committed + 10:
                sys.exit("the slices did not become active")
            time.sleep(0.02)
        print(f"active after {time.monotonic() - committed:.2f} s")
        # Until a whole period with all UEs has been measured.
        used = "r:cell/r:down/r:used-ratio"
        while sum(float(state.findtext(used, namespaces=NS)) for state in states(session).values()) < 99.9:
            if time.monotonic() > committed + 20:
                sys.exit("the cell was never fully used")
            time.sleep(0.1)
        print(etree.tostring(states(session)["city-cam"], pretty_print=True).decode())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
