// The CSV of latency tables: what it looks like, what it refuses, and how tables grow.
#include "env/cost/latency_table.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kModel(64, 'a');  // NOLINT

constexpr char kConv[] = "conv 3x3 s1x1 p1x1x1x1 d1x1 g1 32x32 bias relu";
constexpr char kDepthwise[] = "depthwise 3x3 s1x1 p1x1x1x1 d1x1 m1 32x32 bias relu6";

// The example of docs/formats.md.
constexpr char kCsv[] =
    "# amc latency table 1\n"
    "# device: AMD EPYC 9R14\n"
    "# runtime: libtorch\n"
    "# version: 1.13.1\n"
    "# threads: 1\n"
    "# batch: 1\n"
    "# date: 2026-11-20T22:15:01Z\n"
    "# tolerance: 0.02\n"
    "# fit: model=any layers=1.04 byte_us=0.00012 constant_us=31.5 networks=40 median_error=0.03 "
    "p95_error=0.09 repeatability=0.01\n"
    "# fit: model=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa layers=0.98 "
    "byte_us=5e-05 constant_us=-2 networks=0 median_error=0 p95_error=0 repeatability=0\n"
    "layer,in,out,median_us,spread_us\n"
    "conv 3x3 s1x1 p1x1x1x1 d1x1 g1 32x32 bias relu,8,16,41.7,0.9\n"
    "conv 3x3 s1x1 p1x1x1x1 d1x1 g1 32x32 bias relu,8,32,70.2,1.3\n"
    "conv 3x3 s1x1 p1x1x1x1 d1x1 g1 32x32 bias relu,16,16,60,0\n"
    "conv 3x3 s1x1 p1x1x1x1 d1x1 g1 32x32 bias relu,16,32,120.25,2\n"
    "depthwise 3x3 s1x1 p1x1x1x1 d1x1 m1 32x32 bias relu6,8,8,12.5,0.25\n"
    "depthwise 3x3 s1x1 p1x1x1x1 d1x1 m1 32x32 bias relu6,32,32,30,0.5\n"
    "# rows: 6\n";

LatencyTable Table() {
  LatencyTable table;
  table.setting = {"AMD EPYC 9R14", "libtorch", "1.13.1", 1, 1};
  table.date = "2026-11-20T22:15:01Z";
  table.tolerance = 0.02;
  table.fits = {{"", 1.04, 0.00012, 0, 31.5, 40, 0.03, 0.09, 0.01}, {kModel, 0.98, 5e-5, 0, -2}};
  table.rows = {{kConv, 8, 16, 41.7, 0.9},      {kConv, 8, 32, 70.2, 1.3},
                {kConv, 16, 16, 60, 0},         {kConv, 16, 32, 120.25, 2},
                {kDepthwise, 8, 8, 12.5, 0.25}, {kDepthwise, 32, 32, 30, 0.5}};
  return table;
}

// The example with `from`, which it must hold, replaced.
std::string With(const std::string& from, const std::string& to) {
  std::string csv = kCsv;
  EXPECT_NE(csv.find(from), std::string::npos) << from;
  return absl::StrReplaceAll(csv, {{from, to}});
}

void ExpectRefused(const std::string& csv, const std::string& line, const std::string& reason) {
  const absl::StatusOr<LatencyTable> table = ReadLatencyCsv(csv);
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument) << table.status();
  EXPECT_THAT(std::string(table.status().message()),
              AllOf(HasSubstr(absl::StrCat(line, ": ")), HasSubstr(reason)));
}

void ExpectBad(const LatencyTable& table, const std::string& message) {
  const absl::Status status = CheckLatencyTable(table);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(LatencyTableTest, SettingReadsAsASentence) {
  EXPECT_EQ(ToString({"Pixel 7", "onnxruntime", "1.17", 4, 8}),
            "onnxruntime 1.17 on Pixel 7, 4 threads, batch 8");
  EXPECT_EQ(ToString({"Pixel 7", "mine", "", 1, 1}), "mine on Pixel 7, 1 thread, batch 1");
}

TEST(LatencyCsvTest, WritesTheDocumentedBytes) { EXPECT_EQ(WriteLatencyCsv(Table()), kCsv); }

TEST(LatencyCsvTest, ReadsWhatItWrites) {
  const absl::StatusOr<LatencyTable> table = ReadLatencyCsv(kCsv);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(*table, Table());
  EXPECT_EQ(WriteLatencyCsv(*table), kCsv);
}

TEST(LatencyCsvTest, NumbersComeBackToTheLastBit) {
  LatencyTable table = Table();
  Rng rng(3);
  table.rows.clear();
  for (int64_t n = 1; n <= 500; ++n) {
    const double scale = std::pow(10, rng.Uniform(-20, 20));
    table.rows.push_back({"linear r1", n, 7, rng.Uniform() * scale, rng.Uniform() / scale});
  }
  table.rows[0].median_us = std::numeric_limits<double>::max();
  table.rows[1].median_us = std::numeric_limits<double>::min();
  table.rows[2].median_us = 0.1 + 0.2;
  table.rows[3].median_us = 1e15;
  table.fits[0].constant_us = -1.0 / 3;
  table.fits[0].byte_us = 123456789012345678.0;
  table.fits[1].channel_us = 2.0 / 3;
  const absl::StatusOr<LatencyTable> read = ReadLatencyCsv(WriteLatencyCsv(table));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, table);
}

TEST(LatencyCsvTest, ChannelTimesStandWhereThereAreAny) {
  LatencyTable table = Table();
  EXPECT_THAT(WriteLatencyCsv(table), Not(HasSubstr("channel_us")));
  table.fits[0].channel_us = 0.25;
  EXPECT_THAT(WriteLatencyCsv(table), HasSubstr(" byte_us=0.00012 channel_us=0.25 constant_us="));
}

TEST(LatencyCsvTest, WritesNumbersAsPeopleDo) {
  LatencyTable table = Table();
  table.rows = {{"linear r1", 1, 1, 100000, 0.0001}, {"linear r1", 2, 1, 2e15, 0.00001}};
  const std::string csv = WriteLatencyCsv(table);
  EXPECT_THAT(csv, HasSubstr("linear r1,1,1,100000,0.0001\n"));
  EXPECT_THAT(csv, HasSubstr("linear r1,2,1,2e+15,1e-05\n"));
}

TEST(LatencyCsvTest, EmptyTableIsOne) {
  LatencyTable table = Table();
  table.rows.clear();
  table.fits.clear();
  table.setting.version.clear();
  table.date.clear();
  const std::string csv = WriteLatencyCsv(table);
  EXPECT_THAT(csv, HasSubstr("# version:\n"));
  EXPECT_THAT(csv, HasSubstr("# date:\n"));
  const absl::StatusOr<LatencyTable> read = ReadLatencyCsv(csv);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, table);
}

TEST(LatencyCsvTest, TakesWhatSpreadsheetsWrite) {
  const absl::StatusOr<LatencyTable> crlf =
      ReadLatencyCsv(absl::StrReplaceAll(kCsv, {{"\n", "\r\n"}}));
  ASSERT_TRUE(crlf.ok()) << crlf.status();
  EXPECT_EQ(*crlf, Table());

  const absl::StatusOr<LatencyTable> blank = ReadLatencyCsv(With("12.5,0.25", "12.5,"));
  ASSERT_TRUE(blank.ok()) << blank.status();
  EXPECT_EQ(blank->rows[4].spread_us, 0);

  std::string csv = kCsv;
  csv.pop_back();  // nor a line end at the end
  for (const char* spread : {",spread_us", ",0.9", ",1.3", ",0\n", ",2\n", ",0.25", ",0.5"}) {
    const bool ends_line = spread[2] == '\n';
    const size_t at = csv.find(spread, csv.find("layer,in"));
    ASSERT_NE(at, std::string::npos) << spread;
    csv.erase(at, std::string(spread).size() - (ends_line ? 1 : 0));
  }
  const absl::StatusOr<LatencyTable> without = ReadLatencyCsv(csv);
  ASSERT_TRUE(without.ok()) << without.status();
  LatencyTable expected = Table();
  for (LatencyRow& row : expected.rows) row.spread_us = 0;
  EXPECT_EQ(*without, expected);
}

TEST(LatencyCsvTest, OrderOfLinesDoesNotMatter) {
  std::vector<std::string> lines = absl::StrSplit(kCsv, '\n');
  std::swap(lines[1], lines[9]);
  std::swap(lines[2], lines[8]);
  std::reverse(lines.begin() + 11, lines.begin() + 17);
  const absl::StatusOr<LatencyTable> table = ReadLatencyCsv(absl::StrJoin(lines, "\n"));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(*table, Table());
}

TEST(LatencyCsvTest, RefusesWhatIsNoTableOfThisVersion) {
  ExpectRefused("", "line 1", "ends before its \"# amc latency table\" line");
  ExpectRefused("layer,in,out\n", "line 1", "is \"layer,in,out\", want \"# amc latency table 1\"");
  ExpectRefused(With("table 1\n", "table 2\n"), "line 1",
                "a latency table of version 2, this program reads 1");
  ExpectRefused(With("table 1\n", "table 0\n"), "line 1", "no latency table");
  ExpectRefused(With("table 1\n", "table one\n"), "line 1", "no latency table");
  ExpectRefused(With("table 1\n", "table 99999999999999999999\n"), "line 1", "no latency table");
}

TEST(LatencyCsvTest, RefusesBadMetadata) {
  ExpectRefused(With("# device", "# color"), "line 2", "unknown metadata \"color\"");
  ExpectRefused(With("# runtime: libtorch", "# device: Pixel 7"), "line 3",
                "device is in line 2 already");
  ExpectRefused(With("# batch: 1\n", ""), "line 10", "no \"# batch:\" line above");
  ExpectRefused(With("AMD EPYC 9R14", ""), "line 2", "device is empty");
  ExpectRefused(With("# device: AMD EPYC 9R14", "# device:"), "line 2", "device is empty");
  ExpectRefused(With("# runtime: libtorch", "# runtime:"), "line 3", "runtime is empty");
  ExpectRefused(With("libtorch", "libtorch "), "line 3",
                "runtime is \"libtorch \", want no blanks at its ends");
  ExpectRefused(With("libtorch", std::string(1025, 'x')), "line 3",
                "runtime has 1025 bytes, want at most 1024");
  ExpectRefused(With("# runtime: ", "# runtime:"), "line 3", "no blank after \"runtime:\"");
  ExpectRefused(With("# runtime: ", "# runtime "), "line 3", "want \"# key: value\"");
  ExpectRefused(With("# runtime: ", "#runtime: "), "line 3", "want \"# key: value\"");
  ExpectRefused(With("threads: 1", "threads: 0"), "line 5", "threads is 0, want at least 1");
  ExpectRefused(With("threads: 1", "threads: 1.5"), "line 5",
                "threads is \"1.5\", want an integer");
  ExpectRefused(With("batch: 1", "batch: -1"), "line 6", "batch is -1, want at least 1");
  ExpectRefused(With("2026-11-20T22:15:01Z", "yesterday"), "line 7", "date is \"yesterday\"");
  ExpectRefused(With("2026-11-20T22:15:01Z", "infinite-past"), "line 7", "date is \"infinite");
  ExpectRefused(With("2026-11-20T22:15:01Z", "2026-13-20"), "line 7", "date is \"2026-13-20\"");
  ExpectRefused(With("tolerance: 0.02", "tolerance: -0.02"), "line 8",
                "tolerance is -0.02, want at least 0");
  ExpectRefused(With("tolerance: 0.02", "tolerance: inf"), "line 8",
                "tolerance is \"inf\", want a finite number");
  ExpectRefused(With("layer,in,out,", "layer,out,in,"), "line 11",
                "is \"layer,out,in,median_us,spread_us\", want");
  ExpectRefused(With("# threads", "\n# threads"), "line 5", "is \"\", want");
}

TEST(LatencyCsvTest, RefusesBadFits) {
  ExpectRefused(With("layers=1.04 ", ""), "line 9", "fit: no layers");
  ExpectRefused(With("model=any ", ""), "line 9", "fit: no model");
  ExpectRefused(With("networks=40 ", ""), "line 9", "fit: no networks");
  ExpectRefused(With("layers=1.04", "layers=1.04 layers=2"), "line 9", "fit: \"layers\" twice");
  ExpectRefused(With("layers=1.04", "layers=1.04 color=2"), "line 9", "fit: unknown \"color\"");
  ExpectRefused(With("layers=1.04", "layers"), "line 9", "fit: \"layers\", want key=value");
  ExpectRefused(With("layers=1.04", "layers=1.04 "), "line 9", "fit: \"\", want key=value");
  ExpectRefused(With("layers=1.04", "layers=nan"), "line 9",
                "fit: layers is \"nan\", want a finite number");
  ExpectRefused(With("networks=40", "networks=4.5"), "line 9",
                "fit: networks is \"4.5\", want an integer");
  ExpectRefused(With("networks=40", "networks=-4"), "line 9", "fit: networks is -4, want at least");
  ExpectRefused(With("median_error=0.03", "median_error=-0.03"), "line 9",
                "fit: median_error is -0.03, want at least 0");
  ExpectRefused(With("model=any", "model="), "line 9", "fit: model is empty");
  ExpectRefused(With("model=any", "model=resnet"), "line 9",
                "fit: model is \"resnet\", want a sha256");
  ExpectRefused(With("model=any", absl::StrCat("model=", kModel)), "line 10",
                absl::StrCat("fit of model ", kModel, " is in line 9 already"));
}

TEST(LatencyCsvTest, RefusesBadRows) {
  ExpectRefused(With(",41.7,0.9", ",41.7"), "line 12", "has 4 fields, want 5");
  ExpectRefused(With(",41.7,0.9", ",41.7,0.9,"), "line 12", "has 6 fields, want 5");
  ExpectRefused(With(",spread_us", ""), "line 12", "has 5 fields, want 4");
  ExpectRefused(With(",8,16,", ",eight,16,"), "line 12", "in is \"eight\", want an integer");
  ExpectRefused(With(",8,16,", ",8.0,16,"), "line 12", "in is \"8.0\", want an integer");
  ExpectRefused(With(",8,16,", ", 8,16,"), "line 12", "in is \" 8\", want an integer");
  ExpectRefused(With(",8,16,", ",8,0x10,"), "line 12", "out is \"0x10\", want an integer");
  ExpectRefused(With(",8,16,", ",8,,"), "line 12", "out is \"\", want an integer");
  ExpectRefused(With(",8,16,", ",8,99999999999999999999,"), "line 12", "want an integer");
  ExpectRefused(With(",8,16,", ",0,16,"), "line 12", "in is 0, want at least 1");
  ExpectRefused(With(",8,16,", ",8,-16,"), "line 12", "out is -16, want at least 1");
  ExpectRefused(With(",41.7,", ",fast,"), "line 12", "median_us is \"fast\", want a finite number");
  ExpectRefused(With(",41.7,", ",41.7us,"), "line 12", "want a finite number");
  ExpectRefused(With(",41.7,", ",,"), "line 12", "median_us is \"\", want a finite number");
  ExpectRefused(With(",41.7,", ",nan,"), "line 12", "median_us is \"nan\", want a finite number");
  ExpectRefused(With(",41.7,", ",inf,"), "line 12", "median_us is \"inf\", want a finite number");
  ExpectRefused(With(",41.7,", ",1e999,"), "line 12", "median_us is \"1e999\", want a finite");
  ExpectRefused(With(",41.7,", ",-1,"), "line 12", "median_us is -1, want above 0");
  ExpectRefused(With(",41.7,", ",0,"), "line 12", "median_us is 0, want above 0");
  ExpectRefused(With(",0.9\n", ",-0.9\n"), "line 12", "spread_us is -0.9, want at least 0");
  ExpectRefused(With(",0.9\n", ",nan\n"), "line 12", "spread_us is \"nan\", want a finite number");
  ExpectRefused(With(",32,32,30", ",16,32,30"), "line 17", "out is 32, want 16 as in");
  ExpectRefused(With(std::string(kConv) + ",8,16", "\"conv\",8,16"), "line 12",
                "a kind without commas or quotes");
  ExpectRefused(With(std::string(kConv) + ",8,16", ",8,16"), "line 12", "layer is \"\"");
  ExpectRefused(With(std::string(kConv) + ",8,16", " conv,8,16"), "line 12",
                "no blanks at its ends");
  ExpectRefused(With(std::string(kConv) + ",8,16", "#conv,8,16"), "line 12",
                "after the header line, want a row or \"# rows: N\"");
}

TEST(LatencyCsvTest, RefusesBytesThatAreNoText) {
  ExpectRefused(With("41.7", std::string("4\0001.7", 5)), "line 12", "control character 0x00");
  ExpectRefused(With("EPYC", "EP\tYC"), "line 2", "control character 0x09");
  ExpectRefused(With("41.7", "41.7\r"), "line 12", "control character 0x0d");
  ExpectRefused(With("EPYC", "EP\xFFYC"), "line 2", "is not UTF-8");
  EXPECT_TRUE(ReadLatencyCsv(With("EPYC", "\xC3\x89PYC")).ok());
}

TEST(LatencyCsvTest, RefusesKeysTwiceAndNamesBothLines) {
  ExpectRefused(With(",8,32,70.2", ",8,16,70.2"), "line 13",
                absl::StrCat(kConv, ": in 8, out 16 is in line 12 already"));
  ExpectRefused(With(",32,32,30", ",8,8,30"), "line 17",
                absl::StrCat(kDepthwise, ": in 8, out 8 is in line 16 already"));
}

TEST(LatencyCsvTest, RefusesGridsWithAPointMissing) {
  const auto without = [](const std::string& row) {
    return absl::StrReplaceAll(With(absl::StrCat(kConv, row, "\n"), ""), {{"rows: 6", "rows: 5"}});
  };
  ExpectRefused(without(",16,16,60,0"), "line 12",
                absl::StrCat(kConv, ": in 16, out 16 is missing from its grid of 2 x 2 points"));
  ExpectRefused(without(",16,32,120.25,2"), "line 12",
                "in 16, out 32 is missing from its grid of 2 x 2 points, of which there are 3");
}

TEST(LatencyCsvTest, RefusesTruncatedAndContinuedFiles) {
  ExpectRefused(With("# rows: 6\n", ""), "line 18", "ends before its \"# rows:\" line: truncated?");
  ExpectRefused(std::string(kCsv).substr(0, 60), "line 4", "ends before its \"layer,in,out,");
  ExpectRefused(With("# rows: 6", "# rows: six"), "line 18", "rows is \"six\", want an integer");
  ExpectRefused(With("# rows: 6", "# rows: 7"), "line 18", "says 7 rows, there are 6: truncated");
  ExpectRefused(With("# rows: 6", "# columns: 6"), "line 18", "want a row or \"# rows: N\"");
  ExpectRefused(std::string(kCsv) + "more", "line 19", "text after the \"# rows\" line: \"more\"");
  ExpectRefused(std::string(kCsv) + "\n", "line 19", "text after the \"# rows\" line: \"\"");
  // Every shorter prefix but the one that lacks the last line end.
  const std::string csv = kCsv;
  for (size_t size = 0; size + 1 < csv.size(); ++size) {
    EXPECT_FALSE(ReadLatencyCsv(csv.substr(0, size)).ok()) << size;
  }
}

TEST(LatencyCsvTest, RefusesLinesAndTablesThatAreTooLong) {
  ExpectRefused(With("EPYC", std::string(70000, 'x')), "line 2", "want at most 65536");
  const std::string head = std::string(kCsv).substr(0, std::string(kCsv).find("conv"));
  std::string rows = head;
  for (int i = 1; i <= 1'000'001; ++i) absl::StrAppend(&rows, "l,", i, ",1,1,0\n");
  ExpectRefused(rows + "# rows: 1000001\n", "line 1000012", "more than 1000000 rows");
}

// Nothing that comes in as a table may crash or hang; what is taken can be written and read again.
TEST(LatencyCsvTest, AnyDamageIsRefusedOrHarmless) {
  Rng rng(7);
  const std::string csv = kCsv;
  int taken = 0;
  for (int trial = 0; trial < 5000; ++trial) {
    std::string damaged = csv.substr(0, rng.Below(4) == 0 ? rng.Below(csv.size()) : csv.size());
    for (uint64_t edits = rng.Below(4); edits-- > 0 && !damaged.empty();) {
      const size_t at = rng.Below(damaged.size());
      const size_t count = rng.Below(20);
      switch (rng.Below(5)) {
        case 0:
          damaged[at] = static_cast<char>(rng.Below(256));
          break;
        case 1:
          damaged[at] = "0123456789,.-+eE#:=\r\n \"x"[rng.Below(24)];
          break;
        case 2:
          damaged.erase(at, count);
          break;
        case 3:
          damaged.insert(at, csv.substr(rng.Below(csv.size()), count));
          break;
        case 4:
          damaged.insert(at, std::string(count, static_cast<char>('0' + rng.Below(10))));
          break;
      }
    }
    const absl::StatusOr<LatencyTable> table = ReadLatencyCsv(damaged);
    if (!table.ok()) {
      EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(table.status().message()), ::testing::StartsWith("line "));
      continue;
    }
    ++taken;
    EXPECT_TRUE(CheckLatencyTable(*table).ok()) << damaged;
    const absl::StatusOr<LatencyTable> again = ReadLatencyCsv(WriteLatencyCsv(*table));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, *table);
  }
  EXPECT_GT(taken, 500);
  EXPECT_LT(taken, 4500);
}

TEST(LatencyTableTest, GoodTableIsGood) {
  EXPECT_TRUE(CheckLatencyTable(Table()).ok()) << CheckLatencyTable(Table());
}

TEST(LatencyTableTest, ChecksSettings) {
  const auto with = [](auto change) {
    LatencyTable table = Table();
    change(table);
    return table;
  };
  ExpectBad(with([](LatencyTable& t) { t.setting.device = ""; }), "device is empty");
  ExpectBad(with([](LatencyTable& t) { t.setting.runtime = ""; }), "runtime is empty");
  ExpectBad(with([](LatencyTable& t) { t.setting.device = "two\nlines"; }),
            "device is \"two\\nlines\", want no control characters");
  ExpectBad(with([](LatencyTable& t) { t.setting.version = "\xFF"; }), "want UTF-8");
  ExpectBad(with([](LatencyTable& t) { t.setting.threads = 0; }), "threads is 0, want at least 1");
  ExpectBad(with([](LatencyTable& t) { t.setting.batch = -2; }), "batch is -2, want at least 1");
  ExpectBad(with([](LatencyTable& t) { t.date = "soon"; }), "date is \"soon\"");
  ExpectBad(with([](LatencyTable& t) { t.tolerance = -1; }), "tolerance is -1, want at least 0");
  ExpectBad(with([](LatencyTable& t) { t.tolerance = NAN; }), "tolerance is nan");
  ExpectBad(with([](LatencyTable& t) { t.fits[1].model = ""; }),
            "fit 2: the model \"any\" is in fit 1 already");
  ExpectBad(with([](LatencyTable& t) { t.fits[0].model = kModel; }),
            absl::StrCat("fit 2: the model ", kModel, " is in fit 1 already"));
  ExpectBad(with([](LatencyTable& t) { t.fits[0].model = "vgg"; }), "fit 1: model is \"vgg\"");
  ExpectBad(with([](LatencyTable& t) { t.fits[0].layers = INFINITY; }), "fit 1: layers is inf");
  ExpectBad(with([](LatencyTable& t) { t.fits[0].byte_us = NAN; }), "fit 1: byte_us is nan");
  ExpectBad(with([](LatencyTable& t) { t.fits[0].channel_us = NAN; }), "fit 1: channel_us is nan");
  ExpectBad(with([](LatencyTable& t) { t.fits[0].constant_us = NAN; }), "constant_us is nan");
  ExpectBad(with([](LatencyTable& t) { t.fits[0].p95_error = -1; }), "p95_error is -1");
  ExpectBad(with([](LatencyTable& t) { t.fits[0].repeatability = NAN; }), "repeatability is nan");
}

TEST(LatencyTableTest, ChecksRowsAndNamesThem) {
  const auto with = [](size_t row, LatencyRow changed) {
    LatencyTable table = Table();
    table.rows[row] = std::move(changed);
    return table;
  };
  ExpectBad(with(3, {kConv, 16, 32, -1, 2}),
            absl::StrCat("row 4: ", kConv, ": median_us is -1, want above 0"));
  ExpectBad(with(3, {kConv, 16, 32, NAN, 2}), "median_us is nan, want a finite number");
  ExpectBad(with(3, {kConv, 16, 32, 1, INFINITY}), "spread_us is inf, want a finite number");
  ExpectBad(with(3, {kConv, 16, 32, 1, -2}), "spread_us is -2, want at least 0");
  ExpectBad(with(3, {kConv, 0, 32, 1, 2}), "row 4: conv");
  ExpectBad(with(3, {kConv, 16, 0, 1, 2}), "out is 0, want at least 1");
  ExpectBad(with(3, {kConv, 16, 16, 1, 2}),
            absl::StrCat("row 4: ", kConv, ": in 16, out 16 is in row 3 already"));
  ExpectBad(with(3, {kConv, 16, 64, 1, 2}), "in 8, out 64 is missing from its grid of 2 x 3");
  ExpectBad(with(5, {kDepthwise, 8, 32, 1, 2}), "out is 32, want 8 as in: it is depthwise");
  ExpectBad(with(5, {"a,b", 8, 8, 1, 2}), "row 6: a,b: layer is \"a,b\", want a kind without");
  ExpectBad(with(5, {"a\nb", 8, 8, 1, 2}), "row 6: layer is \"a\\nb\", want no control");
  ExpectBad(with(5, {"", 8, 8, 1, 2}), "layer is \"\"");
}

TEST(LatencyTableTest, ChecksNoMoreRowsThanAFileMayHave) {
  LatencyTable table = Table();
  table.rows.assign(1'000'001, {"l", 1, 1, 1, 0});
  ExpectBad(table, "a table of 1000001 rows, want at most 1000000");
}

TEST(LatencyTableTest, DigestDependsOnContentsAndNotOnOrder) {
  LatencyTable table = Table();
  const std::string digest = LatencyDigest(table);
  std::reverse(table.rows.begin(), table.rows.end());
  std::reverse(table.fits.begin(), table.fits.end());
  EXPECT_EQ(LatencyDigest(table), digest);
  // sha256sum of the documented file.
  EXPECT_EQ(digest, "503d0344c0f8c4d2b013fa54f0b48b4010985c4856be09dc3e86aa4388796d2f");
  table.rows[0].median_us += 1e-9;
  EXPECT_NE(LatencyDigest(table), digest);
}

TEST(LatencyTableTest, ExtensionAddsAndReplaces) {
  LatencyTable more = Table();
  more.date = "2027-01-01";
  more.tolerance = 0.05;
  more.fits = {{kModel, 2}};
  more.rows = {{kConv, 16, 32, 99, 1}, {kConv, 16, 64, 200, 1}, {kConv, 8, 64, 100, 1}};
  const absl::StatusOr<LatencyTable> table = ExtendLatencyTable(Table(), more);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->date, "2027-01-01");
  EXPECT_EQ(table->tolerance, 0.05);
  EXPECT_EQ(table->setting, more.setting);
  EXPECT_THAT(table->fits, ElementsAre(Table().fits[0], more.fits[0]));
  EXPECT_THAT(table->rows,
              ElementsAre(Table().rows[0], Table().rows[1], more.rows[2], Table().rows[2],
                          more.rows[0], more.rows[1], Table().rows[4], Table().rows[5]));
}

TEST(LatencyTableTest, ExtensionKnowsNoToleranceThatOneSideLacks) {
  LatencyTable more = Table();
  more.tolerance = 0;
  EXPECT_EQ(ExtendLatencyTable(Table(), more)->tolerance, 0);
  EXPECT_EQ(ExtendLatencyTable(more, Table())->tolerance, 0);
  more.rows.clear();
  EXPECT_EQ(ExtendLatencyTable(Table(), more)->tolerance, 0.02);
  EXPECT_EQ(ExtendLatencyTable(more, Table())->tolerance, 0.02);
}

TEST(LatencyTableTest, ExtensionRefusesOtherSettingsNamingThem) {
  const auto message = [](LatencySetting setting) {
    LatencyTable more = Table();
    more.setting = std::move(setting);
    const absl::StatusOr<LatencyTable> table = ExtendLatencyTable(Table(), more);
    EXPECT_EQ(table.status().code(), absl::StatusCode::kFailedPrecondition);
    return std::string(table.status().message());
  };
  EXPECT_EQ(message({"Pixel 7", "libtorch", "1.13.1", 4, 1}),
            "times of different settings do not mix: device is AMD EPYC 9R14, not Pixel 7; "
            "threads is 1, not 4");
  EXPECT_THAT(message({"AMD EPYC 9R14", "opencv", "1.13.1", 1, 1}),
              HasSubstr("runtime is libtorch, not opencv"));
  EXPECT_THAT(message({"AMD EPYC 9R14", "libtorch", "2.4", 1, 1}),
              HasSubstr("version is 1.13.1, not 2.4"));
  EXPECT_THAT(message({"AMD EPYC 9R14", "libtorch", "1.13.1", 1, 8}),
              HasSubstr("batch is 1, not 8"));
}

TEST(LatencyTableTest, ExtensionThatLeavesAHoleIsInvalid) {
  LatencyTable more = Table();
  more.fits.clear();
  more.rows = {{kConv, 32, 32, 99, 1}};
  const absl::StatusOr<LatencyTable> table = ExtendLatencyTable(Table(), more);
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(table.status().message()), HasSubstr("in 32, out 16 is missing"));
}

}  // namespace
}  // namespace amc
