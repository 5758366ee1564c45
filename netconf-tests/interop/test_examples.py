"""The examples that the documentation shows do what it says."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

from network import NODES, NS, PASSWORD, WIFI, Case, find

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


class Examples(Case):
    def test_a_slice_is_created_with_ncclient(self):
        session = self.session()
        self.restore_wifi(session)
        node = NODES[0]
        done = subprocess.run(
            [sys.executable, EXAMPLES / "netconf-slice.py", f"{node['host']}:{node['port']}", PASSWORD, node["host_key"],
             "tenant-c", "tenant-c", "a long enough secret", "20.0"],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("<ssid>tenant-c</ssid>", done.stdout)
        path = "wifi:wifi/wifi:vif[wifi:slice='tenant-c']/wifi:airtime/wifi:min-ratio"
        ratios = find(session.get_config("running", filter=WIFI), path)
        self.assertEqual([float(ratio.text) for ratio in ratios], [20.0])

    def test_a_tunnel_is_made_and_its_keys_are_rotated_with_ncclient(self):
        ends = [part for node in NODES[:2] for part in (f"{node['host']}:{node['port']}", node["host_key"])]
        done = subprocess.run(
            [sys.executable, EXAMPLES / "netconf-tunnel.py", PASSWORD, "city-cam", *ends],
            capture_output=True, text=True, timeout=60)
        self.addCleanup(self.remove_tunnels)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("<oper-state>up</oper-state>", done.stdout)
        self.assertIn("after the rotation: 2 ", done.stdout)

    def test_a_slice_of_a_cell_is_made_with_ncclient(self):
        self.addCleanup(self.remove_ran)
        node = NODES[0]
        done = subprocess.run(
            [sys.executable, EXAMPLES / "netconf-ran.py", f"{node['host']}:{node['port']}", PASSWORD, node["host_key"]],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        # What nobody is owed is lent in equal parts: 30 + 35 percent.
        self.assertIn("<used-ratio>65.0</used-ratio>", done.stdout)
        self.assertIn("<active-core>edge</active-core>", done.stdout)

    def test_a_change_is_planned_with_ncclient_and_not_made(self):
        node, session = NODES[0], self.session()
        before = session.get_config("running").data_xml
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as edit:
            edit.write(f"""
                <steering xmlns="urn:tranche:yang:tranche-steering">
                  <port><name>ran0</name></port><port><name>core0</name></port>
                  <rule><name>all</name><slice>a</slice><match><in-port>ran0</in-port></match>
                    <forward><out-port>core0</out-port></forward></rule>
                  <rule><name>one</name><slice>a</slice><match><in-port>ran0</in-port><gtp><teid>7</teid></gtp></match>
                    <forward><out-port>core0</out-port></forward></rule>
                </steering>""")
            edit.flush()
            done = subprocess.run(
                [sys.executable, EXAMPLES / "netconf-plan.py", f"{node['host']}:{node['port']}", PASSWORD, node["host_key"],
                 edit.name],
                capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("steering: add rule one of slice a\n", done.stdout)
        self.assertIn("warning (shadowed): rule one is never reached", done.stdout)
        self.assertEqual(session.get_config("running").data_xml, before)

    def remove_ran(self):
        session = self.session()
        lock = f"""
            <config xmlns="{NS['nc']}">
              <ran xmlns="urn:tranche:yang:tranche-ran">
                <slice-profile><name>city-cam</name><admin-state>locked</admin-state></slice-profile>
                <slice-profile><name>guests</name><admin-state>locked</admin-state></slice-profile>
              </ran>
            </config>"""
        remove = f"""
            <config xmlns="{NS['nc']}" xmlns:nc="{NS['nc']}">
              <ran xmlns="urn:tranche:yang:tranche-ran" nc:operation="remove"/>
              <sim xmlns="urn:tranche:yang:tranche-sim">
                <ue-group nc:operation="remove"><name>city-cam</name></ue-group>
                <ue-group nc:operation="remove"><name>guests</name></ue-group>
              </sim>
            </config>"""
        for config in (lock, remove):
            session.edit_config(target="running", config=config)

    def test_a_node_becomes_a_local_gateway_with_ncclient(self):
        node = NODES[0]
        done = subprocess.run(
            [sys.executable, EXAMPLES / "netconf-steering.py", PASSWORD, f"{node['host']}:{node['port']}", node["host_key"],
             "city-cam", "ran0", "core0", "app0"],
            capture_output=True, text=True, timeout=60)
        self.addCleanup(self.remove_steering)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("<name>uplink</name>", done.stdout)
        self.assertIn("<echo-answered>", done.stdout)

    def remove_steering(self):
        self.session().edit_config(target="running", config=f"""
            <config xmlns="{NS['nc']}" xmlns:nc="{NS['nc']}">
              <steering xmlns="urn:tranche:yang:tranche-steering" nc:operation="remove"/>
            </config>""")

    def remove_tunnels(self):
        for node in (0, 1):
            session = self.session(node=node)
            session.edit_config(target="running", config=f"""
                <config xmlns="{NS['nc']}" xmlns:nc="{NS['nc']}">
                  <backhaul xmlns="urn:tranche:yang:tranche-backhaul" nc:operation="remove"/>
                </config>""")


if __name__ == "__main__":
    unittest.main()
