"""ncclient against the agent: each operation of RFC 6241 that it has, its effect, and its refusals."""

import time
import unittest

from lxml import etree
from ncclient.operations import RPCError
from ncclient.transport.errors import AuthenticationError, SSHError
from ncclient.xml_ import to_ele

from network import (BASE, KEY, MODULES, NODES, NS, OBSERVER, OBSERVER_PASSWORD, WIFI, Case, connect, find, texts, vif)


class Sessions(Case):
    def test_hello_names_what_the_agent_can_do(self):
        """RFC 6241 8.1; the URIs are those of 8.2 to 8.9, RFC 5277 3.1.1, RFC 6243 4.3, RFC 8526."""
        capabilities = list(self.session().server_capabilities)
        for uri in [
            BASE,
            "urn:ietf:params:netconf:capability:writable-running:1.0",
            "urn:ietf:params:netconf:capability:candidate:1.0",
            "urn:ietf:params:netconf:capability:confirmed-commit:1.1",
            "urn:ietf:params:netconf:capability:rollback-on-error:1.0",
            "urn:ietf:params:netconf:capability:validate:1.1",
            "urn:ietf:params:netconf:capability:xpath:1.0",
            "urn:ietf:params:netconf:capability:notification:1.0",
            "urn:ietf:params:netconf:capability:with-defaults:1.0",
            "urn:ietf:params:netconf:capability:yang-library:1.1",
        ]:
            self.assertTrue(any(c.split("?")[0] == uri for c in capabilities), f"{uri} is not in {capabilities}")

    def test_a_key_opens_a_session(self):
        """RFC 6242 3, RFC 4252 7."""
        self.assertTrue(self.session(password=None, key_filename=KEY).connected)

    def test_a_wrong_password_does_not(self):
        with self.assertRaises(AuthenticationError):
            connect(password="wrong")

    def test_the_nodes_have_different_host_keys(self):
        with self.assertRaises(SSHError):
            connect(hostkey_b64=NODES[1]["host_key"].split()[1])

    def test_kill_session_ends_the_other_session_and_frees_its_locks(self):
        """RFC 6241 7.9."""
        killer, victim = self.session(), self.session()
        victim.lock("running")
        killer.kill_session(victim.session_id)
        deadline = time.monotonic() + 10
        while victim.connected and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(victim.connected)
        killer.lock("running")
        killer.unlock("running")

    def test_kill_session_of_oneself_or_nobody_is_refused(self):
        """RFC 6241 7.9: invalid-value."""
        session = self.session()
        self.refused("invalid-value", session.kill_session, session.session_id)
        self.refused("invalid-value", session.kill_session, "4000000000")


class Reading(Case):
    def test_a_subtree_filter_selects(self):
        """RFC 6241 6.2.5: a content match node."""
        wanted = f'<wifi xmlns="{NS["wifi"]}"><radio><name>phy0</name><channel/></radio></wifi>'
        reply = self.session().get_config("running", filter=("subtree", wanted))
        self.assertEqual(texts(reply, "wifi:wifi/wifi:radio/wifi:channel"), ["6"])
        self.assertEqual(texts(reply, "wifi:wifi/wifi:radio/wifi:band"), [])
        self.assertEqual(find(reply, "sys:system"), [])

    def test_a_subtree_filter_that_matches_nothing_gives_no_data(self):
        """RFC 6241 6.4.2."""
        wanted = f'<wifi xmlns="{NS["wifi"]}"><radio><name>phy9</name></radio></wifi>'
        reply = self.session().get_config("running", filter=("subtree", wanted))
        self.assertEqual(list(reply.data_ele), [])

    def test_an_xpath_filter_selects(self):
        """RFC 6241 8.9."""
        reply = self.session().get_config(
            "running", filter=("xpath", ({"w": NS["wifi"]}, "/w:wifi/w:radio[w:name='phy0']/w:band")))
        self.assertEqual(texts(reply, "wifi:wifi/wifi:radio/wifi:band"), ["2.4GHz"])
        self.assertEqual(texts(reply, "wifi:wifi/wifi:radio/wifi:channel"), [])

    def test_an_xpath_filter_that_is_none_is_refused(self):
        session = self.session()
        self.refused("invalid-value", session.get_config, "running",
                     filter=("xpath", ({"w": NS["wifi"]}, "/w:wifi/[")))

    def test_defaults_come_when_asked_for(self):
        """RFC 6243 3.1, 3.3."""
        session = self.session()
        path = "wifi:wifi/wifi:radio/wifi:width"
        all_of_it = session.get_config("running", filter=WIFI, with_defaults="report-all")
        self.assertEqual(texts(all_of_it, path), ["20MHz"])
        explicit = session.get_config("running", filter=WIFI, with_defaults="explicit")
        self.assertEqual(texts(explicit, path), [])

    def test_get_has_state_that_get_config_has_not(self):
        session = self.session()
        path = "wifi:wifi/wifi:radio/wifi:state/wifi:oper-state"
        self.assertEqual(texts(session.get(filter=WIFI), path), ["up"])
        self.assertEqual(texts(session.get_config("running", filter=WIFI), path), [])

    def test_get_schema_gives_the_module_as_it_is_in_the_repository(self):
        """RFC 6022 3.1."""
        session = self.session()
        text = session.get_schema("tranche-wifi").data
        self.assertEqual(text, (MODULES / "tranche-wifi.yang").read_text())
        self.refused("invalid-value", session.get_schema, "no-such-module")

    def test_monitoring_lists_this_session_and_the_schemas(self):
        """RFC 6022 2.1.2, 2.1.4."""
        session = self.session()
        reply = session.get(filter=("subtree", f'<netconf-state xmlns="{NS["ncm"]}"/>'))
        self.assertIn(session.session_id, texts(reply, "ncm:netconf-state/ncm:sessions/ncm:session/ncm:session-id"))
        schemas = texts(reply, "ncm:netconf-state/ncm:schemas/ncm:schema/ncm:identifier")
        for module in ["ietf-netconf", "ietf-netconf-acm", "ietf-system", "tranche-wifi", "tranche-sim"]:
            self.assertIn(module, schemas)

    def test_every_implemented_module_of_the_library_can_be_fetched(self):
        """RFC 8525 with RFC 6022: what is listed is there."""
        session = self.session()
        reply = session.get(filter=("subtree", f'<yang-library xmlns="{NS["yl"]}"><module-set><module/></module-set></yang-library>'))
        modules = find(reply, "yl:yang-library/yl:module-set/yl:module")
        self.assertGreater(len(modules), 8)
        for module in modules:
            name = module.findtext("yl:name", namespaces=NS)
            text = session.get_schema(name).data
            self.assertRegex(text, rf"\bmodule\s+{name}\b")


class Editing(Case):
    def test_candidate_is_committed(self):
        """RFC 6241 8.3.4.1. The effect is seen in the operational state, not in what was written."""
        session = self.session()
        self.restore_wifi(session)
        session.edit_config(target="candidate", config=vif("committed"))
        path = "wifi:wifi/wifi:vif[wifi:name='committed']/wifi:name"
        self.assertEqual(texts(session.get_config("candidate", filter=WIFI), path), ["committed"])
        self.assertEqual(texts(session.get_config("running", filter=WIFI), path), [])
        session.validate("candidate")
        session.commit()
        self.assertEqual(texts(session.get_config("running", filter=WIFI), path), ["committed"])
        deadline = time.monotonic() + 10
        state = "wifi:wifi/wifi:vif[wifi:name='committed']/wifi:state/wifi:oper-state"
        while texts(session.get(filter=WIFI), state) != ["up"] and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(texts(session.get(filter=WIFI), state), ["up"])

    def test_candidate_is_discarded(self):
        """RFC 6241 8.3.4.2."""
        session = self.session()
        session.edit_config(target="candidate", config=vif("discarded"))
        session.discard_changes()
        path = "wifi:wifi/wifi:vif[wifi:name='discarded']"
        self.assertEqual(find(session.get_config("candidate", filter=WIFI), path), [])

    def test_running_is_written_directly(self):
        """RFC 6241 8.2."""
        session = self.session()
        self.restore_wifi(session)
        session.edit_config(target="running", config=vif("direct"))
        path = "wifi:wifi/wifi:vif[wifi:name='direct']/wifi:slice"
        self.assertEqual(texts(session.get_config("running", filter=WIFI), path), ["direct"])

    def test_an_unconfirmed_commit_is_undone(self):
        """RFC 6241 8.4.1."""
        session = self.session()
        self.restore_wifi(session)
        before = self.running_wifi(session)
        session.edit_config(target="candidate", config=vif("short"))
        session.commit(confirmed=True, timeout="1")
        self.assertNotEqual(self.running_wifi(session), before)
        deadline = time.monotonic() + 10
        while self.running_wifi(session) != before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.running_wifi(session), before)

    def test_a_confirmed_commit_stays(self):
        """RFC 6241 8.4.1."""
        session = self.session()
        self.restore_wifi(session)
        session.edit_config(target="candidate", config=vif("stays"))
        session.commit(confirmed=True, timeout="1")
        session.commit()
        time.sleep(1.5)
        path = "wifi:wifi/wifi:vif[wifi:name='stays']/wifi:name"
        self.assertEqual(texts(session.get_config("running", filter=WIFI), path), ["stays"])

    def test_a_confirmed_commit_is_cancelled(self):
        """RFC 6241 8.4.4.1."""
        session = self.session()
        self.restore_wifi(session)
        before = self.running_wifi(session)
        session.edit_config(target="candidate", config=vif("cancelled"))
        session.commit(confirmed=True, timeout="60")
        session.cancel_commit()
        self.assertEqual(self.running_wifi(session), before)

    def test_a_confirmed_commit_is_undone_when_its_session_ends(self):
        """RFC 6241 8.4.1: without persist the session's end cancels."""
        watcher, session = self.session(), connect()
        self.restore_wifi(watcher)
        before = self.running_wifi(watcher)
        session.edit_config(target="candidate", config=vif("orphan"))
        session.commit(confirmed=True, timeout="60")
        session.close_session()
        deadline = time.monotonic() + 10
        while self.running_wifi(watcher) != before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.running_wifi(watcher), before)

    def test_a_persistent_commit_is_confirmed_from_another_session(self):
        """RFC 6241 8.4.5.1."""
        first, second = self.session(), self.session()
        self.restore_wifi(second)
        first.edit_config(target="candidate", config=vif("persists"))
        first.commit(confirmed=True, timeout="60", persist="token")
        self.refused("invalid-value", second.commit, persist_id="another")
        second.commit(persist_id="token")
        path = "wifi:wifi/wifi:vif[wifi:name='persists']/wifi:name"
        self.assertEqual(texts(second.get_config("running", filter=WIFI), path), ["persists"])


class Locks(Case):
    def test_a_lock_is_denied_while_another_session_holds_it(self):
        """RFC 6241 7.5: lock-denied, with the holder's session-id."""
        holder, other = self.session(), self.session()
        for datastore in ["running", "candidate"]:
            with holder.locked(datastore):
                error = self.refused("lock-denied", other.lock, datastore)
                ids = to_ele(error.info).xpath("//nc:session-id/text()", namespaces=NS)
                self.assertEqual(ids, [holder.session_id])
            with other.locked(datastore):
                pass

    def test_another_session_cannot_write_what_is_locked(self):
        """RFC 6241 7.5."""
        holder, other = self.session(), self.session()
        before = self.running_wifi(holder)
        with holder.locked("running"):
            self.refused("in-use", other.edit_config, target="running", config=vif("intruder"))
        with holder.locked("candidate"):
            self.refused("in-use", other.edit_config, target="candidate", config=vif("intruder"))
        self.assertEqual(self.running_wifi(holder), before)

    def test_a_lock_is_released_when_its_session_closes(self):
        """RFC 6241 7.5."""
        holder, other = connect(), self.session()
        holder.lock("candidate")
        holder.close_session()
        deadline = time.monotonic() + 10
        while True:
            try:
                other.lock("candidate")
                break
            except RPCError as error:
                self.assertEqual(error.tag, "lock-denied")
                self.assertLess(time.monotonic(), deadline, "the lock is still held")
                time.sleep(0.02)
        other.unlock("candidate")

    def test_a_modified_candidate_cannot_be_locked_by_another(self):
        """RFC 6241 8.3.5.2, 7.5."""
        writer, other = self.session(), self.session()
        self.addCleanup(writer.discard_changes)
        writer.edit_config(target="candidate", config=vif("pending"))
        self.refused("lock-denied", other.lock, "candidate")

    def test_unlock_without_a_lock_is_refused(self):
        """RFC 6241 7.6."""
        with self.assertRaises(RPCError):
            self.session().unlock("running")


class Refusals(Case):
    """Bad input gets a clear error and changes nothing."""

    def setUp(self):
        self.client = self.session()
        self.before = self.running_wifi(self.client)

    def tearDown(self):
        with connect() as fresh:
            fresh.discard_changes()
            self.assertEqual(self.running_wifi(fresh), self.before)

    def refused_edit(self, tag, config, mentions=None, commit=False, **more):
        """In candidate, and in running; constraints count at the latest at the commit."""
        if commit:
            self.client.edit_config(target="candidate", config=config, test_option="set", **more)
            error = self.refused(tag, self.client.commit)
            self.client.discard_changes()
        else:
            error = self.refused(tag, self.client.edit_config, target="candidate", config=config, **more)
        self.refused(tag, self.client.edit_config, target="running", config=config, **more)
        if mentions:
            self.assertIn(mentions, f"{error.message} {error.path} {error.app_tag} {error.info}")

    def test_unknown_element(self):
        self.refused_edit("unknown-element", vif("v", "<radio>phy0</radio><colour>red</colour>"), "colour")

    def test_unknown_namespace(self):
        config = f'<nc:config xmlns:nc="{NS["nc"]}"><wifi xmlns="urn:example:none"/></nc:config>'
        self.refused_edit("unknown-namespace", config, "urn:example:none")

    def test_value_out_of_range(self):
        self.refused_edit("invalid-value", vif("v", "<airtime><min-ratio>101.00</min-ratio></airtime>"), "min-ratio")

    def test_ssid_of_33_bytes(self):
        self.refused_edit("invalid-value", vif("v", ssid="s" * 33), "ssid")

    def test_ssid_of_34_bytes_in_17_characters(self):
        """The schema counts characters; the radio counts octets."""
        self.client.edit_config(target="candidate", config=vif("v", ssid="é" * 17))
        with self.assertRaises(RPCError) as caught:
            self.client.commit()
        self.assertIn("34 octets", caught.exception.message)
        # RFC 6241 4.3: the path is an XPath, and its prefixes are those in scope on the element.
        path = caught.exception.xml.find(f"{{{NS['nc']}}}error-path")
        prefixes = {prefix: namespace for prefix, namespace in path.nsmap.items() if prefix}
        candidate = find(self.client.get_config("candidate", filter=WIFI), "wifi:wifi")[0]
        named = etree.fromstring(etree.tostring(candidate)).getroottree().xpath(path.text, namespaces=prefixes)
        self.assertEqual([ssid.text for ssid in named], ["é" * 17])

    def test_create_of_what_exists(self):
        """RFC 6241 7.2: data-exists."""
        config = f"""<nc:config xmlns:nc="{NS['nc']}"><wifi xmlns="{NS['wifi']}">
          <radio nc:operation="create"><name>phy0</name><band>2.4GHz</band><channel>6</channel></radio></wifi></nc:config>"""
        self.refused_edit("data-exists", config, "phy0")

    def test_delete_of_what_does_not_exist(self):
        """RFC 6241 7.2: data-missing; remove is content with it."""
        self.refused_edit("data-missing", vif("absent", "", operation="delete"))
        self.client.edit_config(target="candidate", config=vif("absent", "", operation="remove"))

    def test_missing_passphrase(self):
        body = "<radio>phy0</radio><access-point><ssid>s</ssid></access-point>"
        self.refused_edit("operation-failed", vif("v", body), "missing-passphrase", commit=True)

    def test_min_over_max(self):
        body = """<radio>phy0</radio><access-point><ssid>s</ssid><security><mode>open</mode></security></access-point>
          <airtime><min-ratio>50</min-ratio><max-ratio>40</max-ratio></airtime>"""
        self.refused_edit("operation-failed", vif("v", body), "min-ratio exceeds max-ratio", commit=True)

    def test_ratios_past_100_on_a_radio(self):
        one = """<vif><name>{0}</name><radio>phy0</radio><access-point><ssid>{0}</ssid><security><mode>open</mode></security>
          </access-point><airtime><min-ratio>60</min-ratio></airtime></vif>"""
        config = f"""<nc:config xmlns:nc="{NS['nc']}"><wifi xmlns="{NS['wifi']}">
          {one.format('v1')}{one.format('v2')}</wifi></nc:config>"""
        self.refused_edit("operation-failed", config, "ratio-sum", commit=True)

    def test_vif_on_an_unknown_radio(self):
        """RFC 7950 15.5: data-missing with instance-required."""
        body = "<radio>phy7</radio><access-point><ssid>s</ssid><security><mode>open</mode></security></access-point>"
        self.refused_edit("data-missing", vif("v", body), "phy7", commit=True)

    def test_missing_mandatory_leaf(self):
        """RFC 7950 15.6 for the choice; a mandatory leaf is missing data too."""
        with self.assertRaises(RPCError) as caught:
            self.client.edit_config(target="running", config=vif("v", "<radio>phy0</radio>"))
        self.assertIn(caught.exception.tag, ["data-missing", "operation-failed"])

    def test_more_vifs_than_the_radio_carries(self):
        """The hardware of the simulator carries 8: the commit fails with its reason and changes nothing."""
        one = """<vif><name>{0}</name><radio>phy0</radio><access-point><ssid>{0}</ssid><security><mode>open</mode></security>
          </access-point></vif>"""
        vifs = "".join(one.format(f"many{i}") for i in range(9))
        config = f'<nc:config xmlns:nc="{NS["nc"]}"><wifi xmlns="{NS["wifi"]}">{vifs}</wifi></nc:config>'
        self.client.edit_config(target="candidate", config=config)
        with self.assertRaises(RPCError) as caught:
            self.client.commit()
        self.assertIn(caught.exception.tag, ["operation-failed", "resource-denied"])
        self.assertIn("phy0", f"{caught.exception.message} {caught.exception.path}")

    def test_two_entries_with_one_key(self):
        """RFC 7950 7.8.2: keys are unique."""
        body = "<radio>phy0</radio><access-point><ssid>s</ssid><security><mode>open</mode></security></access-point>"
        config = vif("v", body).replace("</wifi>", f"<vif><name>v</name>{body}</vif></wifi>")
        with self.assertRaises(RPCError):
            self.client.edit_config(target="running", config=config)

    def test_an_observer_reads_but_neither_writes_nor_sees_secrets(self):
        """RFC 8341 3.4.5: access-denied; default-deny-all for the passphrase."""
        self.restore_wifi(self.client)
        self.client.edit_config(target="running", config=vif("secret", passphrase="not for observers"))
        observer = self.session(user=OBSERVER, password=OBSERVER_PASSWORD)
        self.refused("access-denied", observer.edit_config, target="running", config=vif("v"))
        reply = observer.get_config("running", filter=WIFI)
        self.assertEqual(texts(reply, "wifi:wifi/wifi:vif[wifi:name='secret']/wifi:name"), ["secret"])
        self.assertNotIn("not for observers", etree.tostring(reply.data_ele).decode())
        own = etree.tostring(self.client.get_config("running", filter=WIFI).data_ele).decode()
        self.assertIn("not for observers", own)
        self.client.edit_config(target="running", config=vif("secret", "", operation="delete"))


class Telemetry(Case):
    def test_reports_come_without_gaps(self):
        """RFC 5277 2.1.1, and tranche-wifi: no report is skipped."""
        session = self.session()
        session.create_subscription(stream_name="telemetry")
        sequence = []
        for _ in range(4):
            notification = session.take_notification(timeout=10)
            self.assertIsNotNone(notification, "no report within 10 s")
            event = to_ele(notification.notification_xml)
            self.assertEqual(event.findtext("wifi:airtime-report/wifi:radio/wifi:name", namespaces=NS), "phy0")
            sequence.append(int(event.findtext("wifi:airtime-report/wifi:sequence", namespaces=NS)))
        self.assertEqual(sequence, list(range(sequence[0], sequence[0] + 4)))

    def test_an_unknown_stream_is_refused(self):
        """RFC 5277 2.1.1."""
        session = self.session()
        with self.assertRaises(RPCError) as caught:
            session.create_subscription(stream_name="no-such-stream")
        self.assertIn("no-such-stream", f"{caught.exception.message} {caught.exception.info}")

    def test_a_correction_is_in_force_at_once_and_lapses(self):
        """tranche-wifi correct-airtime: not configuration."""
        session = self.session()
        self.restore_wifi(session)
        session.edit_config(target="running", config=vif("corrected"))
        before = self.running_wifi(session)
        session.dispatch(to_ele(f"""<correct-airtime xmlns="{NS['wifi']}"><lifetime>1</lifetime>
          <vif><name>corrected</name><max-ratio>25.50</max-ratio></vif></correct-airtime>"""))
        path = "wifi:wifi/wifi:vif[wifi:name='corrected']/wifi:state/wifi:airtime/wifi:effective-max-ratio"
        self.assertEqual([float(t) for t in texts(session.get(filter=WIFI), path)], [25.5])
        self.assertEqual(self.running_wifi(session), before)
        deadline = time.monotonic() + 10
        while [float(t) for t in texts(session.get(filter=WIFI), path)] != [100.0] and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual([float(t) for t in texts(session.get(filter=WIFI), path)], [100.0])

    def test_a_correction_of_an_unknown_interface_is_refused(self):
        session = self.session()
        with self.assertRaises(RPCError) as caught:
            session.dispatch(to_ele(f"""<correct-airtime xmlns="{NS['wifi']}"><lifetime>1</lifetime>
              <vif><name>nobody</name><max-ratio>25.50</max-ratio></vif></correct-airtime>"""))
        self.assertIn(caught.exception.tag, ["data-missing", "invalid-value"])
        self.assertIn("nobody", f"{caught.exception.message} {caught.exception.path}")


if __name__ == "__main__":
    unittest.main()
