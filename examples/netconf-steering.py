#!/usr/bin/env python3
"""Makes a node the local gateway of a slice over NETCONF with ncclient, and prints what is counted.

usage: netconf-steering.py PASSWORD NODE HOST-KEY SLICE RAN-PORT CORE-PORT APPLICATION-PORT

NODE is HOST:PORT and the host key the node's public key line, as in its ssh_host_ed25519_key.pub. What users send to 192.168.0.0/16
leaves its GTP-U tunnel at the node and goes to the application's port; what comes back from there for the user 172.16.0.9 goes
into the tunnel of that user; all the rest goes to the core as it came. Run it with .tools/venv/bin/python.
"""

import sys

from lxml import etree
from ncclient import manager

STEERING = "urn:tranche:yang:tranche-steering"
CONFIG = """
<config xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><steering xmlns="{ns}">
  <port><name>{ran}</name><gtp-address>10.0.0.1</gtp-address></port>
  <port><name>{core}</name></port>
  <port><name>{application}</name></port>
  <rule>
    <name>local</name><slice>{slice}</slice>
    <match><in-port>{ran}</in-port><gtp><inner-destination-prefix>192.168.0.0/16</inner-destination-prefix></gtp></match>
    <end-gtp/>
    <forward><out-port>{application}</out-port></forward>
  </rule>
  <rule>
    <name>back</name><slice>{slice}</slice>
    <match><in-port>{application}</in-port><destination-prefix>172.16.0.9/32</destination-prefix></match>
    <forward>
      <encapsulate>
        <teid>119</teid><local-address>10.0.0.1</local-address><peer-address>10.0.0.2</peer-address><qfi>9</qfi>
      </encapsulate>
      <out-port>{ran}</out-port>
    </forward>
  </rule>
  <rule>
    <name>uplink</name><slice>{slice}</slice>
    <match><in-port>{ran}</in-port></match>
    <forward><out-port>{core}</out-port></forward>
  </rule>
  <rule>
    <name>downlink</name><slice>{slice}</slice>
    <match><in-port>{core}</in-port></match>
    <forward><out-port>{ran}</out-port></forward>
  </rule>
</steering></config>"""


def main(password, at, host_key, slice_id, ran, core, application):
    host, port = at.rsplit(":", 1)
    with manager.connect(
            host=host, port=int(port), username="admin", password=password, hostkey_b64=host_key.split()[1],
            allow_agent=False, look_for_keys=False) as session:
        config = CONFIG.format(ns=STEERING, slice=slice_id, ran=ran, core=core, application=application)
        session.edit_config(target="running", config=config)
        filter_ = ("xpath", ({"s": STEERING}, "/s:steering/s:state | /s:steering/s:rule/s:state"))
        print(etree.tostring(session.get(filter=filter_).data_ele[0], pretty_print=True).decode())


if __name__ == "__main__":
    if len(sys.argv) != 8:
        sys.exit(__doc__)
    main(*sys.argv[1:])
