"""The examples that the documentation shows do what it says."""

import pathlib
import subprocess
import sys
import unittest

from network import NODES, PASSWORD, WIFI, Case, find

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


if __name__ == "__main__":
    unittest.main()
