"""OpenSSH's own client with hand-made messages: framing (RFC 6242 4) and what must not be accepted."""

import pathlib
import subprocess
import tempfile
import threading
import unittest

from network import BASE, KEY, NODES, NS, USER, Case, find, WIFI

HELLO = """<?xml version="1.0" encoding="UTF-8"?><hello xmlns="{nc}"><capabilities><capability>{base}</capability>
</capabilities></hello>]]>]]>"""
CLOSE = '<rpc xmlns="{nc}" message-id="last"><close-session/></rpc>'


def chunks(text, size=None):
    """RFC 6242 4.2."""
    data = text.encode()
    size = size or len(data)
    parts = [data[i:i + size] for i in range(0, len(data), size)]
    return b"".join(b"\n#%d\n%s" % (len(part), part) for part in parts) + b"\n##\n"


def ssh(data, limit=30):
    """Everything the agent answers to these bytes until it closes the session."""
    node = NODES[0]
    with tempfile.TemporaryDirectory() as directory:
        known = pathlib.Path(directory) / "known_hosts"
        known.write_text(f"[{node['host']}]:{node['port']} {node['host_key']}\n")
        command = ["ssh", "-F", "none", "-T", "-p", str(node["port"]), "-i", KEY, "-o", f"UserKnownHostsFile={known}",
                   "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
                   f"{USER}@{node['host']}", "-s", "netconf"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # Its input stays open: that the session ends must be the agent's doing.
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            process.stdin.write(data)
            process.stdin.flush()
            answer = process.stdout.read()
        except BrokenPipeError:
            answer = process.stdout.read()
        finally:
            ended_by_itself = timer.is_alive()
            timer.cancel()
            process.kill()
            error = process.communicate()[1]
    return answer.decode(), ended_by_itself, error.decode()


def hello():
    return HELLO.format(nc=NS["nc"], base=BASE).encode()


def close():
    return chunks(CLOSE.format(nc=NS["nc"]))


class Framing(Case):
    def answered(self, body, size=None):
        text, ended, error = ssh(hello() + chunks(body, size) + close())
        self.assertTrue(ended, f"the agent did not end the session: {text} {error}")
        return text

    def test_chunks_of_every_small_size(self):
        rpc = f'<rpc xmlns="{NS["nc"]}" message-id="7" extra="&amp;"><get-config><source><running/></source><filter>' \
              f'<wifi xmlns="{NS["wifi"]}"><radio><channel/></radio></wifi></filter></get-config></rpc>'
        for size in [1, 3, 64, None]:
            text = self.answered(rpc, size)
            self.assertIn("<channel>6</channel>", text, f"chunks of {size}")
            self.assertIn('message-id="7"', text)
            self.assertIn('extra="&amp;"', text, "RFC 6241 4.1: attributes come back")
            self.assertIn('message-id="last"', text)

    def test_end_of_message_framing_with_base_1_0(self):
        """RFC 6242 4.3: without base:1.1 in the client's hello."""
        data = hello().replace(BASE.encode(), b"urn:ietf:params:netconf:base:1.0")
        text, ended, _ = ssh(data + CLOSE.format(nc=NS["nc"]).encode() + b"]]>]]>")
        self.assertTrue(ended)
        self.assertIn("<ok/>", text)
        self.assertEqual(text.count("]]>]]>"), 2)

    def test_malformed_xml_is_answered_or_ends_the_session(self):
        """RFC 6241 appendix A: malformed-message."""
        text = self.answered(f'<rpc xmlns="{NS["nc"]}" message-id="1"><get></rpc>')
        self.assertIn("malformed-message", text)
        self.assertNotIn("<data", text)

    def test_dtd_and_entities_are_refused(self):
        rpc = f'<!DOCTYPE rpc [<!ENTITY a "phy0">]><rpc xmlns="{NS["nc"]}" message-id="1"><get-config><source><running/>' \
              "</source></get-config></rpc>"
        text = self.answered(rpc)
        self.assertIn("malformed-message", text)
        self.assertNotIn("<data", text)

    def test_wrong_framing_ends_the_session_and_no_other(self):
        """RFC 6242 4.2."""
        for wrong in [b"\n#0\n", b"\n#x\n", b"\n#4294967296\n", b"<rpc/>", b"\n#3\nabcd\n##\n"]:
            other = self.session()
            text, ended, error = ssh(hello() + wrong)
            self.assertTrue(ended, f"{wrong}: {text} {error}")
            self.assertEqual(text.split("]]>]]>", 1)[1].count("<rpc-reply") - text.count("malformed-message"), 0, wrong)
            self.assertEqual(len(find(other.get_config("running", filter=WIFI), "wifi:wifi")), 1)

    def test_an_endless_hello_ends_the_session(self):
        text, ended, _ = ssh(b"<hello xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'>" + b"<capabilities>" * 400_000)
        self.assertTrue(ended)
        self.assertNotIn("rpc-reply", text)

    def test_an_unknown_operation_is_refused_by_name(self):
        text = self.answered(f'<rpc xmlns="{NS["nc"]}" message-id="1"><dance/></rpc>')
        self.assertRegex(text, "unknown-element|operation-not-supported")
        self.assertIn("dance", text)

    def test_a_missing_message_id_is_missing_attribute(self):
        """RFC 6241 4.1."""
        text = self.answered(f'<rpc xmlns="{NS["nc"]}"><get/></rpc>')
        self.assertIn("missing-attribute", text)
        self.assertIn("message-id", text)


if __name__ == "__main__":
    unittest.main()
