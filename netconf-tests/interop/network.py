"""What with-stack tells about the running network, and sessions to it by foreign clients."""

import json
import os
import pathlib
import unittest

from lxml import etree
from ncclient import manager
from ncclient.operations import RPCError

NODES = json.loads(os.environ["TRANCHE_NODES"])
USER = os.environ["TRANCHE_USER"]
PASSWORD = os.environ["TRANCHE_PASSWORD"]
KEY = os.environ["TRANCHE_KEY"]
OBSERVER = os.environ["TRANCHE_OBSERVER"]
OBSERVER_PASSWORD = os.environ["TRANCHE_OBSERVER_PASSWORD"]
MODULES = pathlib.Path(__file__).parents[2] / "yang" / "modules"

NS = {
    "nc": "urn:ietf:params:xml:ns:netconf:base:1.0",
    "ncm": "urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring",
    "sys": "urn:ietf:params:xml:ns:yang:ietf-system",
    "nacm": "urn:ietf:params:xml:ns:yang:ietf-netconf-acm",
    "yl": "urn:ietf:params:xml:ns:yang:ietf-yang-library",
    "notif": "urn:ietf:params:xml:ns:netconf:notification:1.0",
    "wifi": "urn:tranche:yang:tranche-wifi",
    "sim": "urn:tranche:yang:tranche-sim",
}
BASE = "urn:ietf:params:netconf:base:1.1"
WIFI = ("subtree", f'<wifi xmlns="{NS["wifi"]}"/>')


def connect(node=0, user=USER, password=PASSWORD, **more):
    """An ncclient session that checks the host key."""
    node = NODES[node]
    arguments = {
        "host": node["host"],
        "port": node["port"],
        "username": user,
        "password": password,
        "hostkey_b64": node["host_key"].split()[1],
        "allow_agent": False,
        "look_for_keys": False,
        "timeout": 30,
    }
    return manager.connect(**(arguments | more))


def vif(name, body=None, operation=None, ssid=None, passphrase="a long enough secret"):
    """The body of <config> with one virtual interface."""
    attribute = f' nc:operation="{operation}"' if operation else ""
    if body is None:
        body = f"""<radio>phy0</radio><slice>{name}</slice>
          <access-point><ssid>{ssid or name}</ssid><security><passphrase>{passphrase}</passphrase></security></access-point>"""
    return f"""<nc:config xmlns:nc="{NS['nc']}"><wifi xmlns="{NS['wifi']}">
      <vif{attribute}><name>{name}</name>{body}</vif></wifi></nc:config>"""


def find(reply, path):
    """The elements at a path of a reply with data."""
    return reply.data_ele.xpath(path, namespaces=NS)


def texts(reply, path):
    return [element.text for element in find(reply, path)]


class Case(unittest.TestCase):
    """A test with sessions that are closed, locks that are freed and a datastore that is left as it was found."""

    def session(self, *arguments, **more):
        session = connect(*arguments, **more)
        self.addCleanup(self._close, session)
        return session

    @staticmethod
    def _close(session):
        if session.connected:
            session.close_session()

    def restore_wifi(self, session):
        """At the end, running gets its Wi-Fi configuration back."""
        config = etree.Element(f"{{{NS['nc']}}}config")
        before = find(session.get_config("running", filter=WIFI), "wifi:wifi")[0]
        before.set(f"{{{NS['nc']}}}operation", "replace")
        config.append(before)

        def restore():
            with connect() as fresh:
                fresh.discard_changes()
                fresh.edit_config(target="candidate", config=config)
                fresh.commit()

        self.addCleanup(restore)

    def refused(self, tag, call, *arguments, **more):
        """The call must be answered with exactly this error-tag; gives the error."""
        with self.assertRaises(RPCError) as caught:
            call(*arguments, **more)
        error = caught.exception
        self.assertEqual(error.tag, tag, f"{error.message} at {error.path}: {error.info}")
        self.assertEqual(error.severity, "error")
        self.assertTrue(error.message, "an error without a message")
        return error

    def running_wifi(self, session):
        """The Wi-Fi configuration in force, as canonical text."""
        return etree.tostring(find(session.get_config("running", filter=WIFI), "wifi:wifi")[0], method="c14n")
