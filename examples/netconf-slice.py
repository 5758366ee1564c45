#!/usr/bin/env python3
"""Gives a tenant an access point at one node, over NETCONF with ncclient: what the controller does at every node of a slice.

usage: netconf-slice.py HOST:PORT PASSWORD HOST-KEY SLICE SSID PASSPHRASE MIN-RATIO

HOST-KEY is the node's public key line, as in its ssh_host_ed25519_key.pub. Run it with .tools/venv/bin/python.
"""

import sys
from xml.sax.saxutils import escape

from lxml import etree
from ncclient import manager

WIFI = "urn:tranche:yang:tranche-wifi"
CONFIG = """
<config xmlns="urn:ietf:params:xml:ns:netconf:base:1.0">
  <wifi xmlns="{wifi}">
    <vif>
      <name>{name}</name>
      <radio>phy0</radio>
      <slice>{slice}</slice>
      <access-point>
        <ssid>{ssid}</ssid>
        <security><mode>wpa3-personal</mode><passphrase>{passphrase}</passphrase></security>
      </access-point>
      <airtime><min-ratio>{ratio}</min-ratio></airtime>
    </vif>
  </wifi>
</config>"""


def main(address, password, host_key, slice_id, ssid, passphrase, ratio):
    host, port = address.rsplit(":", 1)
    with manager.connect(host=host, port=int(port), username="admin", password=password,
                         hostkey_b64=host_key.split()[1], allow_agent=False, look_for_keys=False) as node:
        with node.locked("candidate"):
            node.edit_config(target="candidate", config=CONFIG.format(
                wifi=WIFI, name=slice_id[:15], slice=escape(slice_id), ssid=escape(ssid),
                passphrase=escape(passphrase), ratio=ratio))
            node.commit()
        state = node.get(filter=("xpath", ({"w": WIFI}, f"/w:wifi/w:vif[w:slice='{slice_id}']")))
        print(etree.tostring(state.data_ele, pretty_print=True).decode())


if __name__ == "__main__":
    if len(sys.argv) != 8:
        sys.exit(__doc__)
    main(*sys.argv[1:])
