"""netconf-console2, as an operator would type it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

from lxml import etree

from network import NODES, NS, PASSWORD, USER, Case, connect, find, vif, WIFI

CONSOLE = str(pathlib.Path(sys.executable).with_name("netconf-console2"))


def console(*arguments, password=PASSWORD, expect=0):
    node = NODES[0]
    command = [CONSOLE, "--host", node["host"], "--port", str(node["port"]), "-u", USER, "-p", password, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if expect is not None and done.returncode != expect:
        raise AssertionError(f"{arguments}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def content(config):
    """A file with what belongs into <config>: the console makes the element itself."""
    file = tempfile.NamedTemporaryFile("w", suffix=".xml")
    file.write("".join(etree.tostring(child).decode() for child in etree.fromstring(config)))
    file.flush()
    return file


class Console(Case):
    def test_hello(self):
        self.assertIn("urn:ietf:params:netconf:base:1.1", console("--hello"))

    def test_get_config_with_xpath(self):
        text = console("--ns", f"w={NS['wifi']}", "--get-config", "--xpath", "/w:wifi/w:radio/w:channel")
        self.assertIn("<channel>6</channel>", text)
        self.assertNotIn("<band>", text)

    def test_get_shows_state(self):
        self.assertIn("<oper-state>up</oper-state>", console("--ns", f"w={NS['wifi']}", "--get", "-x", "/w:wifi/w:radio"))

    def test_edit_config_lock_and_commit(self):
        session = self.session()
        self.restore_wifi(session)
        with content(vif("console")) as file:
            text = console("--lock", "--db", "candidate", "--edit-config", file.name, "--commit", "--unlock")
        self.assertNotIn("rpc-error", text)
        path = "wifi:wifi/wifi:vif[wifi:name='console']"
        self.assertEqual(len(find(session.get_config("running", filter=WIFI), path)), 1)

    def test_discard(self):
        with content(vif("console2")) as file:
            text = console("--db", "candidate", "--edit-config", file.name, "--discard-changes", "--get-config")
        self.assertNotIn("console2", text.split("<ok/>")[-1])
        self.assertNotIn("rpc-error", text)

    def test_an_error_is_shown(self):
        with content(vif("v", "<radio>phy0</radio><colour>red</colour>")) as file:
            text = console("--db", "running", "--edit-config", file.name, expect=None)
        self.assertIn("unknown-element", text)
        with connect() as session:
            self.assertEqual(find(session.get_config("running", filter=WIFI), "wifi:wifi/wifi:vif[wifi:name='v']"), [])


if __name__ == "__main__":
    unittest.main()
