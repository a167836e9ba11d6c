"""The Python examples in docs/examples, as their comments say to run them, against a real server."""
import os
import subprocess
import unittest

from amc_e2e import Background, TinyCase

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


class ExamplesTest(TinyCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = os.path.join(os.path.dirname(cls.model), "examples")
        cls.stubs = os.path.join(cls.home, "stubs")
        os.makedirs(cls.stubs)
        protos = os.path.join(ROOT, "proto/amc/v1")
        subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={cls.stubs}", f"--grpc_python_out={cls.stubs}",
                        "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin",
                        *(os.path.join(protos, name) for name in sorted(os.listdir(protos)) if name.endswith(".proto"))],
                       check=True)
        cls.server = Background(cls.home, "server", "serve", "--address", "127.0.0.1:0",
                                "--data-folder", f"{cls.home}/data")
        cls.server.wait_for("listening on ")
        cls.address = cls.server.output().split("listening on ")[1].split()[0]
        cls.worker = Background(cls.home, "worker", "worker", "--server", cls.address, "--cache", f"{cls.home}/cache")

    @classmethod
    def tearDownClass(cls):
        cls.worker.stop()
        cls.server.stop()

    def example(self, name, *args):
        env = dict(os.environ, PYTHONPATH=self.stubs, AGENT="random", EPISODES="4")
        done = subprocess.run(["/usr/bin/python3", f"{ROOT}/docs/examples/{name}", self.address, *map(str, args)],
                              env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_client_submits_watches_lists_and_downloads(self):
        small = f"{self.home}/small.onnx"
        lines = self.example("client.py", self.model, self.pack, small, 0.6)
        self.assertEqual([line.split()[1] for line in lines if line.startswith("episode")], ["0:", "1:", "2:", "3:"])
        self.assertEqual(sum(line.startswith("top: episode") for line in lines), 3)
        info = self.json("inspect", small)
        self.assertIn(f"-> {info['macs']}", lines[-1])
        self.assertLessEqual(int(info["macs"]), 0.6 * int(self.json("inspect", self.model)["macs"]))

    def test_environment_episodes_stay_within_their_budget(self):
        lines = self.example("environment.py", self.model, 0.5, 3)
        whole = int(self.json("inspect", self.model)["macs"])
        self.assertEqual(len(lines), 4)
        for line in lines[1:]:
            macs, limit = int(line.split()[2]), int(line.split()[4])
            self.assertLessEqual(macs, limit)
            self.assertEqual(limit, whole // 2)


if __name__ == "__main__":
    unittest.main()
