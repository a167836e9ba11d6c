"""The short form of chaos.py: a job whose server and workers are killed, frozen, cut off and out of disk keeps its history."""
import socket
import subprocess
import sys
import threading
import time
import unittest

import chaos
import chaos_check
from amc_e2e import TinyCase, environment
from tcp_proxy import TcpProxy


class ChaosTest(TinyCase):
    def survives(self, settings):
        expected = chaos_check.undisturbed(chaos.job_flags(settings, self.model, self.pack), f"{self.dir}/undisturbed")
        faults = chaos.run_chaos(settings, f"{self.dir}/chaos", self.model, self.pack, expected)
        self.assertEqual(faults, [], "\n".join(["", *faults]))

    def test_kills_a_freeze_and_a_bad_network_leave_no_trace_in_the_history(self):
        self.survives(chaos.Settings(workers=3, episodes=120, kills=25, freezes=1, troubles=2))

    def test_a_full_disk_leaves_no_trace_in_the_history(self):
        # A program of its own: it moves to where it may mount a small disk.
        done = subprocess.run([sys.executable, chaos.__file__, "--only", "disk", "--episodes", "60", "--workers", "2"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=environment(), timeout=300, check=False)
        print(done.stdout)
        if done.returncode == chaos.SKIPPED:
            self.skipTest("a small disk needs root, or a user namespace")
        self.assertEqual(done.returncode, 0)


class DifferenceTest(unittest.TestCase):
    """The checks can fail."""

    def test_names_the_first_lines_that_differ(self):
        def said(found):
            return chaos_check.difference("history", "a\nb\n", found)
        self.assertIsNone(said("a\nb\n"))
        self.assertRegex(said("a\nc\n"), r"line 1(.|\n)*- b\n(.|\n)*\+ c\n(.|\n)*1 lines differ")
        self.assertRegex(said("a\n"), r"1 lines, undisturbed 2(.|\n)*- b\n(.|\n)*\+ \(none\)")

    def test_events_are_there_once_each_and_in_order(self):
        def events(*numbers):
            episodes = [{"kind": "EVENT_KIND_EPISODE", "episode": {"number": str(number)}} for number in numbers]
            whole = [{"kind": "EVENT_KIND_BASELINE"}, *episodes, {"kind": "EVENT_KIND_RESULT"}]
            return [dict(event, sequence=str(i)) for i, event in enumerate(whole, 1)]

        def faults(found, episodes=3):
            return "; ".join(chaos_check.check_events(found, episodes, "events"))
        whole = events(0, 1, 2)
        self.assertEqual(faults(whole), "")
        self.assertRegex(faults(events(0, 2)), "2 episodes of 3")
        self.assertRegex(faults(events(0, 1, 1)), "not in order")
        self.assertRegex(faults(whole[:2] + whole[3:]), "event 3 has sequence number 4")
        self.assertRegex(faults(events(0)[:2], 1), "0 events of EVENT_KIND_RESULT")

    def test_the_plan_depends_on_the_seed_alone(self):
        settings = chaos.Settings(kills=50, freezes=2, troubles=4, fills=1)
        self.assertEqual(chaos.make_plan(settings), chaos.make_plan(settings))
        self.assertNotEqual(chaos.make_plan(settings), chaos.make_plan(chaos.Settings(kills=50, seed=2)))


class ProxyTest(unittest.TestCase):
    def setUp(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        threading.Thread(target=self.echo, args=(listener,), daemon=True).start()
        self.proxy = TcpProxy(listener.getsockname()[1])
        self.addCleanup(self.proxy.close)

    @staticmethod
    def echo(listener):
        def answer(connection):
            with connection:
                try:
                    while data := connection.recv(1 << 16):
                        connection.sendall(data)
                except OSError:
                    pass
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=0.5)
        self.addCleanup(connection.close)
        return connection

    @staticmethod
    def ask(connection, size=1):
        """Seconds until `size` bytes came back."""
        begin = time.monotonic()
        connection.sendall(bytes(size))
        while size > 0:
            data = connection.recv(1 << 16)
            if not data:
                raise ConnectionError
            size -= len(data)
        return time.monotonic() - begin

    def test_passes_bytes_on_slowly_or_late(self):
        connection = self.connect()
        self.assertLess(self.ask(connection, 1 << 20), 2)
        self.proxy.delay(0.1)
        self.assertGreaterEqual(self.ask(connection), 0.19)
        self.proxy.slow(100_000)
        self.assertGreaterEqual(self.ask(connection, 20_000), 0.19)
        self.proxy.heal()
        self.assertLess(self.ask(connection), 0.1)

    def test_a_stalled_line_loses_nothing(self):
        connection = self.connect()
        self.ask(connection)
        self.proxy.stall()
        with self.assertRaises(TimeoutError):
            self.ask(connection)
        self.proxy.heal()
        self.assertEqual(connection.recv(2), b"\0")

    def test_a_cut_line_resets_old_and_new_connections(self):
        connection = self.connect()
        self.ask(connection)
        self.proxy.cut()
        with self.assertRaises(ConnectionError):
            self.ask(connection)
        with self.assertRaises(ConnectionError):
            self.ask(self.connect())
        self.proxy.heal()
        self.ask(self.connect())


if __name__ == "__main__":
    unittest.main(verbosity=2)
