#include "server/cli/history.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/cli/checks.h"
#include "server/cli/format.h"

namespace amc {

std::string KindName(v1::EpisodeKind kind) {
  if (kind == v1::EPISODE_KIND_UNSPECIFIED) kind = v1::EPISODE_KIND_CANDIDATE;
  const auto* value = v1::EpisodeKind_descriptor()->FindValueByNumber(kind);
  return value == nullptr ? "unknown" : ShortEnumName(*value);
}

std::string CanonicalLine(const v1::Episode& episode) {
  std::string line =
      absl::StrCat("{\"number\":", episode.number(), ",\"note\":", JsonQuote(episode.note()),
                   ",\"kind\":", JsonQuote(KindName(episode.kind())), ",\"steps\":[");
  for (int i = 0; i < episode.steps_size(); ++i) {
    const v1::Step& step = episode.steps(i);
    absl::StrAppend(&line, i > 0 ? "," : "", "{\"group\":", JsonQuote(step.group()),
                    ",\"action\":", RoundTrip(step.action()),
                    ",\"executed\":", RoundTrip(step.executed()), ",\"kept\":", step.kept(), "}");
  }
  absl::StrAppend(&line, "],\"policy\":{");
  for (int i = 0; i < episode.policy().decisions_size(); ++i) {
    const v1::Decision& decision = episode.policy().decisions(i);
    absl::StrAppend(&line, i > 0 ? "," : "", JsonQuote(decision.target()), ":", decision.kept());
  }
  absl::StrAppend(&line, "},\"cost\":{\"macs\":", episode.cost().macs(),
                  ",\"params\":", episode.cost().params(),
                  "},\"evaluations\":", RoundTrip(episode.evaluations()));
  if (episode.state() == v1::EPISODE_STATE_INFEASIBLE) {
    absl::StrAppend(&line, ",\"state\":\"infeasible\",\"reason\":", JsonQuote(episode.infeasible()),
                    "}");
    return line;
  }
  const v1::Measurement& measured = episode.measurement();
  absl::StrAppend(&line, ",\"measurement\":{\"top1\":", RoundTrip(measured.top1()),
                  ",\"top5\":", RoundTrip(measured.top5()),
                  ",\"loss\":", RoundTrip(measured.loss()));
  absl::StrAppend(&line, ",\"kl\":", RoundTrip(measured.kl()),
                  ",\"soft_kl\":", RoundTrip(measured.soft_kl()), ",\"images\":", measured.images(),
                  ",\"macs\":", measured.cost().macs(), ",\"params\":", measured.cost().params(),
                  ",\"work\":", measured.work(), "}");
  absl::StrAppend(&line, ",\"reward\":", RoundTrip(episode.reward()), "}");
  return line;
}

absl::Status ForEachEpisode(Client& client, v1::ListEpisodesRequest request, int64_t limit,
                            const std::function<void(const v1::Episode&)>& consume) {
  constexpr int64_t kPage = 1000;
  int64_t seen = 0;
  do {
    request.set_page_size(static_cast<int32_t>(limit > 0 ? std::min(limit - seen, kPage) : kPage));
    AMC_ASSIGN_OR_RETURN(const v1::ListEpisodesResponse page,
                         client.Call(client.jobs(), &v1::JobService::Stub::ListEpisodes, request));
    for (const v1::Episode& episode : page.episodes()) consume(episode);
    seen += page.episodes_size();
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && (limit == 0 || seen < limit));
  return absl::OkStatus();
}

}  // namespace amc
