// How long the first page of a long history takes, over a real socket.
//
//   build/release/bin/history_queries [EPISODES] [ROUNDS]     (1000000 20)
//
// One job whose rewards, top-1 and costs are random in one history; in another the better a
// candidate is, the more it costs, so that filters on cost exclude what the order puts first: the
// worst case for an index. Prints the median and the slowest of ROUNDS calls per order and filter.
// Goal: 20 ms. Exits with 1 if a median misses it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "server/rpc/channel.h"
#include "server/server.h"
#include "storage/store.h"
#include "tests/server/server_fixture.h"

namespace amc {
namespace {

constexpr int64_t kCommit = 10'000;  // episodes in one transaction
constexpr int64_t kLargestMacs = 40'000'000;

v1::Episode MakeEpisode(const std::string& job, int64_t number, double quality, int64_t macs) {
  v1::Episode episode;
  episode.set_job(job);
  episode.set_number(number);
  episode.set_state(v1::EPISODE_STATE_DONE);
  episode.set_reward(quality);
  episode.mutable_measurement()->set_top1(quality);
  episode.mutable_cost()->set_macs(macs);
  episode.mutable_cost()->set_params(macs / 100);
  for (int i = 0; i < 20; ++i) {  // as many groups as ResNet-20 has
    v1::Step* step = episode.add_steps();
    step->set_group(absl::StrCat("layer", i, ".conv1"));
    step->set_kept(i + 1);
    step->set_channels(64);
  }
  return episode;
}

void Fill(Store& store, const std::string& id, int64_t episodes, bool correlated) {
  v1::Job job;
  job.set_id(id);
  job.set_state(v1::JOB_STATE_SEARCHING);
  AMC_CHECK(store.CreateJob(job, id, id, {}).ok());
  Rng rng(1);
  for (int64_t first = 0; first < episodes; first += kCommit) {
    std::vector<v1::Episode> batch;
    for (int64_t n = first; n < std::min(first + kCommit, episodes); ++n) {
      const double quality = rng.Uniform();
      const double cost = correlated ? quality : rng.Uniform();
      batch.push_back(MakeEpisode(id, n, quality, static_cast<int64_t>(cost * kLargestMacs)));
    }
    const absl::Status status = store.CommitGeneration({.job = job, .events = {}}, batch, "");
    AMC_CHECK(status.ok()) << status;
    std::fprintf(stderr, "\r%s: %ld of %ld episodes ", id.c_str(),
                 static_cast<long>(first + kCommit), static_cast<long>(episodes));
  }
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  AMC_CHECK(store.UpdateJob({.job = job, .events = {}}).ok());
  std::fputs("\n", stderr);
}

struct Filter {
  const char* name;
  std::function<void(v1::EpisodeFilter&)> set;
};

int Main(int64_t episodes, int rounds) {
  const TempDirectory folder = *TempDirectory::Create("amc-history");
  {
    const auto store = *OpenSqliteStore(folder.path() + "/amc.db");
    Fill(*store, "random", episodes, false);
    Fill(*store, "correlated", episodes, true);
  }
  ServerOptions options;
  options.address = "unix:" + folder.path() + "/socket";
  options.data_folder = folder.path();
  const auto server = *Server::Start(options);
  ChannelOptions channel;
  channel.address = server->address();
  const auto stub = v1::JobService::NewStub(*MakeChannel(channel));

  const Filter filters[] = {
      {"none", [](v1::EpisodeFilter&) {}},
      {"macs at most 90%", [](v1::EpisodeFilter& f) { f.set_max_macs(kLargestMacs / 10 * 9); }},
      {"macs at most 50%", [](v1::EpisodeFilter& f) { f.set_max_macs(kLargestMacs / 2); }},
      {"macs at most 1%", [](v1::EpisodeFilter& f) { f.set_max_macs(kLargestMacs / 100); }},
      {"top-1 at least 0.9", [](v1::EpisodeFilter& f) { f.set_min_top1(0.9); }},
      {"top-1 0.5, macs 50%",
       [](v1::EpisodeFilter& f) {
         f.set_min_top1(0.5);
         f.set_max_macs(kLargestMacs / 2);
       }},
  };
  const std::pair<const char*, v1::EpisodeOrder> orders[] = {
      {"number", v1::EPISODE_ORDER_NUMBER},
      {"reward", v1::EPISODE_ORDER_REWARD_DESC},
      {"macs", v1::EPISODE_ORDER_MACS},
      {"top-1", v1::EPISODE_ORDER_TOP1_DESC}};
  std::printf("%-12s%-10s%-22s%12s%12s\n", "history", "order", "filter", "median ms", "slowest ms");
  double worst_median = 0;
  for (const char* job : {"random", "correlated"}) {
    for (const auto& [order_name, order] : orders) {
      for (const Filter& filter : filters) {
        v1::ListEpisodesRequest request;
        request.set_job(job);
        request.set_order(order);
        filter.set(*request.mutable_filter());
        std::vector<double> times;
        for (int round = 0; round < rounds; ++round) {
          v1::ListEpisodesResponse response;
          grpc::ClientContext context;
          const absl::Time start = absl::Now();
          const grpc::Status status = stub->ListEpisodes(&context, request, &response);
          times.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
          AMC_CHECK(status.ok()) << status.error_message();
        }
        std::sort(times.begin(), times.end());
        const double median = times[times.size() / 2];
        std::printf("%-12s%-10s%-22s%12.1f%12.1f\n", job, order_name, filter.name, median,
                    times.back());
        worst_median = std::max(worst_median, median);
      }
    }
  }
  std::printf("slowest median: %.1f ms (goal: 20 ms)\n", worst_median);
  return worst_median <= 20 ? 0 : 1;
}

}  // namespace
}  // namespace amc

int main(int argc, char** argv) {
  amc::SetMinLogSeverity(amc::LogSeverity::kWarning);
  return amc::Main(argc > 1 ? std::atol(argv[1]) : 1'000'000,
                   argc > 2 ? std::max(1, std::atoi(argv[2])) : 20);
}
