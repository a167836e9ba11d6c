"""Latency tables as people bring them in and out: `amc lut`, against a server on a port of its own."""
import json
import os
import re
import signal
import unittest

from amc_e2e import Background, TinyCase, amc, wait_until

SETTING = {"device": "Pixel 7", "runtime": "ncnn", "version": "20240820", "threads": "2", "batch": "1"}
HEADER = "layer,in,out,median_us,spread_us"


def csv(layers=("conv 3x3", "linear r1"), metadata=(), **changed):
    """A table of a 2 x 2 grid a layer, as amc writes it; `changed` replaces metadata."""
    settings = dict(SETTING, date="2026-11-20", tolerance="0.05")
    settings.update(changed)
    rows = [f"{layer},{i},{o},{i * o / 8:g},0.25" for layer in layers for i in (4, 8) for o in (16, 32)]
    return "\n".join(["# amc latency table 1", *(f"# {key}: {value}" for key, value in settings.items()), *metadata,
                      HEADER, *rows, f"# rows: {len(rows)}", ""])


FIT = ("# fit: model=any layers=0.9 byte_us=0.0001 constant_us=12.5 networks=48 median_error=0.011 p95_error=0.034 "
       "repeatability=0.008")


class LutTest(TinyCase):
    @classmethod
    def setUpClass(cls):  # needs neither model nor data
        pass

    def setUp(self):
        super().setUp()
        self.server = Background(self.dir, "server", "serve", "--address", "127.0.0.1:0", "--data-folder",
                                 f"{self.dir}/data")
        self.addCleanup(self.server.stop)
        self.server.wait_for("listening on ")
        self.address = self.server.output().split("listening on ")[1].split()[0]

    def write(self, name, content):
        path = f"{self.dir}/{name}"
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, name):
        with open(f"{self.dir}/{name}", "rb") as file:
            return file.read().decode()

    def lut(self, *args):
        return self.ok("lut", *args, "--server", self.address)

    def lut_json(self, *args):
        return json.loads(self.lut(*args, "--json"))

    def lut_fails(self, code, message, *args):
        return self.fails(code, message, "lut", *args, "--server", self.address)

    def test_in_and_out_byte_for_byte(self):
        table = csv(metadata=[FIT])
        info = self.lut_json("import", self.write("in.csv", table))
        digest = info["digest"]
        self.assertRegex(digest, "^[0-9a-f]{64}$")
        self.assertEqual((info["rows"], info["layers"], info["setting"]), ("8", "2", SETTING))
        self.assertEqual(info["fits"][0]["p95_error"], 0.034)
        self.lut("export", digest, "-o", f"{self.dir}/out.csv")
        self.assertEqual(self.read("out.csv"), table)
        self.assertEqual(self.lut("export", digest[:6], "-o", "-"), table)
        self.lut("export", digest[:12].upper(), "-o", f"{self.dir}/out.json")
        as_json = self.read("out.json")
        self.assertEqual(self.lut("export", digest, "-o", "-", "--json"), as_json)
        self.assertEqual(self.lut("show", digest, "--json"), as_json)
        # Neither the name nor the form makes another table of it.
        os.rename(f"{self.dir}/out.json", f"{self.dir}/misnamed.csv")
        self.assertIn(digest, self.lut("import", f"{self.dir}/misnamed.csv"))
        self.assertEqual(len(self.lut_json("list")["tables"]), 1)
        # A server that has it from JSON alone gives the same bytes.
        self.lut("delete", digest)
        self.lut("import", f"{self.dir}/misnamed.csv")
        self.assertEqual(self.lut("export", digest, "-o", "-"), table)
        self.assertEqual(self.lut("export", digest, "-o", "-", "--json"), as_json)

    def test_json_that_a_program_wrote(self):
        table = {"setting": dict(SETTING, threads=2, batch=1), "rows": [
            {"layer": "linear r1", "in": i, "out": 10, "median_us": i / 2} for i in (32, 16)]}
        info = self.lut_json("import", self.write("t.json", "\n  " + json.dumps(table)))
        self.assertEqual((info["rows"], info["layers"], info["date"]), ("2", "1", ""))
        rows = self.lut_json("show", info["digest"])["rows"]
        self.assertEqual([row["in"] for row in rows], ["16", "32"])

    def test_list_and_show(self):
        self.assertIn("There are none", self.lut("list"))
        first = self.lut_json("import", self.write("a.csv", csv(metadata=[FIT])))["digest"]
        second = self.lut_json("import", self.write("b.csv", csv(device="A" * 80)))["digest"]
        self.assertEqual([info["digest"] for info in self.lut_json("list")["tables"]], [second, first])
        listed = self.lut("list").splitlines()
        self.assertRegex(listed[0], r"^table +runtime +version +device +threads +batch +layers +rows +fits")
        self.assertRegex(listed[2], rf"^{second[:12]}  ncnn .* A{{40}}  ")
        self.assertRegex(listed[3], rf"^{first[:12]}  ncnn +20240820  Pixel 7 .* 2 +8 +1  2026-11-20")
        self.assertIn("There are more tables than these 1", self.lut("list", "--limit", 1))
        shown = self.lut("show", first[:12])
        self.assertIn(first, shown)
        self.assertIn("ncnn 20240820 on Pixel 7, 2 threads, batch 1", shown)
        self.assertRegex(shown, r"(?m)^conv 3x3 +4 +4 - 8 +16 - 32 +8\.00 +32\.00$")
        self.assertRegex(shown, r"(?m)^any +0\.9000 +100\.00 +0\.00 +12\.50 +48 +1\.1% +3\.4% +0\.8%$")
        rows = self.lut("show", first, "--rows")
        self.assertEqual(len([line for line in rows.splitlines() if line.startswith("conv 3x3")]), 4)
        self.assertIn("no fits", self.lut("show", second))

    def test_extend(self):
        base = self.lut_json("import", self.write("a.csv", csv(["conv 3x3"])))["digest"]
        more = self.write("b.csv", csv(["linear r1"]))
        both = self.lut_json("import", more, "--extend", base[:12])
        self.assertEqual((both["rows"], both["layers"]), ("8", "2"))
        self.assertEqual(self.lut("export", both["digest"], "-o", "-"), csv())
        self.assertEqual(len(self.lut_json("list")["tables"]), 2)
        other = self.write("c.csv", csv(["linear r1"], device="Pixel 8"))
        self.lut_fails(1, r"c\.csv: .*Pixel 7.*Pixel 8\n.*--extend", "import", other, "--extend", base)
        self.lut_fails(1, r"0{12}.*\n`amc lut list`", "import", more, "--extend", "0" * 12)
        self.lut_fails(2, "--extend", "import", more, "--extend", "123")
        self.assertEqual(len(self.lut_json("list")["tables"]), 2)

    def test_delete(self):
        digest = self.lut_json("import", self.write("a.csv", csv()))["digest"]
        self.assertEqual(self.lut("delete", digest[:12]), "")
        for command in (["delete", digest], ["show", digest[:12]], ["export", digest, "-o", f"{self.dir}/x.csv"]):
            self.lut_fails(1, digest[:12] + r".*\n`amc lut list`", *command)
        self.assertFalse(os.path.exists(f"{self.dir}/x.csv"))

    def test_digests_are_hexadecimal_and_long_enough(self):
        for digest in ("12345", "nonesuch", "0" * 65):
            for command in (["delete", digest], ["show", digest], ["export", digest, "-o", f"{self.dir}/x.csv"]):
                self.lut_fails(2, "is not a table's digest", *command)

    def test_exports_that_cannot_be_written(self):
        digest = self.lut_json("import", self.write("a.csv", csv()))["digest"]
        self.lut_fails(2, r"x\.txt.*FILE\.csv, FILE\.json or -", "export", digest, "-o", f"{self.dir}/x.txt")
        self.lut_fails(1, "nowhere", "export", digest, "-o", f"{self.dir}/nowhere/x.csv")
        self.lut_fails(2, "--output", "export", digest)
        kept = self.write("kept.csv", "old")
        self.lut("export", digest, "-o", kept)
        self.assertEqual(self.read("kept.csv"), csv())
        self.assertEqual([name for name in os.listdir(self.dir) if name.startswith("kept")], ["kept.csv"])

    def refused(self, content, message, name="bad.csv"):
        """Neither check nor import takes the file; both say why."""
        path = self.write(name, content)
        self.fails(1, rf"{name}: .*{message}", "lut", "check", path)
        self.lut_fails(1, rf"{name}: .*{message}", "import", path)
        self.assertEqual(self.lut_json("list")["tables"], [])

    def test_bad_csv(self):
        good = csv()
        self.refused("", "line 1.*truncated")
        self.refused(good.replace("conv 3x3,4,32,16", "conv 3x3,4,32,-16"), "line 11: .*median_us is -16")
        self.refused(good.replace("conv 3x3,4,32,16", "conv 3x3,4,32,nan"), 'line 11: .*median_us is "nan"')
        self.refused(good.replace("conv 3x3,4,32,16", "conv 3x3,4,32,1e999"), "line 11: .*median_us")
        self.refused(good.replace("conv 3x3,4,32,16,0.25\n", "").replace("rows: 8", "rows: 7"), "conv 3x3.*4.*32")
        self.refused(good.replace("conv 3x3,4,32,16", "conv 3x3,4,16,16"), "line 11")
        self.refused(good.replace("conv 3x3,4,32,16", "conv 3x3,4,32"), "line 11: .*fields")
        self.refused(good.replace("# device: Pixel 7\n", ""), "device")
        self.refused(good.replace("# threads: 2", "# threads: two"), "threads")
        for length in (10, len(good) // 2, len(good) - 12):
            self.refused(good[:length], "line")
        self.refused(bytes(reversed(range(256))) * 16, "line 1")
        self.refused(b"\x7fELF\x02\x01\x01" + bytes(4000), "line 1")
        self.refused("this is no table\n" * 100, "line 1.*no latency table")

    def test_bad_json(self):
        def table(**row):
            rows = [{"layer": "conv 3x3", "in": 4, "out": out, "median_us": 3.5} for out in (8, 16)]
            rows[1].update(row)
            return json.dumps({"setting": SETTING, "rows": rows})
        self.refused(table(median_us=-1), "row 2: conv 3x3: median_us is -1")
        self.refused(table(median_us="NaN"), "row 2: conv 3x3: median_us is nan")
        self.refused(table(out=8), "row 2")
        self.refused(table(**{"in": 8}), "conv 3x3")
        self.refused(table(surprise=1), "LatencyTable.*surprise")
        self.refused(table()[:-5], "LatencyTable")
        self.refused("{}", "device is empty")
        self.refused('{"keep": {"conv1": 8}}', "LatencyTable.*keep")
        self.refused(b'{"date": "\xff\xfe"}', "byte 10 is 0xff")
        self.refused(b'{\x1b[31m', "byte 1 is 0x1b")
        self.refused('{"rows":' * 10000, "LatencyTable")
        self.refused('["conv 3x3", 4, 8, 3.5]', "no latency table")

    def test_files_that_are_not_there(self):
        self.lut_fails(1, "none.csv: No such file", "import", f"{self.dir}/none.csv")
        self.lut_fails(1, "directory", "import", self.dir)
        self.fails(2, "FILE", "lut", "check")

    def test_a_restart_keeps_them(self):
        digest = self.lut_json("import", self.write("a.csv", csv()))["digest"]
        self.assertEqual(self.server.stop(), 0)
        again = Background(self.dir, "again", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/data")
        self.addCleanup(again.stop)
        again.wait_for("listening on ")
        self.address = again.output().split("listening on ")[1].split()[0]
        self.assertEqual(self.lut("export", digest, "-o", "-"), csv())


class LutOfJobsTest(TinyCase):
    def test_a_table_outlives_the_jobs_that_name_it(self):
        table = f"{self.dir}/table.csv"
        self.ok("lut", "build", self.model, "--points", 3, "--tolerance", 0.4, "--networks", 3, "--unseen", 2, "-o", table)
        server = Background(self.dir, "server", "serve", "--address", "127.0.0.1:0", "--data-folder", f"{self.dir}/data")
        self.addCleanup(server.stop)
        server.wait_for("listening on ")
        at = ["--server", server.output().split("listening on ")[1].split()[0]]
        job = self.json("submit", "--model", self.model, "--data", self.pack, "--budget", "latency=0.8",
                        "--latency-table", table, *at)["id"]
        digest = json.loads(self.ok("lut", "list", "--json", *at))["tables"][0]["digest"]
        hint = rf'latency table {digest} is needed by job "{job}", which is .*\n`amc delete JOB` .*`amc cancel JOB`'
        self.fails(1, hint, "lut", "delete", digest[:12], *at)
        self.ok("cancel", job, *at)
        self.fails(1, hint, "lut", "delete", digest[:12], *at)
        wait_until(lambda: amc("delete", job, *at).returncode == 0, what="the cancelled job's end")
        self.assertEqual(self.ok("lut", "delete", digest[:12], *at), "")


class LutBuildOnServerTest(TinyCase):
    """Tables that a server's workers measure."""
    # As coarse as a table can be: how good it is is another test's business.
    COARSE = ("--points", 2, "--tolerance", 0.5, "--networks", 3, "--unseen", 1)

    def setUp(self):
        super().setUp()
        self.server = self.serve("server", "127.0.0.1:0")
        self.address = self.server.output().split("listening on ")[1].split()[0]

    def serve(self, name, address):
        server = Background(self.dir, name, "serve", "--address", address, "--data-folder", f"{self.dir}/data")
        self.addCleanup(server.stop)
        server.wait_for("listening on ")
        return server

    def work(self):
        worker = Background(self.dir, "worker", "worker", "--server", self.address, "--cache", f"{self.dir}/cache")
        self.addCleanup(worker.stop)

    def build(self, *more):
        return self.ok("lut", "build", self.model, "--server", self.address, *self.COARSE, *more)

    def jobs(self):
        return self.json("jobs", "--server", self.address)["jobs"]

    def test_workers_measure_it(self):
        self.work()
        path = f"{self.dir}/table.csv"
        said = self.build("-o", path)
        rows, measured = re.match(rf"{path}: (\d+) rows, (\d+) measured now, of libtorch .* 1 thread, batch 1\n", said).groups()
        self.assertEqual(rows, measured)
        self.assertRegex(said, r"whole networks: predicted within .* of what 1 unseen ones took")
        digest = re.search(r"(?m)^digest ([0-9a-f]{64})$", said)[1]
        info = self.json("lut", "check", path)
        self.assertEqual((info["digest"], info["rows"]), (digest, rows))
        with open(path) as file:
            self.assertEqual(self.ok("lut", "export", digest, "-o", "-", "--server", self.address), file.read())
        [job] = self.jobs()
        self.assertEqual(job["result"]["table"]["table"]["digest"], digest)
        self.assertRegex(self.ok("jobs", "--server", self.address), rf"{job['id']} +model +succeeded .*\(latency table\)")
        self.assertIn(digest, self.ok("watch", job["id"], "--server", self.address))
        self.fails(1, rf"has made a latency table.*\n`amc lut export {digest}", "export", job["id"], "-o", f"{self.dir}/x.onnx",
                   "--server", self.address)
        self.fails(1, "makes a latency table", "best", job["id"], "--pareto", "--server", self.address)
        # What is there already is not measured again.
        self.assertIn(f"{rows} rows, 0 measured now", self.build("-o", path, "--seed", 1))
        table = self.json("lut", "build", self.model, "--server", self.address, *self.COARSE, "--seed", 2, "--extend", digest[:12])
        self.assertEqual((table["rows"], table["setting"]["runtime"]), (rows, "libtorch"))
        self.assertNotEqual(table["digest"], digest)

    def test_a_killed_server_goes_on(self):
        self.work()
        path = f"{self.dir}/table.csv"
        build = Background(self.dir, "build", "lut", "build", self.model, "--server", self.address, "--points", 5, "--tolerance",
                           0.02, "--networks", 3, "--unseen", 1, "--connect-timeout", 30, "-o", path)
        self.addCleanup(build.stop)
        job = wait_until(self.jobs, what="a job")[0]["id"]
        watch = Background(self.dir, "watch", "watch", job, "--json", "--server", self.address, "--connect-timeout", 30)
        self.addCleanup(watch.stop)

        def progress():
            lines = [json.loads(line) for line in watch.output().splitlines() if line.endswith("}")]
            return [line for line in lines if line["message"] == "measuring layers"]
        # Past the first part, so that there is something to go on from.
        wait_until(lambda: progress() and int(progress()[-1]["done"]) > 60, what="progress")
        self.server.stop(signal.SIGKILL)
        before = progress()[-1]
        self.server = self.serve("again", self.address)
        self.assertEqual(build.process.wait(120), 0, build.output())
        after = progress()[len(progress()) - 1]
        self.assertEqual(after["total"], before["total"])
        self.assertEqual(build.output().count(f"{path}: {before['total']} rows, {before['total']} measured now"), 1, build.output())
        self.assertEqual([job["state"] for job in self.jobs()], ["JOB_STATE_SUCCEEDED"])

    def test_a_cancelled_measurement_does_not_stop_the_next(self):
        self.work()
        here = ("--server", self.address)
        [worker] = wait_until(lambda: self.json("workers", *here).get("workers"), what="a worker")
        if not any(runtime.startswith("onnxruntime ") for runtime in worker["capabilities"]["runtimes"]):
            self.skip_or_fail("onnxruntime")
        build = Background(self.dir, "build", "lut", "build", self.model, *here, "--runtime", "onnxruntime", "--points", 5,
                           "--networks", 3, "--unseen", 1)
        self.addCleanup(build.stop)
        job = wait_until(self.jobs, what="a job")[0]["id"]

        def activity():
            return self.json("workers", *here)["workers"][0].get("progress") or {}
        wait_until(lambda: int(activity().get("done", 0)) > 0, what="progress")
        self.ok("cancel", job, *here)
        self.assertEqual(build.process.wait(30), 1)
        # Its helper process was killed with it.
        self.assertRegex(self.build("--runtime", "onnxruntime"), r"of onnxruntime .* 1 thread, batch 1\n")
        self.ok("resume", job, *here)
        self.assertRegex(self.ok("watch", job, *here), r"of onnxruntime .* 1 thread, batch 1\n")
        [after] = self.json("workers", "--all", *here)["workers"]
        self.assertEqual(after["uuid"], worker["uuid"])  # and it did not crash

    def test_without_a_worker_that_measures_so_it_waits(self):
        self.work()
        build = Background(self.dir, "build", "lut", "build", self.model, "--server", self.address, *self.COARSE, "--device",
                           "No Such CPU")
        self.addCleanup(build.stop)
        build.wait_for("waiting for a worker: none of those connected measures with libtorch on No Such CPU, 1 thread")
        job = self.jobs()[0]["id"]
        self.ok("cancel", job, "--server", self.address)
        self.assertEqual(build.process.wait(30), 1)
        self.assertRegex(build.output(), rf"{job} was cancelled\nWhat it has measured is kept; `amc resume {job}`")

    def test_what_cannot_be_measured_is_refused(self):
        where = ("--server", self.address)
        self.fails(1, r"none\.onnx", "lut", "build", f"{self.dir}/none.onnx", *where)
        self.fails(1, r"model\.onnx", "lut", "build", self.broken_model(), *where)
        self.fails(1, r"--extend: .*0{12}", "lut", "build", self.model, "--extend", "0" * 12, *where)
        self.fails(1, r"--extend: .*no table|--extend: \"12345\"", "lut", "build", self.model, "--extend", "12345", *where)
        self.fails(1, "nowhere", "lut", "build", self.model, "-o", f"{self.dir}/nowhere/x.csv", *where)
        self.fails(2, "--tolerance", "lut", "build", self.model, "--tolerance", 3, *where)
        self.assertEqual(self.jobs(), [])

    def broken_model(self):
        path = f"{self.dir}/model.onnx"
        with open(self.model, "rb") as model, open(path, "wb") as broken:
            broken.write(model.read()[:1000])
        return path


class LutWithoutServerTest(TinyCase):
    @classmethod
    def setUpClass(cls):
        pass

    def test_check_needs_no_server(self):
        path = f"{self.dir}/table.csv"
        with open(path, "w") as file:
            file.write(csv(metadata=[FIT]))
        info = self.json("lut", "check", path)
        self.assertEqual((info["rows"], info["layers"], info["import_time_ms"]), ("8", "2", "0"))
        self.assertEqual(self.ok("lut", "check", path),
                         f"table {info['digest']}: 8 rows of 2 layers, ncnn 20240820 on Pixel 7, 2 threads, batch 1\n")
        self.fails(2, "server", "lut", "check", path, "--server", "127.0.0.1:1")

    def test_a_server_that_is_not_there(self):
        for command in (["list"], ["show", "0" * 12], ["delete", "0" * 12], ["export", "0" * 12, "-o", "-"]):
            self.fails(3, r"cannot reach 127.0.0.1:1\n.*amc serve", "lut", *command, "--server", "127.0.0.1:1",
                       "--connect-timeout", "0.3")

    def test_building_needs_an_output_or_a_server(self):
        model = f"{self.dir}/model.onnx"
        self.fails(2, "--output is required; with --server", "lut", "build", model)
        self.fails(2, "--device requires --server", "lut", "build", model, "-o", f"{self.dir}/x.csv", "--device", "Pixel 7")
        self.fails(2, "--server", "lut", "build", model, "--server", "nowhere")

    def test_help(self):
        self.fails(2, "lut", "lut")
        for command in ("build", "import", "export", "list", "show", "check", "delete"):
            text = self.ok("lut", command, "--help")
            self.assertRegex(text, rf"Example:\n  amc lut {command}")
            self.assertIn(f"lut {command}", self.ok("--help"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
